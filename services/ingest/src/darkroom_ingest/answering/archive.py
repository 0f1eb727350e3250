"""The index and the store, as the threads of a serving process ask them.

Associations have threads, these are read by coroutines: one thread runs them for all.
"""

import asyncio
import datetime as dt
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from darkroom_common.amqp.broker import Broker
from darkroom_common.amqp.rabbitmq import open_broker
from darkroom_common.clock import monotonic
from darkroom_common.index.answer import patient_json, results_json
from darkroom_common.index.fields import Level
from darkroom_common.index.matching.rolls import AT_ONCE, MOST, Roll, RollReader
from darkroom_common.index.objects import Wanted, find_stored
from darkroom_common.index.query import Query
from darkroom_common.index.reader import SearchTooLong
from darkroom_common.index.rows import Json, StoredInstance
from darkroom_common.messages.base import Reply, Request
from darkroom_common.objects.store import open_store
from darkroom_common.postgres.phi import BlindIndex, PhiKeys, decode_key
from darkroom_common.postgres.pool import Database
from darkroom_common.transcoding.converters import open_converters
from darkroom_common.transcoding.preparing import ObjectPreparer
from darkroom_ingest.settings import IngestSettings

FIRST: Final = 50
"""Results of the first page, which is to be there soon."""
NEXT: Final = 500
"""Of each that follows; it is read while the one before is sent."""
FARTHEST: Final = 200_000
"""Series or instances that are passed over: pages of these do not go on after a row."""
REPLY_SECONDS: Final = 5.0
"""In which another service has to answer."""
_CLOSE_SECONDS: Final = 5.0
_SCRATCH: Final = "answering"
"""Beside the spool: what is made over while it goes out."""
T = TypeVar("T")
_Page = tuple[list[Json], "_Then | None"]
_Then = Callable[[], Coroutine[Any, Any, "_Page"]]
"""Returns the page that follows."""


