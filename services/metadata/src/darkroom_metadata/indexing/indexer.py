"""The indexer: batches of stored objects become rows, each exactly once."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.amqp.broker import Received
from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.messages.events import InstancesStored, StoredItem
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import CLASH_ATTEMPTS, Database, is_clash
from darkroom_common.readers.ingest import CharacterSets, read_character_sets
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import metadata as metrics
from darkroom_metadata.indexing.extract import TEXT_FLAGS, Extracted
from darkroom_metadata.indexing.item import Item, LostRace
from darkroom_metadata.indexing.reading import Reading
from darkroom_metadata.indexing.repository import IndexRepository

log = get_logger(__name__)
CONSUMER: Final = "metadata.index"
BATCH: Final = 200
SHARE: Final = 50
"""Headers that a thread reads at a time."""
SENDERS_SECONDS: Final = 5.0
"""For so long what was read of the list of senders holds."""
BEHIND_LAG_SECONDS: Final = 10.0
BEHIND_FOR_SECONDS: Final = 5.0


@dataclass
class Indexer:
    """Writes the index. Any number of them may run side by side."""

    database: Database
    reading: Reading
    repository: IndexRepository
    outbox: Outbox
    batch: int = BATCH
    inbox: Inbox = field(default_factory=lambda: Inbox("index", CONSUMER))
    clock: Clock = SYSTEM_CLOCK
    _last_batch: float = float("-inf")
    _last_lag: float = 0.0
    _senders: CharacterSets = field(default_factory=lambda: CharacterSets({}))
    _senders_read: float = float("-inf")

    @property
    def behind(self) -> bool:
        """Whether the last batch, a moment ago, had waited long: other work should wait."""
        recent = self.clock.monotonic() - self._last_batch < BEHIND_FOR_SECONDS
        return recent and self._last_lag > BEHIND_LAG_SECONDS

    async def index(self, received: Sequence[Received]) -> None:
        """Index the objects of some messages, `batch` of them in one transaction.

        A transaction has inbox, rows and outbox, or nothing. When a later one fails, those before
        are found in the inbox the next time, object by object.

        Raises:
            DependencyUnavailable: the database or the store is away.
            ObjectMissing: an object is not where its message says.
        """
        stored = list(_items(received))
        for at in range(0, len(stored), self.batch):
            await self._index(stored[at : at + self.batch])

    async def _index(self, stored: Sequence[StoredItem]) -> None:
        await self._look_at_senders()
        loop = asyncio.get_running_loop()
        # A few shares a batch: reading waits for the store, and a future costs more than a header.
        shares = [stored[at : at + SHARE] for at in range(0, len(stored), SHARE)]
        extracted = await asyncio.gather(
            *(
                loop.run_in_executor(self.reading.executor, self._extract_all, share)
                for share in shares
            )
        )
        found = [one for share in extracted for one in share]
        await self._write([Item(one, read) for one, read in zip(stored, found, strict=True)])
        self.outbox.wake()

    def _extract_all(self, stored: Sequence[StoredItem]) -> list[Extracted]:
        """Read headers, in a thread."""
        return [self.reading.read(one, self._senders.of(one.calling_ae_title)) for one in stored]

    async def _look_at_senders(self) -> None:
        if self.clock.monotonic() - self._senders_read < SENDERS_SECONDS:
            return
        async with self.database.acquire() as db:
            self._senders = await read_character_sets(db)
        self._senders_read = self.clock.monotonic()

    async def _write(self, items: Sequence[Item]) -> None:
        for attempt in range(CLASH_ATTEMPTS):
            try:
                async with self.database.transaction() as db:
                    once = {item.event.receipt: item for item in reversed(items)}
                    fresh = await self.inbox.first_times(db, list(once))
                    batch = [one for receipt, one in reversed(once.items()) if receipt in fresh]
                    outcome = await self.repository.add(db, batch)
                    await self.outbox.put_traced(db, outcome.messages)
            except LostRace:
                await asyncio.sleep(0.01 * 2**attempt)
            except Exception as error:
                if not is_clash(error):
                    raise
                await asyncio.sleep(0.01 * 2**attempt)
            else:
                self._tell(items, outcome.added, outcome.duplicates, outcome.conflicts)
                return
        raise DependencyUnavailable("the index is too busy: lost against other writers each time")

    def _tell(self, items: Sequence[Item], added: int, duplicates: int, conflicts: int) -> None:
        metrics.INDEX_BATCH.observe(len(items))
        metrics.INDEXED.labels("added").inc(added)
        metrics.INDEXED.labels("duplicate").inc(duplicates)
        metrics.INDEXED.labels("conflict").inc(conflicts)
        _tell_of_text(items)
        now = self.clock.now()
        lags = [(now - item.event.received_at).total_seconds() for item in items]
        for lag in lags:
            metrics.INDEX_LAG.observe(lag)
        self._last_batch, self._last_lag = self.clock.monotonic(), min(lags, default=0.0)
        log.info(
            "batch.indexed",
            size=len(items),
            added=added,
            duplicates=duplicates,
            conflicts=conflicts,
        )


def _tell_of_text(items: Sequence[Item]) -> None:
    """Say which senders send text that is in no set that they declare, a line for each."""
    odd = Counter(
        (item.event.calling_ae_title, flag)
        for item in items
        for flag in TEXT_FLAGS.intersection(item.found.flags)
    )
    for (ae_title, flag), count in sorted(odd.items()):
        metrics.ODD_TEXT.labels(flag).inc(count)
        log.info("text.odd", ae=ae_title, flag=flag, instances=count)


def _items(received: Sequence[Received]) -> Iterator[StoredItem]:
    """Yield the objects of messages; one of an earlier release has its trace in its headers."""
    for one in received:
        if not isinstance(one.message, InstancesStored):
            raise PermanentError(f"{CONSUMER} takes {InstancesStored.TYPE} only")
        for item in one.message.items:
            trace = item.traceparent or one.trace.get("traceparent", "")
            yield item.model_copy(update={"traceparent": trace})
