"""Reads all that the index has of one patient: for their own eyes, or to have it erased.

A patient is meant by the key of issuer and id, or by one that was merged with theirs.
"""

from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection

_STUDIES: Final = (  # patient_patient_key_key, merged_patient_target, study_patient
    "SELECT s.id, s.study_instance_uid, s.study_date, s.modalities, s.status, s.instance_count,"
    " s.byte_count, s.created_at, pgp_sym_decrypt_bytea(s.phi,"
    " coalesce(($2::text[])[s.phi_key], '')) AS phi FROM index.study s"
    " JOIN index.patient p ON p.id = s.patient_id WHERE p.patient_key = $1 OR p.patient_key ="
    " (SELECT m.target_key FROM index.merged_patient m WHERE m.patient_key = $1) ORDER BY s.id"
)
_INSTANCES: Final = (  # series_study_id_series_instance_uid_key, instance_series
    "SELECT i.id, e.series_instance_uid, i.sop_instance_uid, i.object_key,"
    " CASE WHEN length(i.header) > 0 THEN pgp_sym_decrypt_bytea(i.header,"
    " coalesce(($2::text[])[i.phi_key], '')) ELSE ''::bytea END AS header"
    " FROM index.series e JOIN index.instance i ON i.series_id = e.id WHERE e.study_id = $1"
    " AND i.id > $3 ORDER BY i.id LIMIT $4"
)
_ORIGINALS: Final = (  # series_study_id_series_instance_uid_key, instance_series, conflict_bytes
    "SELECT c.id, c.object_key FROM index.series e JOIN index.instance i ON i.series_id = e.id"
    " JOIN index.conflict c ON c.instance_id = i.id WHERE e.study_id = $1"
    " AND c.kind IN ('instance', 'correction') AND c.removed_at IS NULL ORDER BY c.id"
)
_AT_ONCE: Final = 100


async def studies_of_person(
    db: Connection, keys: PhiKeys, patient_key: bytes
) -> list[asyncpg.Record]:
    """Return the studies of a patient, deleted ones that are not purged yet included."""
    return list(await db.fetch(_STUDIES, patient_key, keys.by_id()))


async def instances_of_study(
    db: Connection, keys: PhiKeys, study: int
) -> AsyncIterator[list[asyncpg.Record]]:
    """Yield the instances of a study by its row id, some at a time, with their headers."""
    last = 0
    while rows := await db.fetch(_INSTANCES, study, keys.by_id(), last, _AT_ONCE):
        yield list(rows)
        last = rows[-1]["id"]


async def originals_of_study(db: Connection, study: int) -> list[asyncpg.Record]:
    """Return what a study has beside: as it came before an edit, or other bytes of the same UID."""
    return list(await db.fetch(_ORIGINALS, study))
