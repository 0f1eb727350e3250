"""What is told of a change beside its id: enough to carry it out at another site."""

from dataclasses import dataclass
from typing import Any, Final

from darkroom_common.index.retention.holds import held_here
from darkroom_common.postgres.pool import Connection
from darkroom_common.seal import Seal
from darkroom_common.specs.conflicts import PURPOSE as DECISION
from darkroom_common.specs.edits import PURPOSE as EDIT
from darkroom_common.specs.retention import REMOVAL_PURPOSE as REMOVAL
from darkroom_metadata.replication.due import Due

_ROW: Final = {
    "edit": (
        "SELECT action, study_instance_uid AS study, sealed, requested_by AS by,"
        " coalesce(finished_at, updated_at) AS done FROM index.edit WHERE id = $1"
    ),
    "removal": (
        "SELECT action, study_instance_uid AS study, series_instance_uid AS series,"
        " sop_instance_uid AS instance, sealed, requested_by AS by,"
        " coalesce(finished_at, updated_at) AS done FROM index.removal WHERE id = $1"
    ),
    "resolution": (
        "SELECT action, sealed, requested_by AS by, coalesce(finished_at, updated_at) AS done"
        " FROM index.resolution WHERE id = $1"
    ),
}
PURPOSES: Final = {"edit": EDIT, "removal": REMOVAL, "resolution": DECISION}
_HOLDS: Final = (
    "WITH now AS (SELECT unnest($1::text[]) AS subject),"
    " placed AS (INSERT INTO index.replication_hold_told SELECT subject FROM now"
    "  ON CONFLICT DO NOTHING RETURNING subject),"
    " released AS (DELETE FROM index.replication_hold_told t WHERE NOT EXISTS"
    "  (SELECT FROM now WHERE now.subject = t.subject) RETURNING subject)"
    " INSERT INTO index.replication_due (kind, study_instance_uid, subject, body)"
    " SELECT 'hold', subject, subject, jsonb_build_object('held', held,"
    "  'vector', index.replication_count(subject))"
    " FROM (SELECT subject, true AS held FROM placed"
    "  UNION ALL SELECT subject, false FROM released) AS changed"
)


@dataclass(frozen=True)
class Telling:
    """Makes what is told of changes.

    Args:
        seal: of the jobs.
    """

    seal: Seal

    async def change(self, db: Connection, row: Due) -> dict[str, Any] | None:
        """Return what is told of a row; None: what was done is not known any more."""
        told = {"id": row.id, "kind": row.kind, "study": row.study, "subject": row.subject}
        told |= {"at": row.at, "vector": {}, **row.body}
        if row.kind == "hold":
            return told
        found = await db.fetchrow(_ROW[row.kind], row.subject)
        if found is None:
            return None
        given = dict(found)
        sealed, done = given.pop("sealed"), given.pop("done")
        asked = self.seal.open(sealed, purpose=PURPOSES[row.kind]) if sealed else {}
        return {**told, **given, "study": row.study, "asked": asked, "done": done.isoformat()}

    @staticmethod
    async def note_holds(db: Connection) -> None:
        """Have legal holds told that were placed or released since: the api writes them."""
        await db.execute(_HOLDS, await held_here(db))
