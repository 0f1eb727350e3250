"""`python -m darkroom_api.exports.worker`: makes the file of one export.

A task is a line of JSON from the API, whose own process does nothing of this. What it answers are
lines: `{"total": n}` when the studies are found, `{"done": n}` now and then, and at last
`{"size": n, "rows": n}` or `{"error": word, "reason": text}`. Which studies there are is found once
and for all; each is read when its row is written. The file is sealed on its way into the store: it
is nowhere in the clear. When nobody reads the lines any more, the process ends with the next one.
"""

import asyncio
import datetime as dt
import gc
import os
import sys
import threading
from array import array
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from importlib import import_module
from itertools import islice
from typing import Any, Final, TypeVar

import asyncpg
import orjson

from darkroom_api.exports.columns import COLUMNS, row_maker, statement_of
from darkroom_api.exports.formats import FORMATS, writer
from darkroom_api.exports.table import Row, Table
from darkroom_api.exports.values import plain
from darkroom_common.errors import DarkroomError, DependencyUnavailable
from darkroom_common.index.rows import UnreadableRow, attributes_of, studies_of
from darkroom_common.objects.sealed import sealed
from darkroom_common.objects.store import open_store
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection, open_database
from darkroom_common.workers.answering import answer_tasks

T = TypeVar("T")
STATEMENT_SECONDS: Final = 600.0
_PERSON: Final = "darkroom_api.subjects.package"
AWAY: Final = "away"
NEVER: Final = "never"
_CHUNK: Final = 1000
"""Studies that are read and written at once."""
_AHEAD: Final = 3
"""Chunks that are read before they are written: the server never waits for who writes."""
_NICE: Final = 10
"""Whoever waits for an answer goes first."""
_NEW_OBJECTS: Final = 200_000
_LINES: Final = 5000


class TooMany(DarkroomError):
    """More studies than the format takes; the text is for people."""


def tell(**said: object) -> None:
    """Send a line, at once."""
    sys.stdout.buffer.write(orjson.dumps(said) + b"\n")
    sys.stdout.buffer.flush()


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop beside what writes: the server reads while that does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="reads")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Studies:
    """The studies of an export, read some at a time while those before are written."""

    def __init__(self, db: Connection, keys: PhiKeys, columns: list[str]) -> None:
        self._db = db
        self._keys = keys
        self._sql = statement_of(columns)
        self._row = row_maker(columns)
        self._ids = array("q")
        self._turn = asyncio.Lock()

    async def find(self, sql: str, values: list[Any], most: int) -> int:
        """Find which there are; return how many.

        Raises:
            TooMany, UnreadableRow: see there.
        """
        try:
            async with self._db.transaction(readonly=True):
                found = await self._db.cursor(sql, *values)
                while some := await found.fetch(_LINES):
                    self._ids.extend([row[0] for row in some])
                    if len(self._ids) > most:
                        raise TooMany(
                            f"More than {most} studies are too many for this format;"
                            " narrow the filters, or take another one."
                        )
        except asyncpg.ExternalRoutineInvocationError as error:
            raise UnreadableRow("a row cannot be decrypted with PHI_KEYS") from error
        return len(self._ids)

    async def _read(self, start: int) -> list[asyncpg.Record]:
        some = self._ids[start : start + _CHUNK]
        async with self._turn:
            return await studies_of(self._db, self._sql, self._keys, some)

    def rows(self, loop: asyncio.AbstractEventLoop) -> Iterator[Row]:
        """Yield the rows, and tell how far it is."""
        starts = range(0, len(self._ids), _CHUNK)
        reads = (asyncio.run_coroutine_threadsafe(self._read(start), loop) for start in starts)
        coming = deque(islice(reads, _AHEAD))
        for start in starts:
            read = coming.popleft().result()
            coming.extend(islice(reads, 1))
            for study in read:
                yield self._row(study, attributes_of(study["study_phi"]))
            tell(done=min(start + _CHUNK, len(self._ids)))


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result()


def _counted(pieces: Iterable[bytes], sizes: list[int]) -> Iterator[bytes]:
    for piece in pieces:
        sizes.append(len(piece))
        yield piece


def _make(task: dict[str, Any], loop: asyncio.AbstractEventLoop, until: AsyncExitStack) -> None:
    """Make the file of a task."""
    run = partial(_run, loop)
    keys = PhiKeys.parse(task["phi_keys"])
    store = open_store(task["store_url"])
    database = run(
        until.enter_async_context(
            open_database(
                task["postgres_url"], service="exports", size=1, seconds=STATEMENT_SECONDS
            )
        )
    )
    db = run(until.enter_async_context(database.acquire()))
    sizes: list[int] = []
    if "patient_key" in task:
        package = import_module(_PERSON)  # lists need not hold what it loads
        person = package.Package(
            loop,
            db,
            keys,
            open_store(task["objects_url"]),
            bytes.fromhex(task["patient_key"]),
            dt.datetime.fromisoformat(task["made_at"]),
            task["made_for"],
            lambda done: tell(done=done),
        )
        total = person.find()
        tell(total=total)
        content = _counted(person.content(), sizes)
        store.put_now(task["key"], sealed(keys, content, purpose=task["purpose"]))
        tell(size=sum(sizes), rows=total)
        return
    studies = Studies(db, keys, list(task["columns"]))
    total = run(studies.find(task["sql"], plain(task["values"]), FORMATS[task["format"]].most))
    tell(total=total)
    table = Table(
        "Studies",
        [COLUMNS[name] for name in task["columns"]],
        total,
        studies.rows(loop),
        dt.datetime.fromisoformat(task["made_at"]),
        task["made_for"],
    )
    content = _counted(writer(task["format"])(table), sizes)
    store.put_now(task["key"], sealed(keys, content, purpose=task["purpose"]))
    tell(size=sum(sizes), rows=total)


def answer(line: bytes) -> Iterable[bytes]:
    """Do a task; its lines are sent while it is done."""
    os.nice(max(0, _NICE - os.nice(0)))
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)  # rows hold no cycles, and are looked through for nothing
    task = orjson.loads(line)
    with _loop() as loop:
        until = AsyncExitStack()
        try:
            _make(task, loop, until)
        except DependencyUnavailable as error:
            tell(error=AWAY, reason=str(error))
        except DarkroomError as error:
            tell(error=NEVER, reason=str(error))
        finally:
            _run(loop, until.aclose())
    return ()


if __name__ == "__main__":
    answer_tasks(answer)
