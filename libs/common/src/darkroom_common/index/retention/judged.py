"""Reads of the index what retention looks at: only as much as the rules ask for."""

import datetime as dt
from typing import Final

import asyncpg

from darkroom_common.dicom.json_values import first_text_of
from darkroom_common.index.fields import BY_KEYWORD
from darkroom_common.index.rows import attributes_of
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.retention import Dated, Retention

_COLUMNS: Final = "s.study_date, s.created_at, s.modalities, s.calling_ae_titles"
_TEXT: Final = "pgp_sym_decrypt_bytea(s.phi, coalesce(($1::text[])[s.phi_key], '')) AS phi"
_STATUS: Final = (  # listing_pkey
    "coalesce((SELECT l.exam_status FROM index.listing l WHERE l.study_id = s.id), 'pending')"
    " AS exam_status"
)
_OF: Final = (  # study_study_instance_uid_key, study_beside_uid
    "SELECT {} FROM index.study s WHERE s.study_instance_uid = $2 AND s.status <> 'deleted'"
)
_LENGTH: Final = len("YYYYMMDD")
STUDIES_OF_PATIENT: Final = (  # patient_patient_key_key, merged_patient_target, study_patient
    "SELECT s.study_instance_uid FROM index.study s JOIN index.patient p ON p.id = s.patient_id"
    " WHERE p.patient_key = $1 OR p.patient_key ="
    " (SELECT m.target_key FROM index.merged_patient m WHERE m.patient_key = $1)"
)
"""The UIDs of the studies of a patient ($1), deleted ones and those of a merge included."""
_STORED: Final = "SELECT EXISTS (SELECT FROM index.study WHERE study_instance_uid = $1)"
PLAN: Final = (  # retention_due, study_pkey, study_beside_pkey
    "SELECT r.keep_until, r.study_id, s.study_instance_uid, s.study_date, s.modalities, s.status,"
    " s.instance_count, s.byte_count, r.rule, s.id IN ({}) AS held"
    " FROM index.retention r JOIN index.study s ON s.id = r.study_id"
    " WHERE r.keep_until <= $1 AND r.rules = $2 AND s.status <> 'deleted'"
)
"""What goes until a day ($1) by rules with a digest ($2), the one of who reads; held or not."""
RUNS: Final = (
    "SELECT id AS job_id, action, day, rules, state, reason, judged, due, held, kept, marked,"
    " created_at, updated_at, finished_at FROM index.retention_run"
)
BY_RULE: Final = (  # retention_due
    "SELECT r.rule, count(*) AS studies, sum(s.byte_count)::bigint AS bytes,"
    " count(*) FILTER (WHERE s.id IN ({})) AS held FROM index.retention r"
    " JOIN index.study s ON s.id = r.study_id"
    " WHERE r.keep_until <= $1 AND r.rules = $2 AND s.status <> 'deleted' GROUP BY 1 ORDER BY 1"
)
"""Likewise counted, by rule."""


def columns(retention: Retention) -> str:
    """Return what is to be selected of the row `s` of `index.study`; $1 is `PhiKeys.by_id`.

    What no rule asks for is neither decrypted nor looked up.
    """
    phi = _TEXT if retention.asks_text else "($1::text[])[0]::bytea AS phi"
    status = _STATUS if retention.asks_status else "'pending' AS exam_status"
    return f"{_COLUMNS}, {phi}, {status}"


def dated(row: asyncpg.Record) -> Dated:
    """Return what retention looks at of a row with `columns`."""
    attributes = {} if row["phi"] is None else attributes_of(row["phi"])
    return Dated(
        row["study_date"] or row["created_at"].date(),
        tuple(row["modalities"]),
        tuple(row["calling_ae_titles"]),
        _day(first_text_of(attributes.get(BY_KEYWORD["PatientBirthDate"].tag))),
        first_text_of(attributes.get(BY_KEYWORD["StudyDescription"].tag)),
        row["exam_status"],
    )


async def dated_of(db: Connection, keys: PhiKeys, retention: Retention, uid: str) -> list[Dated]:
    """Return what retention looks at of the studies of a UID that are not deleted."""
    rows = await db.fetch(_OF.format(columns(retention)), keys.by_id(), uid)
    return [dated(row) for row in rows]


async def is_stored(db: Connection, uid: str) -> bool:
    """Tell whether there is anything of a study: also when it is deleted, and not purged yet."""
    found: bool = await db.fetchval(_STORED, uid)
    return found


def _day(text: str) -> dt.date | None:
    """Return a DA value as a date; None for what is none, as nobody's birth date is then known."""
    if len(text) != _LENGTH or not text.isascii() or not text.isdigit():
        return None
    try:
        return dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None
