"""Takes what another site tells: its objects and its changes, in their order, each once.

A file is read once; what it says is kept as rows until it is done. Of each study one thing is done
after the other, as it was there; studies do not wait for each other. What can never be done, or is
outvoted by what was done here, is kept for people to see, and told.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.messages.events import InstancesStored, StoredItem
from darkroom_common.objects.store import ObjectMissing, StoreUnavailable
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.seal import Seal
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import metadata as metrics
from darkroom_metadata.indexing.indexer import CONSUMER
from darkroom_metadata.replication import inbound
from darkroom_metadata.replication.arriving import Arriving
from darkroom_metadata.replication.carrying_out import CarryingOut, heard
from darkroom_metadata.replication.copying import named
from darkroom_metadata.replication.inbound import Told
from darkroom_metadata.replication.journal import Journal, Removed

log = get_logger(__name__)
BATCH: Final = 100
MOST_WAITING: Final = 5000
_IDLE_SECONDS: Final = 1.0
_UNDER_WAY_SECONDS: Final = 0.1
"""As long as something is not done here: jobs and the indexer end it."""
_AWAY_SECONDS: Final = 10.0
_PEER_AWAY_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 60.0
_AGAIN: Final = timedelta(minutes=10)
_INDEXED: Final = (  # inbox_pkey
    "SELECT t.site, t.number, t.part, t.kind, t.study_instance_uid, t.at, t.sealed, t.job, t.reason"
    " FROM index.replication_told t JOIN index.inbox b ON b.consumer = $1 AND b.message_id = t.job"
    " WHERE t.state = 'working' AND t.kind = 'object'"
)
_LOST: Final = (  # its message is a dead letter, or the outbox was restored
    "UPDATE index.replication_told SET state = 'waiting' WHERE state = 'working'"
    " AND kind = 'object' AND next_at < clock_timestamp() - $1::interval"
)
_JOBS: Final = (
    "SELECT t.site, t.number, t.part, t.kind, t.study_instance_uid, t.at, t.sealed, t.job,"
    " t.reason, j.state AS became, j.reason AS why, j.of FROM index.replication_told t JOIN ("
    " SELECT id, state, reason, 'edit' AS of FROM index.edit UNION ALL"
    " SELECT id, state, reason, 'removal' FROM index.removal UNION ALL"
    " SELECT id, state, reason, 'resolution' FROM index.resolution) AS j ON j.id = t.job"
    " WHERE t.state = 'working' AND t.kind <> 'object'"
    " AND j.state IN ('DONE', 'FAILED', 'CANCELLED') ORDER BY t.number, t.part"
)
_TAKEN: Final = (
    "INSERT INTO index.replication_taken SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
)


@dataclass
class Taking:
    """One installation's, of one other site.

    Args:
        database: of the index.
        journal: of the other site, where it writes it.
        arriving: brings its objects.
        carrying_out: makes jobs of its changes.
        seal: of what is kept of them.
        outbox: of the index.
    """

    database: Database
    journal: Journal
    arriving: Arriving
    carrying_out: CarryingOut
    seal: Seal
    outbox: Outbox
    clock: Clock = SYSTEM_CLOCK
    untaken: int = 0
    """What was not done here when it was looked at last."""
    ask_again_at: float = float("-inf")
    """By the monotonic clock: what it has told is done meanwhile."""
    look_at: float = float("-inf")
    """When it is looked at again where a journal begins."""
    _reason: str | None = None
    """Why nothing more is read, as it was written down last."""

    async def run(self) -> None:
        """Take for ever; cancel to stop. What is away is waited for."""
        while True:
            pause = _IDLE_SECONDS
            try:
                if await self.slice():
                    pause = 0.0
                elif self.untaken:
                    pause = _UNDER_WAY_SECONDS
            except DependencyUnavailable as error:
                log.warning("replication.waits", reason=str(error))
                pause = _AWAY_SECONDS
            except Exception:  # it must not take indexing down with it
                log.exception("replication.failed")
                pause = _AWAY_SECONDS
            await asyncio.sleep(pause)

    async def slice(self) -> bool:
        """Take some, unless another process does; tell whether anything was done.

        Raises:
            DependencyUnavailable: the database, or this site's own store, is away.
        """
        async with self.database.session() as db:
            if not await inbound.lock(db):
                self.untaken = 0
                _show(0, 0.0)
                return False
            did = await self._read(db)
            did += await self._look_at_jobs(db)
            did += await self._begin(db)
            self.untaken, seconds = await inbound.lag(db)
            _show(self.untaken, seconds)
        return did > 0

    async def _read(self, db: Connection) -> int:
        """Read the next files; the other site's store may be away."""
        if self.clock.monotonic() < self.ask_again_at:
            return 0
        number, count = await inbound.taken(db, self.journal.site), 0
        waiting, _ = await inbound.lag(db)
        try:
            while waiting < MOST_WAITING:
                file = await self.journal.file(number + 1)
                if file is None:
                    if (moved := await self._begun_anew(db, number)) == number:
                        self.ask_again_at = self.clock.monotonic() + _IDLE_SECONDS
                        break
                    number = moved
                    continue
                number += 1
                count += 1
                waiting += len(file.changes)
                await inbound.add(db, self.seal, self.journal.site, number, file.changes)
                await inbound.heard_by_peer(db, file.heard)
        except (StoreUnavailable, Removed) as error:
            self.ask_again_at = self.clock.monotonic() + _PEER_AWAY_SECONDS
            metrics.REPLICATION_PEER_UP.set(0)
            log.warning("replication.peer_away", site=self.journal.site, reason=str(error))
            await self._say(db, str(error))
            return count
        metrics.REPLICATION_PEER_UP.set(1)
        await self._say(db, "")
        return count

    async def _begun_anew(self, db: Connection, number: int) -> int:
        """Return after which file to go on: another one, where the other site has begun anew.

        Raises:
            Removed: what was not read here is not there any more.
        """
        if self.clock.monotonic() < self.look_at:
            return number
        moved = (await self.journal.beginning()).go_on_after(number)
        self.look_at = self.clock.monotonic() + _LOOK_SECONDS
        if moved != number:
            log.warning("replication.begun_anew", site=self.journal.site, number=moved + 1)
            await inbound.set_taken(db, self.journal.site, moved)
        return moved

    async def _say(self, db: Connection, reason: str) -> None:
        """Write down why nothing more is read, when that has changed."""
        if reason != self._reason:
            await inbound.peer_reason(db, self.journal.site, reason)
            self._reason = reason

    async def _look_at_jobs(self, db: Connection) -> int:
        """End what is done here by now."""
        indexed = [Told.of(row, self.seal) for row in await db.fetch(_INDEXED, CONSUMER)]
        if indexed:
            async with db.transaction():
                await heard(db, *indexed)
                await inbound.ended(db, *indexed)
        metrics.REPLICATION_TAKEN.labels("object").inc(len(indexed))
        await db.execute(_LOST, _AGAIN)
        ended = await db.fetch(_JOBS)
        if ended:
            await self.carrying_out.words.write_down(db)
        for row in ended:
            told = Told.of(row, self.seal)
            async with db.transaction():
                outcome = await self._end(db, told, row["of"], row["became"], row["why"])
            if outcome:
                metrics.REPLICATION_TAKEN.labels(outcome).inc()
        return len(indexed) + len(ended)

    async def _end(self, db: Connection, told: Told, of: str, became: str, why: str) -> str:
        if of != told.kind:  # the study had to be restored first
            if became == "DONE":
                await inbound.again(db, told, timedelta(0), told.reason)
                return ""
            await self._refused(db, told, f"the study cannot be restored: {why}")
            return "refused"
        if became != "DONE":
            await self._refused(db, told, why or became)
            return "refused"
        if told.kind == "edit":
            await self.carrying_out.settle(db, told)
        await heard(db, told)
        if told.reason:
            await inbound.told_of(db, told, "outvoted", told.reason)
            log.warning(
                "replication.outvoted",
                kind=told.kind,
                study_instance_uid=told.study,
                reason=told.reason,
            )
            return "outvoted"
        await inbound.ended(db, told)
        return "change"

    @staticmethod
    async def _refused(db: Connection, told: Told, reason: str) -> None:
        await heard(db, told)
        await inbound.told_of(db, told, "refused", reason)
        log.error(
            "replication.refused", kind=told.kind, study_instance_uid=told.study, reason=reason
        )

    async def _begin(self, db: Connection) -> int:
        rows = await inbound.ready(db, self.seal, BATCH)
        objects = [one for one in rows if one.kind == "object"]
        if objects:
            await self._bring(db, objects)
        begun = len(objects)
        changes = [one for one in rows if one.kind != "object"]
        if changes:
            await self.carrying_out.words.write_down(db)
        for one in changes:
            try:
                async with db.transaction():
                    outcome = await self.carrying_out.begin(db, one)
            except PermanentError as error:
                outcome = "refused"
                async with db.transaction():
                    await self._refused(db, one, str(error))
            if outcome:
                metrics.REPLICATION_TAKEN.labels(outcome).inc()
                begun += 1
        return begun

    async def _bring(self, db: Connection, rows: Sequence[Told]) -> None:
        known = await named(db, [one.change["subject"] for one in rows])
        new = [one for one in rows if one.change["subject"] not in known]
        brought = await self.arriving.all([one.change for one in new])
        items: list[StoredItem] = []
        async with db.transaction():
            came = [one for one in rows if one.change["subject"] in known]  # here as well
            await heard(db, *came)
            await inbound.ended(db, *came)
            for one, item in zip(new, brought, strict=True):
                if isinstance(item, StoredItem):
                    items.append(item)
                    await inbound.working(db, one, item.receipt)
                elif isinstance(item, ObjectMissing):  # purged there meanwhile
                    await self._refused(db, one, "the other site has the object no more")
                else:
                    await inbound.again(db, one, _AGAIN, type(item).__name__)
                    log.error(
                        "replication.not_copied",
                        receipt=one.change["receipt"],
                        reason=type(item).__name__,
                    )
            await db.execute(_TAKEN, [item.object_key for item in items])
            await self.outbox.put(db, *InstancesStored.of(items))


def _show(changes: int, seconds: float) -> None:
    metrics.REPLICATION_UNTAKEN.set(changes)
    metrics.REPLICATION_UNTAKEN_SECONDS.set(seconds)
