"""What people have asked to be deleted or restored, as jobs."""

from typing import Any, Final

from darkroom_common.jobs.attempt import Attempt
from darkroom_common.jobs.kind import JobKind, Phases
from darkroom_common.jobs.table import JobTable
from darkroom_common.messages.commands import RemovePart, RemoveStudy
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry import metrics, traces

PHASES: Final = Phases(
    waiting="PENDING",
    working=("REMOVING",),
    retrying="RETRYING",
    ended_well=("DONE",),
    failed="FAILED",
    cancelled="CANCELLED",
)
_ADD: Final = (  # removal_pkey
    "INSERT INTO index.removal (id, action, study_instance_uid, sealed, requested_by, traceparent,"
    " created_at, series_instance_uid, sop_instance_uid)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING RETURNING *"
)


class Removals:
    """Writes the table `removal`."""

    def __init__(self, outbox: Outbox) -> None:
        self.kind: JobKind[Attempt] = JobKind(
            name="removal",
            table="index.removal",
            lane="action",
            phases=PHASES,
            counter=metrics.REMOVALS,
            attempt=Attempt,
            change="removal",
        )
        self.table: JobTable[Attempt] = JobTable(self.kind, outbox)

    async def add(self, db: Connection, asked: RemoveStudy | RemovePart) -> bool:
        """Add a job; return whether it is new."""
        added: Any = await db.fetchrow(
            _ADD,
            asked.job_id,
            asked.action,
            asked.study_instance_uid,
            asked.sealed,
            asked.requested_by,
            traces.inject().get("traceparent", ""),
            asked.occurred_at,
            asked.series_instance_uid if isinstance(asked, RemovePart) else None,
            asked.sop_instance_uid if isinstance(asked, RemovePart) else None,
        )
        if added is None:
            return False
        await self.table.log_change(db, asked.requested_by, asked.action, asked.job_id)
        await self.table.entered(db, added)
        return True
