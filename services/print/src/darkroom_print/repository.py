"""Jobs of print in PostgreSQL."""

from darkroom_common.messages.api import PrintFilm
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry import traces


class JobRepository:
    """Writes the table `print.job`."""

    async def add(self, db: Connection, request: PrintFilm) -> bool:
        """Add a queued job and return whether it is new."""
        added = await db.fetchval(
            "INSERT INTO print.job (id, printer, layout, sop_instance_uids, copies,"
            " requested_by, traceparent)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING id",
            request.job_id,
            request.printer,
            request.layout,
            list(request.sop_instance_uids),
            request.copies,
            request.requested_by,
            traces.inject().get("traceparent", ""),
        )
        return added is not None
