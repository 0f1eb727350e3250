"""Deletes and restores studies, and purges in the end what is left of those that were deleted.

A study that is deleted is nowhere to be seen, and all of it is still there. When its time has
come, its objects and rows go for good, unless it is held, was restored, or has come again.
"""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final

import asyncpg

from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.index.retention.holds import is_held
from darkroom_common.index.retention.judged import dated_of
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.lease import Claims, Decide
from darkroom_common.jobs.runner import Runner
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import DeleteStudy
from darkroom_common.messages.events import StudyRemoved
from darkroom_common.objects.store import ObjectStore
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.retention import Kept, Retention
from darkroom_common.telemetry.logs import get_logger
from darkroom_metadata.indexing.repository import lock_studies
from darkroom_metadata.removal import parts
from darkroom_metadata.removal.repository import PHASES
from darkroom_metadata.retention.pace import NotYet, Turns
from darkroom_metadata.studies.changes import told
from darkroom_metadata.studies.status import StudyStatus

log = get_logger(__name__)
LOOK_SECONDS: Final = 60.0
LATER: Final = dt.timedelta(days=1)
_STUDIES: Final = (  # study_study_instance_uid_key, study_beside_uid
    "SELECT id, status FROM index.study WHERE study_instance_uid = $1 ORDER BY id FOR UPDATE"
)
_SET: Final = (
    "UPDATE index.study s SET status = $2, version = s.version + 1"
    " FROM (SELECT id, status FROM index.study WHERE id = ANY($1::bigint[])) AS o"
    " WHERE s.id = o.id RETURNING s.study_instance_uid, o.status AS old, s.revision, s.version"
)
_DELETED: Final = "UPDATE index.removal SET purge_after = now() + $2::interval WHERE id = $1"
_NO_JOB: Final = (
    "INSERT INTO index.removal (id, action, study_instance_uid, state, requested_by, finished_at,"
    " purge_after, rule) VALUES ($1, 'delete', $2, 'DONE', $3, now(), now() + $4::interval, $5)"
    " ON CONFLICT (id) DO NOTHING"
)
_RESTORED: Final = (  # removal_study
    "UPDATE index.removal SET restored_at = now(), updated_at = now() WHERE study_instance_uid = $1"
    " AND series_instance_uid IS NULL"
    " AND purge_after IS NOT NULL AND purged_at IS NULL AND restored_at IS NULL"
)
_DUE: Final = (  # removal_purge
    "SELECT id, study_instance_uid, series_instance_uid, sop_instance_uid, requested_by, rule,"
    " finished_at FROM index.removal WHERE purge_after < now() AND purged_at IS NULL"
    " AND restored_at IS NULL AND state = 'DONE' ORDER BY purge_after"
    " LIMIT 1 FOR UPDATE SKIP LOCKED"
)
_RESTORED_LATELY: Final = (  # removal_study
    "SELECT EXISTS (SELECT FROM index.removal WHERE study_instance_uid = $1"
    " AND restored_at > now() - $2::interval)"
)
_LATER: Final = "UPDATE index.removal SET purge_after = now() + $2::interval WHERE id = $1"
_PURGED: Final = "UPDATE index.removal SET purged_at = now(), updated_at = now() WHERE id = $1"
_INSTANCES: Final = (  # series_study_id_series_instance_uid_key, instance_series
    "SELECT i.id, i.object_key FROM index.series e JOIN index.instance i ON i.series_id = e.id"
    " WHERE e.study_id = ANY($1::bigint[])"
)
_CONFLICTS: Final = (  # conflict_bytes, conflict_beside
    "SELECT id, object_key FROM index.conflict WHERE instance_id = ANY($1::bigint[])"
)
_NAMED: Final = (  # instance_object, conflict_object, removed_object_key
    "SELECT EXISTS (SELECT FROM index.instance WHERE object_key = $1 AND id <> ALL($2::bigint[]))"
    " OR EXISTS (SELECT FROM index.conflict WHERE object_key = $1 AND id <> ALL($3::bigint[])"
    "  AND removed_at IS NULL)"
    " OR EXISTS (SELECT FROM index.removed_object WHERE object_key = $1)"
)
_GONE: Final = (
    ("DELETE FROM index.resolution WHERE conflict_id = ANY($1::bigint[])", "conflicts"),
    ("DELETE FROM index.conflict WHERE id = ANY($1::bigint[])", "conflicts"),
    ("DELETE FROM index.instance WHERE id = ANY($1::bigint[])", "instances"),
    ("DELETE FROM index.series WHERE study_id = ANY($1::bigint[])", "studies"),
    ("DELETE FROM index.study_edit WHERE id = ANY($1::bigint[])", "studies"),
    ("DELETE FROM index.retention WHERE study_id = ANY($1::bigint[])", "studies"),
    ("DELETE FROM index.tier WHERE study_id = ANY($1::bigint[])", "studies"),
)
_CHANGES_GONE: Final = "DELETE FROM index.study_change WHERE study_instance_uid = $1"
_STUDIES_GONE: Final = "DELETE FROM index.study WHERE id = ANY($1::bigint[]) RETURNING patient_id"
_PATIENTS_GONE: Final = (  # study_patient, study_beside_patient
    "DELETE FROM index.patient p WHERE p.id = ANY($1::bigint[])"
    " AND NOT EXISTS (SELECT FROM index.study s WHERE s.patient_id = p.id)"
)


