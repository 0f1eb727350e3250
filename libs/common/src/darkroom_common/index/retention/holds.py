"""Which studies are under legal hold, of their own or of their patient.

Whoever is about to delete something locks its name for holds, and whoever places a hold waits for
them: a hold that was answered stands in the way of everything that begins afterwards, and nothing
that had begun before is still under way. A row that is not there yet cannot be locked itself.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from darkroom_common.postgres.pool import Connection

_LOCK: Final = (
    "SELECT pg_advisory_xact_lock{}(key) FROM (SELECT DISTINCT hashtextextended('hold ' || name, 0)"
    " AS key FROM unnest($1::text[]) AS given (name) ORDER BY key) AS ordered"
)
_DELETING: Final = _LOCK.format("_shared")
_HOLDING: Final = _LOCK.format("")
_HELD: Final = (  # legal_hold_pkey
    "SELECT EXISTS (SELECT FROM api.legal_hold WHERE study_instance_uid = $1)"
)
_MADE: Final = (
    "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = 'api' AND c.relname = 'legal_hold')"
)
_KNOWN: Final = "SELECT to_regclass('api.patient_hold') IS NOT NULL"
_KEYS: Final = (  # study_study_instance_uid_key, study_beside_uid, merged_patient_target
    "SELECT p.patient_key AS key FROM index.study s JOIN index.patient p ON p.id = s.patient_id"
    " WHERE s.study_instance_uid = $1 UNION SELECT m.patient_key FROM index.study s"
    " JOIN index.patient p ON p.id = s.patient_id"
    " JOIN index.merged_patient m ON m.target_key = p.patient_key WHERE s.study_instance_uid = $1"
)
_PATIENT_HELD: Final = (  # patient_hold_patient_key_key, patient_hold_study_uid
    "SELECT EXISTS (SELECT FROM api.patient_hold WHERE patient_key = ANY($1::bytea[]))"
    " OR EXISTS (SELECT FROM api.patient_hold_study WHERE study_instance_uid = $2)"
)

_HELD_HERE: Final = (
    "SELECT s.id FROM index.study s WHERE s.study_instance_uid IN (SELECT study_instance_uid"
    "  FROM api.legal_hold UNION SELECT study_instance_uid FROM api.patient_hold_study)"
    " UNION SELECT s.id FROM api.patient_hold h JOIN index.patient p"
    "  ON p.patient_key = h.patient_key JOIN index.study s ON s.patient_id = p.id"
    " UNION SELECT s.id FROM api.patient_hold h JOIN index.merged_patient m"
    "  ON m.patient_key = h.patient_key JOIN index.patient p ON p.patient_key = m.target_key"
    "  JOIN index.study s ON s.patient_id = p.id"
)
_HELD_ELSEWHERE: Final = (
    "SELECT s.id FROM index.replication_hold r"
    " JOIN index.study s ON s.study_instance_uid = r.subject"
)
HELD_STUDIES: Final = f"{_HELD_HERE} UNION {_HELD_ELSEWHERE}"
"""The row ids of what `is_held` is true of, for lists and counts."""
_THERE: Final = (  # what the api makes may not be there yet
    "SELECT count(*) = 3 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = 'api' AND has_table_privilege(c.oid, 'SELECT')"
    " AND c.relname IN ('legal_hold', 'patient_hold', 'patient_hold_study')"
)
_UIDS: Final = "SELECT DISTINCT study_instance_uid FROM index.study WHERE id IN ({})"
_ELSEWHERE: Final = (  # replication_hold_subject
    "SELECT EXISTS (SELECT FROM index.replication_hold WHERE subject = $1)"
)


async def begin_holding(db: Connection, names: Sequence[str]) -> None:
    """Wait for those who are deleting something of these, until the end of the transaction.

    Args:
        db: in a transaction.
        names: StudyInstanceUIDs, or `name_of` patients.
    """
    await db.execute(_HOLDING, list(names))


def name_of(patient_key: bytes) -> str:
    """Return what stands for a patient in locks."""
    return f"patient {patient_key.hex()}"


async def is_held(db: Connection, study: str) -> bool:
    """Tell whether a study is under legal hold, until the end of the transaction.

    Its own hold counts, that of its patient, that of a patient who was merged with theirs, and that
    of a patient whose study it was when the hold was placed; and so does that of another site.
    While the api has not made its tables, this site holds nothing.

    Raises:
        InsufficientPrivilegeError: they are there and may not be read: nobody knows.
    """
    if await db.fetchval(_ELSEWHERE, study):
        return True
    try:
        async with db.transaction():  # what fails here leaves the caller's as it is
            await db.execute(_DELETING, [study])
            if await db.fetchval(_HELD, study):
                return True
            if not await db.fetchval(_KNOWN):
                return False
    except asyncpg.UndefinedTableError:
        return False
    except asyncpg.InsufficientPrivilegeError:  # also of a schema in which nothing is yet
        if await db.fetchval(_MADE):
            raise
        return False
    keys = [row["key"] for row in await db.fetch(_KEYS, study)]
    await db.execute(_DELETING, [name_of(key) for key in keys])
    held: bool = await db.fetchval(_PATIENT_HELD, keys, study)
    return held


async def held_here(db: Connection) -> list[str]:
    """Return the UIDs of the studies that this site holds, and not another one."""
    if not await db.fetchval(_THERE):
        return []
    return [row[0] for row in await db.fetch(_UIDS.format(_HELD_HERE))]
