"""Sends objects and changes to the second store, in the background, one process at a time.

What is to be sent are rows (`due.py`) that were written with the change itself, so that nothing is
forgotten while the second store is away, for days if need be. An object is copied and read back
before the change that names it is told; a crash in between does some of it again.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.objects.store import ObjectStore, StoreUnavailable
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import metadata as metrics
from darkroom_metadata.replication import due
from darkroom_metadata.replication.copying import Named, copy, named
from darkroom_metadata.replication.due import Due
from darkroom_metadata.replication.journal import Journal
from darkroom_metadata.replication.keeping import Keeping
from darkroom_metadata.replication.telling import Telling
from darkroom_metadata.verification.expected import unnamed
from darkroom_metadata.verification.verification import Brake

log = get_logger(__name__)
BATCH: Final = 128
_AT_ONCE: Final = 16
"""Copies under way: the second store may be far, and each waits for it several times."""
_IDLE_SECONDS: Final = 2.0
_AWAY_SECONDS: Final = 5.0
_MEASURE_SECONDS: Final = 10.0
_SWEEP_EVERY: Final = timedelta(days=1)
_AGAIN: Final = timedelta(minutes=10)
"""After so long an object is tried again that could not be read as it was received."""
OBJECTS: Final = ("object", "copy")
CHANGES: Final = ("edit", "removal", "resolution", "hold")


@dataclass
class Sent:
    """What became of one batch."""

    done: list[int] = field(default_factory=list)
    copied: list[tuple[str, bytes, int]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Sending:
    """One installation's.

    Args:
        database: whose index and whose rows these are.
        store: where the objects are.
        journal: of this site, in the second store.
        telling: says what was changed.
        brake: the pace of copying.
        days: for which what was told stays (`Keeping`).
        follows: whether the other site is followed.
    """

    database: Database
    store: ObjectStore
    journal: Journal
    telling: Telling
    brake: Brake
    days: int = 90
    follows: bool = True
    clock: Clock = SYSTEM_CLOCK
    _measured: float = float("-inf")

    def __post_init__(self) -> None:
        """Make what keeps the files, and the threads that wait for the second store."""
        self.keeping = Keeping(self.journal, self.days, self.follows, self.clock)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="replicate")

    async def run(self) -> None:
        """Send for ever; cancel to stop. What is away is waited for."""
        while True:
            pause = _IDLE_SECONDS
            try:
                if await self.slice():
                    pause = 0.0
            except DependencyUnavailable as error:
                log.warning("replication.waits", reason=str(error))
                pause = _AWAY_SECONDS
                await self._measure_when_away()
            except Exception:  # it must not take indexing down with it
                log.exception("replication.failed")
                pause = _AWAY_SECONDS
            await asyncio.sleep(pause)

    async def slice(self) -> bool:
        """Send what is due, unless another process does; tell whether there was any.

        Raises:
            DependencyUnavailable: database or store are away; what was not sent stays due.
            TwoWriters: somebody else sends under the name of this site.
        """
        async with self.database.session() as db:
            if not await due.lock(db):
                _show(due.Lag(0, 0, 0.0))
                return False
            number = await due.switch_on(db, self.journal.site)
            number = await self._recovered(db, number)
            await self.telling.note_holds(db)
            was_any = False
            while rows := await due.next_due(db, BATCH):
                was_any = True
                number = await self._send(db, rows, number)
                await self._measure(db)
            while not was_any and await due.sweep(db, _SWEEP_EVERY):
                was_any = bool(await due.next_due(db, 1))
            heard, is_due = await self.keeping.heard(db)
            if is_due and not was_any:
                await self.journal.write(number + 1, [], heard)
                await self._told(db, number + 1, heard)
            await self.keeping.prune(db)
            await self._measure(db, now=True)
            return was_any

    async def _recovered(self, db: Connection, number: int) -> int:
        """Take over what a process has told that died before it could keep so.

        Raises:
            StoreUnavailable: what was told is not there: a volume is not mounted, or is another.
        """
        beginning = await self.keeping.here(db)
        if number >= beginning.begun and await self.journal.read(number) is None:
            raise StoreUnavailable("second store: what was sent is not there; is it mounted?")
        await self.keeping.say(beginning)
        while (changes := await self.journal.read(number + 1)) is not None:
            number += 1
            async with db.transaction():
                await due.done(db, [one["id"] for one in changes])
                await due.set_sent(db, number)
        return number

    async def _send(self, db: Connection, rows: Sequence[Due], number: int) -> int:
        """Send a batch; return the last number that was told."""
        sent = Sent()
        await self._copy(db, [one for one in rows if one.kind in OBJECTS], sent)
        await self._remove(db, [one for one in rows if one.kind == "gone"], sent)
        await self._tell(db, [one for one in rows if one.kind in CHANGES], sent)
        sent.told.sort(key=lambda one: int(one["id"]))
        heard, _ = await self.keeping.heard(db)
        if sent.told:
            await self.journal.write(number + 1, sent.told, heard)
            number += 1
        async with db.transaction():
            await due.has(db, sent.copied)
            await due.done(db, sent.done)
            for one, reason in sent.failed:
                await due.later(db, one, _AGAIN, reason)
            await self._told(db, number, heard)
        metrics.REPLICATED.labels("sent").inc(len(sent.done))
        metrics.REPLICATED.labels("failed").inc(len(sent.failed))
        metrics.REPLICATED_BYTES.inc(sum(size for _, _, size in sent.copied))
        return number

    async def _told(self, db: Connection, number: int, heard: int) -> None:
        await due.set_sent(db, number)
        await self.keeping.told(db, heard)

    async def _copy(self, db: Connection, rows: Sequence[Due], sent: Sent) -> None:
        known = await named(db, [one.subject for one in rows])
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one_of(what: Named) -> tuple[bytes, int] | PermanentError:
            async with gate:
                await self.brake.spend(what.size)
                try:
                    return await copy(self.store, self.journal.store, what, self._threads)
                except PermanentError as error:
                    return error

        there = [row for row in rows if row.subject in known]
        sent.done += [row.id for row in rows if row.subject not in known]  # removed meanwhile
        # Each key once: the same object may be told of twice.
        keys = list(dict.fromkeys(row.subject for row in there))
        made = await asyncio.gather(*(one_of(known[key]) for key in keys))
        became = dict(zip(keys, made, strict=True))
        for row in there:
            outcome = became[row.subject]
            if isinstance(outcome, PermanentError):
                sent.failed.append((row.id, type(outcome).__name__))
                receipt, reason = known[row.subject].receipt, type(outcome).__name__
                log.error("replication.not_copied", receipt=receipt, reason=reason)
                continue
            sent.done.append(row.id)
            sent.copied.append((row.subject, *outcome))
            if row.kind == "object":
                sent.told.append(_arrival(row, known[row.subject]))
        sent.copied = list({one[0]: one for one in sent.copied}.values())

    async def _remove(self, db: Connection, rows: Sequence[Due], sent: Sent) -> None:
        """Remove what no row names any more."""
        gone = await unnamed(db, [one.subject for one in rows])
        for key in sorted(gone):
            if await self.journal.store.remove(key, untouched_since=self.clock.now()):
                await db.execute("DELETE FROM index.replicated WHERE object_key = $1", key)
                metrics.REPLICATED.labels("removed").inc()
        sent.done += [one.id for one in rows]

    async def _tell(self, db: Connection, rows: Sequence[Due], sent: Sent) -> None:
        for row in rows:
            told = await self.telling.change(db, row)
            if told is not None:
                sent.told.append(told)
            sent.done.append(row.id)

    async def _measure(self, db: Connection, *, now: bool = False) -> None:
        if now or self.clock.monotonic() - self._measured > _MEASURE_SECONDS:
            self._measured = self.clock.monotonic()
            _show(await due.lag(db))

    async def _measure_when_away(self) -> None:
        """Show the lag that grows while the second store is away."""
        try:
            async with self.database.acquire() as db:
                _show(await due.lag(db))
        except DependencyUnavailable as error:
            log.warning("replication.not_measured", reason=str(error))


def _arrival(row: Due, what: Named) -> dict[str, Any]:
    """Return how an object that has come is told."""
    return {
        "id": row.id,
        "kind": "object",
        "study": row.study,
        "subject": row.subject,
        "at": row.at,
        "sha256": what.sha256,
        "receipt": what.receipt,
        "received_at": what.received_at.isoformat(),
        **row.body,
    }


def _show(lag: due.Lag) -> None:
    metrics.REPLICATION_WAITING.set(lag.objects)
    metrics.REPLICATION_WAITING_BYTES.set(lag.bytes)
    metrics.REPLICATION_LAG.set(lag.seconds)
