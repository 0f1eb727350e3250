"""Carries out what operators have decided, each decision once, whatever is killed meanwhile.

Promote, discard and keep are one transaction, the job's end included. A merge, a move or a split
goes through the instances some at a time: their corrected objects are made durable, then one
transaction brings the rows to them and keeps what was there as a conflict of kind `correction`.
What is done is no longer where the next attempt looks, so that it goes on with the rest.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

import asyncpg

from darkroom_common.dicom.correction import Unsayable
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.lease import Claims, Decide
from darkroom_common.jobs.runner import Runner
from darkroom_common.messages.events import ConflictResolved
from darkroom_common.objects.store import ObjectMissing
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import CLASH_ATTEMPTS, Connection, is_clash, the_row
from darkroom_common.seal import Seal, Unsealable
from darkroom_common.specs.conflicts import PURPOSE, Decision, refusal, state_after
from darkroom_common.telemetry.logs import get_logger
from darkroom_metadata.conflicts.objects import Damaged, Desk, Kept
from darkroom_metadata.conflicts.opening import open_beside
from darkroom_metadata.conflicts.plans import NotPossible, Plan, plan
from darkroom_metadata.conflicts.refiling import Refiled, Refiling, replaced
from darkroom_metadata.conflicts.repository import FIND, PHASES, STALE
from darkroom_metadata.indexing.item import Item, LostRace

log = get_logger(__name__)
BATCH: Final = 20
"""Instances in one transaction."""
_LOCK: Final = " FOR UPDATE OF c"
_SWAP: Final = (
    "UPDATE index.conflict c SET study_instance_uid = s.study_instance_uid,"
    " series_instance_uid = e.series_instance_uid, object_key = i.object_key, sha256 = i.sha256,"
    " size = i.size, receipt = i.receipt, calling_ae_title = i.calling_ae_title,"
    " received_at = i.received_at, data_set_offset = i.data_set_offset,"
    " head_sha256 = i.head_sha256, header = i.header, phi_key = i.phi_key,"
    " verified_at = i.verified_at FROM index.instance i"
    " JOIN index.series e ON e.id = i.series_id JOIN index.study s ON s.id = e.study_id"
    " WHERE c.id = $1 AND i.id = c.instance_id"
)
_CLOSE: Final = (
    "UPDATE index.conflict SET state = $2, version = version + 1, resolved_at = now(),"
    " resolved_by = $3, remove_after = CASE WHEN $2 = 'discarded'"
    " THEN now() + $4::interval END WHERE id = $1"
)
_NEXT: Final = (  # series_study_id_series_instance_uid_key, series_beside_study, instance_series
    "SELECT i.id, i.sop_instance_uid, i.object_key, encode(i.sha256, 'hex') AS sha256, i.receipt,"
    " i.received_at, i.calling_ae_title, e.series_instance_uid FROM index.series e"
    " JOIN index.instance i ON i.series_id = e.id"
    " WHERE ($1::bigint IS NULL OR e.study_id = $1) AND ($2::bigint IS NULL OR e.id = $2)"
    " ORDER BY i.id LIMIT $3"
)
_KEEP_ORIGINALS: Final = (  # conflict_bytes
    "INSERT INTO index.conflict (kind, state, instance_id, study_instance_uid,"
    " series_instance_uid, object_key, sha256, size, receipt, calling_ae_title, received_at,"
    " data_set_offset, head_sha256, header, phi_key, verified_at, resolved_at, resolved_by)"
    " SELECT 'correction', 'kept', i.id, s.study_instance_uid, e.series_instance_uid,"
    " i.object_key, i.sha256, i.size, i.receipt, i.calling_ae_title, i.received_at,"
    " i.data_set_offset, i.head_sha256, i.header, i.phi_key, i.verified_at, now(), $2"
    " FROM index.instance i JOIN index.series e ON e.id = i.series_id"
    " JOIN index.study s ON s.id = e.study_id WHERE i.id = ANY($1::bigint[])"
    " ON CONFLICT (instance_id, object_key) WHERE kind IN ('instance', 'correction') DO NOTHING"
)
_IN_FORCE: Final = (
    "SELECT count(*) FROM index.instance i JOIN unnest($1::bigint[], $2::text[]) AS g (id, key)"
    " ON g.id = i.id AND g.key = i.object_key"
)
_PROGRESS: Final = "UPDATE index.resolution SET instances = instances + $2 WHERE id = $1"
Work = Callable[[Connection], Awaitable[Ending]]


class _Lost(Exception):
    """The job is not this process's any more."""


