"""Jobs of transmit in PostgreSQL."""

from darkroom_common.messages.api import SendObjects
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry import traces


class JobRepository:
    """Writes the table `transmit.job`."""

    async def add(self, db: Connection, request: SendObjects) -> bool:
        """Add a pending job and return whether it is new."""
        added = await db.fetchval(
            "INSERT INTO transmit.job (id, destination, study_instance_uid, series_instance_uid,"
            " sop_instance_uids, priority, requested_by, traceparent)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING id",
            request.job_id,
            request.destination,
            request.study_instance_uid,
            request.series_instance_uid,
            list(request.sop_instance_uids),
            request.priority,
            request.requested_by,
            traces.inject().get("traceparent", ""),
        )
        return added is not None
