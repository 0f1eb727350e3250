"""What people have asked to be deleted or restored, as jobs."""

from typing import Final

from darkroom_common.messages.commands import RemovePart, RemoveStudy
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry import traces
from darkroom_metadata.asked import AskedJobs, phases

PHASES: Final = phases("REMOVING")
_ADD: Final = (  # removal_pkey
    "INSERT INTO index.removal (id, action, study_instance_uid, sealed, requested_by, traceparent,"
    " created_at, series_instance_uid, sop_instance_uid)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING RETURNING *"
)


class Removals(AskedJobs):
    """Writes the table `removal`."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__(outbox, "removal", PHASES, "removal")

    async def add(self, db: Connection, asked: RemoveStudy | RemovePart) -> bool:
        """Add a job; return whether it is new."""
        row = await db.fetchrow(
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
        return await self.added(db, row, asked, asked.job_id)