@dataclass
class Resolver:
    """Does the jobs of `Resolutions`, one at a time.

    Attributes:
        retention: how long the object of what was discarded is kept.
    """

    claims: Claims[Attempt]
    desk: Desk
    keys: PhiKeys
    seal: Seal
    outbox: Outbox
    retention: timedelta

    def __post_init__(self) -> None:
        """Make what runs the jobs."""
        self.database = self.claims.database
        self.refiling = Refiling(self.keys)
        self.runner = Runner(self.claims, self.attempt)

    async def attempt(self, job: Attempt) -> Ending | Decide:
        """Do one job; what it cannot do is the job's end."""
        try:
            decision = self._decision(job.row["sealed"])
            async with self.database.acquire() as db:
                row = await self._conflict(db, job)
            action = job.row["action"]
            if action in ("keep", "discard"):
                return partial(self._whole, partial(self._close, job, count=0))
            if action == "promote":
                item = await self.desk.read(Kept.of(row))
                return partial(self._whole, partial(self._promote, job, item))
            async with self.database.acquire() as db:
                planned = await self._plan(db, row, job, decision)
            while not job.stopped and await self._some(job, planned):
                pass
            if job.stopped:
                return self.claims.table.kind.given_back()
            return partial(self._whole, partial(self._close, job, count=None))
        except PermanentError as error:
            return Ending(PHASES.failed, reason_of(error))
        except _Lost:
            return self.claims.table.kind.given_back()  # which its new owner does not see

    def _decision(self, sealed: str) -> Decision:
        given = self.seal.open(sealed, purpose=PURPOSE) if sealed else {}
        return Decision.model_validate(given)

    async def _plan(
        self, db: Connection, row: asyncpg.Record, job: Attempt, decision: Decision
    ) -> Plan:
        return await plan(
            db,
            row,
            job.row["action"],
            decision,
            job=job.id,
            keys=self.keys,
            blind=self.desk.reading.blind,
        )

    @staticmethod
    async def _conflict(db: Connection, job: Attempt, lock: str = "") -> asyncpg.Record:
        """Return the conflict, if it is as whoever asked has seen it and takes the action.

        Raises:
            NotPossible: it does not.
        """
        row = await db.fetchrow(FIND + lock, job.row["conflict_id"])
        if row is None:
            raise NotPossible("there is no such conflict")
        if job.row["version"] not in (None, row["version"]):
            raise NotPossible(STALE)
        seen = job.row["version"] is not None
        why = refusal(row["kind"], row["state"], job.row["action"], seen=seen)
        if why:
            raise NotPossible(why)
        return row

    @staticmethod
    async def _whole(work: Work, db: Connection) -> Ending:
        """Do all of a job within the transaction that ends it, or nothing."""
        try:
            async with db.transaction():
                return await work(db)
        except PermanentError as error:
            return Ending(PHASES.failed, reason_of(error))
        except LostRace:
            return Ending(PHASES.waiting, "", wait=0.1)

    async def _promote(self, job: Attempt, item: Item, db: Connection) -> Ending:
        row = await self._conflict(db, job, _LOCK)
        if row["object_key"] != item.event.object_key:
            raise NotPossible(STALE)
        before = await self.refiling.lock(db, [item])
        await db.execute(_SWAP, row["id"])
        done = await self.refiling.replace(db, [item], before, conflict=row["id"])
        opened = await open_beside(db, done.disagreements, done.ids)
        await self.outbox.put(db, *done.changed)
        await self.outbox.put_traced(db, [*replaced([item]), *opened])
        return await self._close(job, db, count=1)

    async def _close(self, job: Attempt, db: Connection, *, count: int | None) -> Ending:
        """Resolve the conflict; of `count` instances, or of as many as the job has counted."""
        row = await self._conflict(db, job, _LOCK)
        state, by = state_after(job.row["action"]), job.row["requested_by"]
        await db.execute(_CLOSE, row["id"], state, by, self.retention)
        if count is None:
            count = the_row(
                await db.fetchrow("SELECT instances FROM index.resolution WHERE id = $1", job.id)
            )["instances"]
        event = ConflictResolved(
            conflict_id=str(row["id"]),
            kind=row["kind"],
            state=state,
            instances=count,
            requested_by=by,
        )
        await self.outbox.put_traced(db, [(event, job.trace)])
        log.info("conflict.resolved", conflict=row["id"], state=state, by=by, instances=count)
        return Ending("DONE", columns={"instances": count})

    async def _some(self, job: Attempt, planned: Plan) -> int:
        """Correct and file some of the instances that are left; return how many.

        Raises:
            DependencyUnavailable: other writers were quicker each time.
        """
        for _ in range(CLASH_ATTEMPTS):
            async with self.database.acquire() as db:
                rows = await db.fetch(_NEXT, planned.study, planned.series, BATCH)
            items = [
                await self.desk.correct(Kept.of(row), planned.changes(row["series_instance_uid"]))
                for row in rows
            ]
            if not items:
                return 0
            try:
                async with self.database.transaction() as db:
                    await self._file(db, job, planned, rows, items)
            except LostRace:
                continue
            except Exception as error:
                if not is_clash(error):
                    raise
                continue
            return len(items)
        raise DependencyUnavailable("the index is too busy: lost against other writers each time")

    async def _file(
        self,
        db: Connection,
        job: Attempt,
        planned: Plan,
        rows: Sequence[asyncpg.Record],
        items: Sequence[Item],
    ) -> None:
        """Bring rows to their corrected objects."""
        if not await self.claims.table.ours(db, job, owner=self.claims.owner):
            raise _Lost
        row = await self._conflict(db, job, _LOCK)
        before = await self.refiling.lock(db, items)
        numbers = [one["id"] for one in rows]
        keys = [one["object_key"] for one in rows]
        if await db.fetchval(_IN_FORCE, numbers, keys) != len(rows):
            raise LostRace("an instance has got other bytes")
        await db.execute(_KEEP_ORIGINALS, numbers, job.row["requested_by"])
        done = await self.refiling.replace(db, items, before, conflict=row["id"])
        _require_filed(planned, done)
        await db.execute(_PROGRESS, job.id, len(items))
        await self.outbox.put(db, *done.changed)
        await self.outbox.put_traced(db, replaced(items))


def _require_filed(planned: Plan, done: Refiled) -> None:
    """Make sure that instances have left the row, and are where they were to come to."""
    stayed = any(
        place.study == planned.study or place.series == planned.series for place in done.places
    )
    astray = planned.target is not None and any(
        place.study != planned.target for place in done.places
    )
    if stayed or astray:
        raise NotPossible("they would still disagree")


def reason_of(error: PermanentError) -> str:
    """Return what people read of an error."""
    match error:
        case ObjectMissing():
            return "an object is missing: darkroom verify"
        case Damaged():
            return "an object is not as it was received: darkroom verify"
        case Unreadable():
            return f"an object is no whole data set: {error.code}"
        case Unsealable():
            return "what was sealed cannot be opened with PHI_KEYS"
        case Unsayable() | NotPossible():
            return str(error)
        case _:
            return type(error).__name__
