"""What people have asked to be edited, as jobs; and what follows for objects that come later."""

from collections.abc import Sequence
from typing import Final

from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import EditStudies
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry import traces
from darkroom_metadata.asked import AskedJobs, phases

PHASES: Final = phases("EDITING")
FOLLOW: Final = "follow"
_ADD: Final = (  # edit_pkey
    "INSERT INTO index.edit (id, action, study_instance_uid, sealed, requested_by, traceparent,"
    " created_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING RETURNING *"
)
_FOLLOW: Final = (  # study_edit_pkey, edit_follows: one that waits sees what has come meanwhile
    "INSERT INTO index.edit (id, action, study_instance_uid)"
    " SELECT $2 || '.' || min(s.id), 'follow', s.study_instance_uid"
    " FROM index.study_edit e JOIN index.study s ON s.id = e.id WHERE e.id = ANY($1::bigint[])"
    " GROUP BY s.study_instance_uid ON CONFLICT (study_instance_uid)"
    " WHERE action = 'follow' AND state = 'PENDING' DO NOTHING RETURNING id"
)


class Edits(AskedJobs):
    """Writes the table `edit`."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__(outbox, "edit", PHASES, "edit")

    async def add(self, db: Connection, asked: EditStudies) -> bool:
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
        )
        return await self.added(db, row, asked, asked.job_id)


async def follow(db: Connection, studies: Sequence[int]) -> bool:
    """Have objects edited that were filed under studies which were edited before they came."""
    return bool(await db.fetch(_FOLLOW, sorted(set(studies)), new_message_id()))
