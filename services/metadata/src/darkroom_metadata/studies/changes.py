"""Changes of a study's state, each with the event that tells it, in the caller's transaction."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from darkroom_common.errors import PermanentError
from darkroom_common.messages.base import Message
from darkroom_common.messages.commands import ChangeStudyStatus, DeleteStudy
from darkroom_common.messages.events import StudyStatusChanged
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger
from darkroom_metadata.studies.status import StudyStatus, may_change

log = get_logger(__name__)
CONSUMER: Final = "metadata.studies"

# Whether every instance of study s was read back well since it came.
_ALL_WELL: Final = (
    " NOT EXISTS (SELECT FROM index.series e JOIN index.instance i ON i.series_id = e.id"
    "  WHERE e.study_id = s.id AND (i.verified_at IS NULL OR EXISTS"
    "   (SELECT FROM index.verification_finding f"
    "    WHERE f.object_key = i.object_key AND f.resolved_at IS NULL)))"
)
_OF_INSTANCES: Final = (
    "(SELECT e.study_id FROM index.series e JOIN index.instance i ON i.series_id = e.id"
    " WHERE i.id = ANY($1::bigint[]))"
)


def told(row: asyncpg.Record, new: StudyStatus, *, by: str = "") -> StudyStatusChanged:
    """Return the event of a change, of a row with uid, old, revision and version."""
    return StudyStatusChanged(
        study_instance_uid=row["study_instance_uid"],
        old=row["old"],
        new=new.value,
        revision=row["revision"],
        version=row["version"],
        requested_by=by,
    )


async def set_status(
    db: Connection, uid: str, old: StudyStatus, new: StudyStatus
) -> list[asyncpg.Record]:
    """Take the studies of a UID from one state to another; return their rows."""
    return await db.fetch(
        "UPDATE index.study s SET status = $3, version = s.version + 1"
        " FROM (SELECT id, status FROM index.study WHERE study_instance_uid = $1"
        "  AND status = $2 FOR UPDATE) AS o WHERE s.id = o.id"
        " RETURNING s.study_instance_uid, o.status AS old, s.revision, s.version",
        uid,
        old.value,
        new.value,
    )


async def judge_verified(db: Connection, instance_ids: Sequence[int]) -> list[StudyStatusChanged]:
    """Verify the complete studies of these instances when all is well; take it back when not."""
    changes = (
        (StudyStatus.COMPLETE, StudyStatus.VERIFIED, _ALL_WELL),
        (StudyStatus.VERIFIED, StudyStatus.COMPLETE, f" NOT ({_ALL_WELL})"),
    )
    events = []
    for old, new, condition in changes:
        rows = await db.fetch(
            f"UPDATE index.study s SET status = '{new}', version = s.version + 1"  # noqa: S608
            " WHERE s.id IN (SELECT id FROM index.study WHERE id IN"
            f" {_OF_INSTANCES} AND status = '{old}' FOR NO KEY UPDATE SKIP LOCKED)"
            f" AND s.status = '{old}' AND {condition}"
            f" RETURNING s.study_instance_uid, '{old}' AS old, s.revision, s.version",
            list(instance_ids),
        )
        events += [told(row, new) for row in rows]
    return events


async def revive_deleted(db: Connection, instance_ids: Sequence[int]) -> list[StudyStatusChanged]:
    """Take back the deletion of studies whose instances have come again."""
    rows = await db.fetch(
        "UPDATE index.study s SET status = 'receiving', last_instance_at = clock_timestamp(),"  # noqa: S608
        f" version = s.version + 1 WHERE s.id IN {_OF_INSTANCES} AND s.status = 'deleted'"
        " RETURNING s.study_instance_uid, 'deleted' AS old, s.revision, s.version",
        list(instance_ids),
    )
    return [told(row, StudyStatus.RECEIVING) for row in rows]


@dataclass
class Studies:
    """Does what is asked for with whole studies: at most once for each command."""

    database: Database
    outbox: Outbox
    delete: Callable[[Connection, DeleteStudy], Awaitable[bool]]
    inbox: Inbox = field(default_factory=lambda: Inbox("index", CONSUMER))

    async def handle(self, message: Message) -> None:
        """Change a study's state.

        Raises:
            PermanentError: there is no such study, or no command may do that to it.
            DependencyUnavailable: the database is away.
        """
        if isinstance(message, DeleteStudy):
            await self._delete(message)
            return
        if not isinstance(message, ChangeStudyStatus):
            raise PermanentError(f"{CONSUMER} does not take {message.TYPE}")
        new = StudyStatus(message.status)
        async with self.database.transaction() as db:
            if not await self.inbox.first_time(db, message.id):
                return
            rows = await db.fetch(  # of one UID there may be studies of several patients
                "SELECT status FROM index.study WHERE study_instance_uid = $1 ORDER BY id"
                " FOR UPDATE",
                message.study_instance_uid,
            )
            if not rows:
                raise PermanentError("there is no such study")
            states = {StudyStatus(row["status"]) for row in rows} - {new}
            for old in sorted(states):
                if not may_change(old, new):
                    raise PermanentError(f"a study that is {old} cannot become {new} by a command")
                changed = await set_status(db, message.study_instance_uid, old, new)
                events = [told(row, new, by=message.requested_by) for row in changed]
                await self.outbox.put(db, *events)
        if not states:
            return
        self.outbox.wake()
        log.info(
            "study.status_changed",
            study_instance_uid=message.study_instance_uid,
            old=sorted(states),
            new=new.value,
            by=message.requested_by,
        )

    async def _delete(self, message: DeleteStudy) -> None:
        """Delete a study as REST has it deleted: not before its time, and not while it is held."""
        async with self.database.transaction() as db:
            if not await self.inbox.first_time(db, message.id):
                return
            if not await self.delete(db, message):
                return
        self.outbox.wake()
