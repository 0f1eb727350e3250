"""Reads schema `ingest`: what is listed of senders that concerns what they have sent."""

from collections.abc import Mapping
from typing import Final

import asyncpg

from darkroom_common.dicom.charset import NOTHING_ASSUMED, Assumed
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.ae_titles import fits, precision
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
NOT_MADE: Final = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InsufficientPrivilegeError,
)
"""What a table of ingest raises until ingest has made it, as far as this release knows it."""
_CHARACTER_SETS: Final = (
    "SELECT ae_title, coalesce(character_set, '') AS character_set,"
    " character_set_rule = 'always' AS always FROM ingest.calling_ae"
)


class CharacterSets:
    """What is assumed of the text of each sender."""

    def __init__(self, listed: Mapping[str, Assumed]) -> None:
        self._listed = listed

    def of(self, ae_title: str) -> Assumed:
        """Return what is assumed of what an AE has sent: as its own entry or a pattern says."""
        found = (one for one in self._listed if fits(one, ae_title))
        chosen = max(found, key=precision, default=None)
        return NOTHING_ASSUMED if chosen is None else self._listed[chosen]


async def read_character_sets(db: Connection) -> CharacterSets:
    """Return what is listed now; nothing while ingest has not made its tables."""
    try:
        async with db.transaction():  # what fails here leaves the caller's as it is
            rows = await db.fetch(_CHARACTER_SETS)
    except NOT_MADE as error:
        log.warning("senders.not_read", reason=type(error).__name__)
        rows = []
    return CharacterSets(
        {row["ae_title"]: Assumed(row["character_set"], row["always"]) for row in rows}
    )


QUARANTINED: Final = (
    "SELECT q.receipt AS quarantine_id, q.reason, q.status, q.received_at, q.size, q.position,"
    " q.calling_ae_title, q.sop_class_uid, q.transfer_syntax_uid, q.state, q.forced, q.result,"
    " q.version, q.changed_by, q.changed_at,"
    " s.seen_at > now() - interval '60 seconds' AS is_reachable"
    " FROM ingest.quarantined q JOIN ingest.spool s ON s.id = q.spool"
)
"""What is or was in the quarantine of any spool; not reachable: its ingest does not run."""
ERRORS: Final = """
    SELECT 'quarantine' AS kind, receipt AS error_id, received_at AS at, reason,
        calling_ae_title AS subject
    FROM ingest.quarantined WHERE received_at >= $1 AND received_at < $2
"""
"""From $1 until $2, as the error report has it."""


ENTRIES: Final = (
    "SELECT id, version, source, state, scheduled_at, modality,"
    " study_instance_uid, sealed, requested_by, created_at, updated_at FROM ingest.worklist"
)
"""The modality worklist; who the patient is, is sealed."""
_ENTRY: Final = f"{ENTRIES} WHERE id = $1"
PERFORMED: Final = (
    "SELECT sop_instance_uid, version, state, calling_ae_title, station_ae_title, modality,"
    " study_instance_uids, entries, created_at, updated_at FROM ingest.performed_step"
)
"""The performed procedure steps that modalities have told of."""
_PERFORMED_ONE: Final = (
    "SELECT sop_instance_uid, version, state, calling_ae_title, station_ae_title, modality,"
    " study_instance_uids, entries, created_at, updated_at, sealed"
    " FROM ingest.performed_step WHERE sop_instance_uid = $1"
)


async def worklist_entry(db: Connection, entry_id: str) -> asyncpg.Record | None:
    """Return an entry of the worklist; None: there is none."""
    return await db.fetchrow(_ENTRY, entry_id)


async def performed_step(db: Connection, sop_instance_uid: str) -> asyncpg.Record | None:
    """Return a performed step with its attributes, which are sealed."""
    return await db.fetchrow(_PERFORMED_ONE, sop_instance_uid)