_SETTLED: Final = frozenset(
    {StudyStatus.COMPLETE.value, StudyStatus.VERIFIED.value, StudyStatus.ARCHIVED.value}
)
AT_ONCE: Final = Turns("purge", 0)


class NotDeletable(PermanentError):
    """A study may not be deleted; the text says why."""


class Marked(Enum):
    """What has become of a study that is due by the rules."""

    GONE = "deleted, and can be restored"
    HELD = "under legal hold"
    KEPT = "restored lately, being received, or not due after all"


@dataclass
class Remover:
    """Does the jobs of `Removals`, and purges.

    Attributes:
        keys: for what rules look at that is encrypted.
        keep: how long a deleted study can be restored.
        marks, purges: how fast it goes at most.
    """

    claims: Claims[Attempt]
    store: ObjectStore
    outbox: Outbox
    retention: Retention
    keep: dt.timedelta
    keys: PhiKeys
    marks: Turns = AT_ONCE
    purges: Turns = AT_ONCE
    clock: Clock = SYSTEM_CLOCK

    def __post_init__(self) -> None:
        """Make what runs the jobs."""
        self.database = self.claims.database
        self.runner = Runner(self.claims, self.attempt)

    async def attempt(self, job: Attempt) -> Decide:
        """Do one job, in the transaction that ends it."""
        return partial(self._whole, job)

    async def _whole(self, job: Attempt, db: Connection) -> Ending:
        uid, by = job.row["study_instance_uid"], job.row["requested_by"]
        part = parts.Part.of(job.row)
        try:
            async with db.transaction():
                if job.row["action"] == "delete":
                    if part is None:
                        await self.delete(db, uid, by=by)
                    else:
                        await self._delete_part(db, job.id, part, by=by)
                    await db.execute(_DELETED, job.id, self.keep)
                elif part is None:
                    await self._restore(db, uid, by=by)
                else:
                    await self._restore_part(db, part, by=by)
        except PermanentError as error:
            return Ending(PHASES.failed, str(error))
        return Ending("DONE")

    async def delete(self, db: Connection, uid: str, *, by: str) -> None:
        """Take the studies of a UID away from everybody.

        Raises:
            NotDeletable: they are held, are to be kept, or are not there.
        """
        rows = await self._deletable(db, uid)
        await self._set(db, [row["id"] for row in rows], StudyStatus.DELETED, by=by)
        log.warning("study.deleted", study_instance_uid=uid, by=by)

    async def _deletable(self, db: Connection, uid: str) -> list[asyncpg.Record]:
        """Return the studies of a UID, locked; see `delete`."""
        await lock_studies(db, {uid})
        rows = [row for row in await db.fetch(_STUDIES, uid) if row["status"] != "deleted"]
        if not rows:
            raise NotDeletable("there is no such study")
        if await is_held(db, uid):
            raise NotDeletable("the study is under legal hold")
        until = (await self._kept(db, uid)).until
        if self.clock.now().date() < until:
            raise NotDeletable(f"the study is to be kept until {until}")
        return rows

    async def _kept(self, db: Connection, uid: str) -> Kept:
        return self.retention.kept(await dated_of(db, self.keys, self.retention, uid))

    async def mark(self, db: Connection, uid: str, *, by: str) -> Marked:
        """Delete a study that is due by the rules, unless something stands in the way.

        Raises:
            NotYet: it is not its turn.
        """
        await lock_studies(db, {uid})
        rows = [row for row in await db.fetch(_STUDIES, uid) if row["status"] != "deleted"]
        if not rows or not {row["status"] for row in rows} <= _SETTLED:
            return Marked.KEPT
        if await is_held(db, uid):
            return Marked.HELD
        kept = await self._kept(db, uid)
        if self.clock.now().date() < kept.until:
            return Marked.KEPT
        if await db.fetchval(_RESTORED_LATELY, uid, self.keep):
            return Marked.KEPT
        await self.marks.take(db)
        removal, rule = new_message_id(), self.retention.in_words(kept.rule)
        await self._set(db, [row["id"] for row in rows], StudyStatus.DELETED, by=by)
        await db.execute(_NO_JOB, removal, uid, by, self.keep, rule)
        gone = StudyRemoved(
            study_instance_uid=uid, how="deleted", removal_id=removal, requested_by=by, rule=rule
        )
        await self.outbox.put(db, gone)
        log.warning("study.marked", study_instance_uid=uid, removal=removal, rule=kept.rule)
        return Marked.GONE

    async def _delete_part(self, db: Connection, job: str, part: parts.Part, *, by: str) -> None:
        studies = [row["id"] for row in await self._deletable(db, part.study)]
        found = await parts.find(db, part, studies)
        if not found.instances:
            raise NotDeletable("there is no such series or instance")
        if found.is_disputed:
            raise NotDeletable("a conflict about it is open: decide that first")
        if found.is_all:
            await parts.make_whole(db, job)
            await self._set(db, studies, StudyStatus.DELETED, by=by)
        else:
            await parts.take_away(db, job, found, studies)
        log.warning(
            "part.deleted", study_instance_uid=part.study, instances=len(found.instances), by=by
        )

    async def _restore_part(self, db: Connection, part: parts.Part, *, by: str) -> None:
        await lock_studies(db, {part.study})
        told_again = await parts.put_back(db, part)
        if told_again is None:
            raise NotDeletable("there is no such deleted series or instance")
        await self.outbox.put(db, *told_again)
        log.warning("part.restored", study_instance_uid=part.study, by=by)

    async def told_to_delete(self, db: Connection, asked: DeleteStudy) -> bool:
        """Delete a study by a command that is no job; tell whether it was there.

        Raises:
            NotDeletable: it is held, or is to be kept, or there has never been one.
        """
        uid, by = asked.study_instance_uid, asked.requested_by
        rows = await db.fetch(_STUDIES, uid)
        if rows and all(row["status"] == "deleted" for row in rows):
            return False
        await self.delete(db, uid, by=by)
        await db.execute(_NO_JOB, asked.id, uid, by, self.keep, "")
        gone = StudyRemoved(
            study_instance_uid=uid, how="deleted", removal_id=asked.id, requested_by=by
        )
        await self.outbox.put(db, gone)
        return True

    async def _restore(self, db: Connection, uid: str, *, by: str) -> None:
        await lock_studies(db, {uid})
        rows = [row for row in await db.fetch(_STUDIES, uid) if row["status"] == "deleted"]
        if not rows:
            raise NotDeletable("there is no such deleted study")
        await self._set(db, [row["id"] for row in rows], StudyStatus.COMPLETE, by=by)
        await db.execute(_RESTORED, uid)
        log.warning("study.restored", study_instance_uid=uid, by=by)

    async def _set(
        self, db: Connection, studies: Sequence[int], status: StudyStatus, *, by: str
    ) -> None:
        changed = await db.fetch(_SET, list(studies), status.value)
        await self.outbox.put(db, *(told(row, status, by=by) for row in changed))

    async def run(self) -> None:
        """Purge what is due for ever; cancel to stop."""
        while True:
            pause = LOOK_SECONDS
            try:
                while await self.purge_one():
                    pass
            except NotYet as wait:
                pause = min(wait.seconds, LOOK_SECONDS)
            except DependencyUnavailable as error:
                log.warning("purge.waits", reason=str(error))
            await asyncio.sleep(pause)

    async def purge_one(self) -> bool:
        """Purge one study that is due; tell if there was any.

        Its row is locked meanwhile, and so is the study: whoever receives something of it waits. A
        crash before the commit has it done again, which finds some objects gone and is content.

        Raises:
            NotYet: it is not the turn of the next one.
        """
        async with self.database.transaction() as db:
            due = await db.fetchrow(_DUE)
            if due is None:
                return False
            await self.purges.take(db)
            uid = due["study_instance_uid"]
            await lock_studies(db, {uid})
            if parts.Part.of(due) is not None:
                await self._purge_part(db, due)
                return True
            rows = await db.fetch(_STUDIES, uid)
            studies = [row["id"] for row in rows if row["status"] == "deleted"]
            if rows and not studies:
                await db.execute(_RESTORED, uid)  # something of it has come again
            elif due["rule"] and await self._is_kept_after_all(db, uid, studies):
                log.warning("study.kept_after_all", study_instance_uid=uid, removal=due["id"])
            elif await is_held(db, uid) or (objects := await self._purge(db, due, studies)) is None:
                await db.execute(_LATER, due["id"], LATER)
            else:
                await db.execute(_PURGED, due["id"])
                gone = StudyRemoved(
                    study_instance_uid=uid,
                    how="purged",
                    removal_id=due["id"],
                    requested_by=due["requested_by"],
                    objects=objects,
                    rule=due["rule"],
                )
                await self.outbox.put(db, gone)
                log.warning("study.purged", study_instance_uid=uid, removal=due["id"])
        return True

    async def _is_kept_after_all(self, db: Connection, uid: str, studies: Sequence[int]) -> bool:
        """Restore what the rules have marked and would keep today; tell whether it is so."""
        trial = db.transaction()
        await trial.start()
        await self._set(db, studies, StudyStatus.COMPLETE, by="")  # judged as it was when it stood
        kept = await self._kept(db, uid)
        if self.clock.now().date() >= kept.until:
            await trial.rollback()
            return False
        await db.execute(_RESTORED, uid)
        await trial.commit()
        return True

    async def _purge_part(self, db: Connection, due: asyncpg.Record) -> None:
        uid, since = due["study_instance_uid"], due["finished_at"]
        held = await is_held(db, uid)
        if held or not await parts.purge(db, self.store, due["id"], untouched_since=since):
            await db.execute(_LATER, due["id"], LATER)
            return
        await db.execute(_PURGED, due["id"])
        gone = StudyRemoved(
            study_instance_uid=uid,
            how="purged",
            part=due["sop_instance_uid"] or due["series_instance_uid"],
            removal_id=due["id"],
            requested_by=due["requested_by"],
        )
        await self.outbox.put(db, gone)
        log.warning("part.purged", study_instance_uid=uid, removal=due["id"])

    async def _purge(
        self, db: Connection, due: asyncpg.Record, studies: Sequence[int]
    ) -> int | None:
        """Remove objects, then rows; return how many, None when one was put again meanwhile."""
        instances = await db.fetch(_INSTANCES, studies)
        numbers = {"studies": studies, "instances": [row["id"] for row in instances]}
        conflicts = await db.fetch(_CONFLICTS, numbers["instances"])
        numbers["conflicts"] = [row["id"] for row in conflicts]
        for key in {row["object_key"] for row in (*instances, *conflicts)}:
            named = await db.fetchval(_NAMED, key, numbers["instances"], numbers["conflicts"])
            if not named and not await self.store.remove(key, untouched_since=due["finished_at"]):
                return None
        for sql, of in _GONE:
            await db.execute(sql, numbers[of])
        await db.execute(_CHANGES_GONE, due["study_instance_uid"])
        patients = [row["patient_id"] for row in await db.fetch(_STUDIES_GONE, studies)]
        await db.execute(_PATIENTS_GONE, patients)
        return len(instances)
