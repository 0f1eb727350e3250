"""What operators have asked for, as jobs; and the statements about one conflict."""

from typing import Final

from darkroom_common.errors import PermanentError
from darkroom_common.messages.commands import ResolveConflict
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.conflicts import refusal
from darkroom_common.telemetry import traces
from darkroom_metadata.asked import AskedJobs, phases

PHASES: Final = phases("RESOLVING")
STALE: Final = "it has been changed meanwhile"
# A command that finds another at work is kept as a job that has failed, where people see it.
_ADD: Final = (  # resolution_pkey, resolution_at_work
    "INSERT INTO index.resolution (id, conflict_id, action, version, sealed, requested_by,"
    " traceparent, created_at, state, reason, finished_at)"
    " SELECT $1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $9 = '' THEN 'PENDING' ELSE 'FAILED' END,"
    " $9, CASE WHEN $9 <> '' THEN now() END"
    " WHERE NOT EXISTS (SELECT FROM index.resolution WHERE id = $1)"
    " RETURNING *"
)
_CONFLICT: Final = (  # whoever resolves it, or asks for it, waits for whoever does so now
    "SELECT kind, state, version, EXISTS (SELECT FROM index.resolution r"
    "  WHERE r.conflict_id = c.id AND r.state IN ('PENDING', 'RESOLVING', 'RETRYING')) AS busy"
    " FROM index.conflict c WHERE c.id = $1 FOR UPDATE"
)
FIND: Final = (
    "SELECT c.id, c.kind, c.state, c.version, c.object_key, encode(c.sha256, 'hex') AS sha256,"
    " c.receipt, c.received_at, c.calling_ae_title, c.first_study_id, c.first_series_id,"
    " c.beside_study_id, c.beside_series_id FROM index.conflict c WHERE c.id = $1"
)


class Resolutions(AskedJobs):
    """Writes the table `resolution`."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__(outbox, "resolution", PHASES, "conflict")

    async def add(self, db: Connection, asked: ResolveConflict) -> bool:
        """Add a job, a failed one for what cannot be done; return whether it is new.

        Raises:
            PermanentError: there is no such conflict.
        """
        number = int(asked.conflict_id)
        row = await db.fetchrow(_CONFLICT, number)
        if row is None:
            raise PermanentError("there is no such conflict")
        seen = asked.version is not None
        reason = refusal(row["kind"], row["state"], asked.action, seen=seen)
        if row["busy"]:
            reason = "somebody has asked for something else with it, which is not done yet"
        elif asked.version not in (None, row["version"]):
            reason = STALE
        added = await db.fetchrow(
            _ADD,
            asked.job_id,
            number,
            asked.action,
            asked.version,
            asked.sealed,
            asked.requested_by,
            traces.inject().get("traceparent", ""),
            asked.occurred_at,
            reason,
        )
        return await self.added(db, added, asked, asked.conflict_id)