class Archive:
    """Answers queries page by page, in whatever thread asks.

    Args:
        settings: with the database and the store.
        keys: of encrypted columns.
        blind: of what is searched by.
    """

    def __init__(self, settings: IngestSettings, keys: PhiKeys, blind: BlindIndex) -> None:
        self._loop = asyncio.new_event_loop()
        url = settings.postgres_url.get_secret_value()
        self._database = Database(
            url, service="ingest-answering", size=settings.database_connections
        )
        self._store = open_store(settings.store_url)
        self._scratch = settings.spool / _SCRATCH
        self._processes = settings.conversion_processes
        self._memory = settings.conversion_memory
        self.keys, self.blind = keys, blind
        self._opening = asyncio.Lock()
        self._open = AsyncExitStack()
        self._preparer: ObjectPreparer | None = None
        self._amqp_url = settings.amqp_url.get_secret_value()
        self._broker: Broker | None = None
        self._reader = RollReader(self._database, keys=keys, blind=blind)
        self._thread = threading.Thread(target=self._loop.run_forever, name="index", daemon=True)
        self._thread.start()

    @property
    def database(self) -> Database:
        """What the loop of this archive works with."""
        return self._database

    def run(self, work: Coroutine[Any, Any, T], *, seconds: float) -> T:
        """Return what a coroutine of the loop returns.

        Raises:
            SearchTooLong: it takes longer.
        """
        coming = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return coming.result(seconds)
        except TimeoutError as error:
            coming.cancel()
            raise SearchTooLong(f"more than {seconds:g} s") from error

    def pages(self, query: Query, *, seconds: float) -> Iterator[list[Json]]:
        """Yield the results of a query, some at a time, none of which is kept.

        Args:
            query: its limit is ours to set.
            seconds: for all of it.

        Raises:
            SearchTooLong: it takes longer, or has too many results to go through.
            DependencyUnavailable: the database is away.
            UnreadableRow: a row cannot be decrypted.
        """
        deadline = monotonic() + seconds
        coming = self.begin(self._first(replace(query, limit=FIRST)))
        try:
            while True:
                try:
                    results, then = coming.result(max(0.0, deadline - monotonic()))
                except TimeoutError as error:
                    raise SearchTooLong(f"more than {seconds:g} s") from error
                if then is None:
                    yield results
                    return
                coming = self.begin(then())
                yield results
                if monotonic() > deadline:
                    raise SearchTooLong(f"more than {seconds:g} s")
        finally:
            coming.cancel()

    def stored(self, wanted: Wanted, *, most: int) -> list[StoredInstance]:
        """Return where the instances of a retrieval are; of too many, one more than `most`.

        Raises:
            DependencyUnavailable, UnreadableRow: see `pages`.
        """

        async def find() -> list[StoredInstance]:
            async with self._database.acquire() as db:
                return await find_stored(db, wanted, keys=self.keys, blind=self.blind, most=most)

        return self.begin(find()).result()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin some work of a coroutine beside the thread that asks for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def preparer(self) -> ObjectPreparer:
        """Return what makes ready what is retrieved; within `begin`."""
        async with self._opening:
            if self._preparer is None:
                opened = open_converters(
                    self._scratch, processes=self._processes, memory=self._memory
                )
                converters = await self._open.enter_async_context(opened)
                self._preparer = ObjectPreparer(self._store, converters)
            return self._preparer

    async def broker(self) -> Broker:
        """Return a connection to the broker, for what other services do; within `begin`."""
        async with self._opening:
            if self._broker is None:
                opened = open_broker(self._amqp_url, service="ingest-answering")
                self._broker = await self._open.enter_async_context(opened)
            return self._broker

    def ask(self, question: Request, *, pause: float = 0.0, within: float = 0.0) -> Reply:
        """Ask another service and wait for its answer.

        Args:
            question: to be asked.
            pause: seconds before it is asked.
            within: seconds that the other takes by itself.

        Raises:
            NoReply, BrokerUnavailable, Unroutable: see `Broker.request`.
        """

        async def ask() -> Reply:
            await asyncio.sleep(pause)
            broker = await self.broker()
            return await broker.request(question, limit=REPLY_SECONDS + within)

        return self.begin(ask()).result()

    async def _end(self) -> None:
        await self._open.aclose()
        await self._database.close()

    def close(self) -> None:
        """Give back the connections, and end the processes."""
        ending = self.begin(self._end())
        with suppress(TimeoutError):
            ending.result(_CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    async def _first(self, query: Query) -> _Page:
        """Return the first results: of a roll, if these matches can have one."""
        expected = await self._reader.expected(query)
        if expected is None or expected > MOST:
            return await self._page(query)
        if expected > AT_ONCE and query.level is Level.STUDY:
            found, last = await self._reader.first(query)
            if last is not None:
                shown = list(results_json(query, found))
                return shown, partial(self._rolled, replace(query, after=last, limit=NEXT))
        return await self._rolled(query)

    async def _rolled(self, query: Query) -> _Page:
        """Return the results that follow, as long as a page is, and those after them by a roll."""
        roll = await self._reader.roll(query)
        return await self._page(query) if roll is None else await self._part(roll, 0, query.limit)

    async def _part(self, roll: Roll, start: int, count: int) -> _Page:
        shown: list[Json]
        if roll.query.level is Level.PATIENT:
            patients = await self._reader.patients_of(roll, start, count)
            shown = [patient_json(roll.query, one) for one in patients]
        else:
            shown = list(results_json(roll.query, await self._reader.part(roll, start, count)))
        more = start + count < len(roll)
        return shown, partial(self._part, roll, start + count, NEXT) if more else None

    async def _page(self, query: Query) -> _Page:
        """Return some results, looked up by themselves."""
        if query.level is Level.PATIENT:
            patients = await self._reader.patients(query)
            shown = [patient_json(query, one) for one in patients.results]
            return shown, self._after(query, patients.last) if patients.more else None
        page = await self._reader.search(query)
        shown = list(results_json(query, page.results))
        if not page.more:
            return shown, None
        if query.level is Level.STUDY:
            return shown, self._after(query, page.last)
        offset = query.offset + len(shown)
        if offset > FARTHEST:
            raise SearchTooLong(f"more than {FARTHEST} results of this level")
        return shown, partial(self._page, replace(query, offset=offset, limit=NEXT))

    def _after(self, query: Query, last: tuple[dt.date | None, int] | None) -> _Then:
        return partial(self._page, replace(query, after=last, limit=NEXT))


def open_archive(settings: IngestSettings) -> Archive | None:
    """Return what answers queries; None without the keys of the index."""
    if settings.phi_keys is None or settings.blind_index_key is None:
        return None
    key = decode_key(settings.blind_index_key.get_secret_value(), setting="BLIND_INDEX_KEY")
    keys = PhiKeys.parse(settings.phi_keys.get_secret_value())
    return Archive(settings, keys, BlindIndex(key))
