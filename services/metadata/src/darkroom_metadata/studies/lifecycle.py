"""Studies become complete after a quiet time; see `domain/status.py` for the other states."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import asyncpg

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.messages.base import Message
from darkroom_common.messages.events import StudyCompleted
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import metadata as metrics

log = get_logger(__name__)
BATCH: Final = 100
_QUIET: Final = (  # study_receiving
    "UPDATE index.study s SET status = 'complete', revision = revision + 1,"
    " version = version + 1, completed_at = clock_timestamp()"
    " WHERE id IN (SELECT id FROM index.study WHERE status = 'receiving'"
    "  AND last_instance_at < clock_timestamp() - $1::interval"
    "  ORDER BY last_instance_at LIMIT $2 FOR UPDATE SKIP LOCKED)"
    " RETURNING study_instance_uid, revision, series_count, instance_count,"
    " modalities, calling_ae_titles, traceparent,"
    # replication_taken_pkey, replication_vector_pkey: whether nothing of it was received here
    " NOT EXISTS (SELECT FROM index.series e JOIN index.instance i ON i.series_id = e.id"
    "  WHERE e.study_id = s.id AND NOT EXISTS (SELECT FROM index.replication_taken t"
    "   WHERE t.object_key = i.object_key)) OR EXISTS (SELECT FROM index.replication_vector v"
    "  JOIN index.replication_site h ON h.is_on AND NOT v.counts ? h.name"
    "  WHERE v.study_instance_uid = s.study_instance_uid) AS replicated"
)


@dataclass
class Lifecycle:
    """Completes studies that have gone quiet."""

    database: Database
    outbox: Outbox
    quiet: timedelta

    async def run(self) -> None:
        """Look for quiet studies for ever; cancel to stop."""
        pause = min(max(self.quiet.total_seconds() / 10, 0.1), 5.0)
        while True:
            try:
                completed = await self.complete_quiet()
            except DependencyUnavailable as error:
                log.warning("lifecycle.waits", reason=str(error))
                completed = 0
            if completed < BATCH:
                await asyncio.sleep(pause)

    async def complete_quiet(self) -> int:
        """Complete up to 100 studies and return how many; the event is in the same transaction."""
        async with self.database.transaction() as db:
            rows = await db.fetch(_QUIET, self.quiet, BATCH)
            await self.outbox.put_traced(db, [_completed(row) for row in rows])
        for row in rows:
            log.info(
                "study.completed",
                study_instance_uid=row["study_instance_uid"],
                revision=row["revision"],
                instances=row["instance_count"],
            )
        metrics.STUDIES_COMPLETED.inc(len(rows))
        if rows:
            self.outbox.wake()
        return len(rows)


def _completed(row: asyncpg.Record) -> tuple[Message, dict[str, str]]:
    """Return the event, in the trace of the association that brought the first instance."""
    event = StudyCompleted(
        study_instance_uid=row["study_instance_uid"],
        revision=row["revision"],
        series=row["series_count"],
        instances=row["instance_count"],
        modalities=tuple(row["modalities"]),
        calling_ae_titles=tuple(row["calling_ae_titles"]),
        replicated=row["replicated"],
    )
    return event, {"traceparent": row["traceparent"]} if row["traceparent"] else {}
