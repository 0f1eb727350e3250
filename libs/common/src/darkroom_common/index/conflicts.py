"""Readers of schema `index` for conflicts: the list, and the two sides of one."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import orjson

from darkroom_common.index.rows import Json
from darkroom_common.postgres.pool import Connection, the_row

# conflict_study, conflict_open or conflict_newest, whichever narrows and sorts
CONFLICTS: Final = (
    "SELECT c.id AS number, c.id::text AS conflict_id, c.kind, c.state, c.study_instance_uid,"
    " c.series_instance_uid, i.sop_instance_uid, c.attributes, c.size, c.calling_ae_title,"
    " c.received_at, c.version, c.resolved_at, c.resolved_by, c.remove_after, c.removed_at"
    " FROM index.conflict c JOIN index.instance i ON i.id = c.instance_id"
)
RESOLUTIONS: Final = (
    "SELECT id AS job_id, conflict_id::text AS conflict_id, action, state, reason, instances,"
    " attempts, requested_by, CASE WHEN state IN ('PENDING', 'RETRYING') THEN next_at END AS"
    " next_at, created_at, updated_at, finished_at FROM index.resolution"
)
_ONE: Final = CONFLICTS + " WHERE c.id = $1"
_DECISIONS: Final = (  # resolution_conflict
    "SELECT id AS job_id, action, state, reason, requested_by, created_at, finished_at, sealed"
    " FROM index.resolution WHERE conflict_id = $1 ORDER BY created_at DESC, id LIMIT 20"
)
_OBJECT: Final = (
    "SELECT CASE WHEN c.kind IN ('instance', 'correction') THEN c.object_key ELSE i.object_key END"
    " AS object_key, c.removed_at FROM index.conflict c"
    " JOIN index.instance i ON i.id = c.instance_id WHERE c.id = $1"
)
_BYTES: Final = (
    "SELECT s.study_instance_uid, e.series_instance_uid, i.size, encode(i.sha256, 'hex') AS sha256,"
    " i.calling_ae_title, i.received_at, c.study_instance_uid AS other_study,"
    " c.series_instance_uid AS other_series, c.size AS other_size,"
    " encode(c.sha256, 'hex') AS other_sha256, c.calling_ae_title AS other_title,"
    " c.received_at AS other_at, CASE WHEN length(i.header) > 0"
    "  THEN pgp_sym_decrypt_bytea(i.header, ($2::text[])[i.phi_key]) END AS header,"
    " CASE WHEN length(c.header) > 0"
    "  THEN pgp_sym_decrypt_bytea(c.header, ($2::text[])[c.phi_key]) END AS other_header"
    " FROM index.conflict c JOIN index.instance i ON i.id = c.instance_id"
    " JOIN index.series e ON e.id = i.series_id JOIN index.study s ON s.id = e.study_id"
    " WHERE c.id = $1"
)
_ROW: Final = (
    "SELECT s.study_instance_uid, s.instance_count, s.calling_ae_titles, s.created_at,"
    " pgp_sym_decrypt_bytea(s.phi, ($2::text[])[s.phi_key]) AS phi, e.series_instance_uid,"
    " e.modality, e.instance_count AS series_instances FROM index.study s"
    " LEFT JOIN index.series e ON e.id = $3 WHERE s.id = $1"
)
_SIDES: Final = (
    "SELECT first_study_id, first_series_id, beside_study_id, beside_series_id"
    " FROM index.conflict WHERE id = $1"
)
BYTES: Final = frozenset({"instance", "correction"})
"""The kinds that are about the bytes of one instance."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that disagree. Attributes are PHI.

    Attributes:
        instances: how many there are of it now.
        size, sha256: of the data set; None where it is about more than one instance.
        attributes: the header of an instance, or what the index keeps of a study.
    """

    study_instance_uid: str
    series_instance_uid: str | None
    instances: int
    calling_ae_titles: tuple[str, ...]
    since: dt.datetime
    size: int | None = None
    sha256: str | None = None
    attributes: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conflict:
    """A conflict with its sides; None for one that is not there any more."""

    row: asyncpg.Record
    first: Side | None
    other: Side | None
    decisions: Sequence[asyncpg.Record]


async def read_conflict(db: Connection, passphrases: Sequence[str], number: int) -> Conflict | None:
    """Return a conflict; None when there is none."""
    row = await db.fetchrow(_ONE, number)
    if row is None:
        return None
    keys = list(passphrases)
    if row["kind"] in BYTES:
        first, other = await _of_bytes(db, keys, number)
    else:
        rows = the_row(await db.fetchrow(_SIDES, number))
        first = await _of_row(db, keys, rows["first_study_id"], rows["first_series_id"])
        other = await _of_row(db, keys, rows["beside_study_id"], rows["beside_series_id"])
    return Conflict(row, first, other, await db.fetch(_DECISIONS, number))


async def conflict_object(db: Connection, number: int) -> asyncpg.Record | None:
    """Return the key of the object that a conflict is about, and when it was deleted.

    Of one that is about parents it is the first instance that disagreed, as it is now.
    """
    return await db.fetchrow(_OBJECT, number)


async def patient_is_known(db: Connection, patient_key: bytes) -> bool:
    """Tell whether the index has had a patient; the key is the blind token of issuer and id."""
    found: bool = await db.fetchval(  # patient_patient_key_key
        "SELECT EXISTS (SELECT FROM index.patient WHERE patient_key = $1)", patient_key
    )
    return found


async def _of_bytes(
    db: Connection, keys: list[str], number: int
) -> tuple[Side | None, Side | None]:
    row = await db.fetchrow(_BYTES, number, keys)
    if row is None:
        return None, None
    first = Side(
        row["study_instance_uid"],
        row["series_instance_uid"],
        1,
        (row["calling_ae_title"],),
        row["received_at"],
        row["size"],
        row["sha256"],
        _json(row["header"]),
    )
    other = Side(
        row["other_study"],
        row["other_series"],
        1,
        (row["other_title"],),
        row["other_at"],
        row["other_size"],
        row["other_sha256"],
        _json(row["other_header"]),
    )
    return first, other


async def _of_row(
    db: Connection, keys: list[str], study: int | None, series: int | None
) -> Side | None:
    row = await db.fetchrow(_ROW, study, keys, series)
    if row is None or (series is not None and row["series_instance_uid"] is None):
        return None
    attributes: Json = dict(_json(row["phi"]).get("j", {}))
    if row["modality"] is not None:
        attributes["00080060"] = {"vr": "CS", "Value": [row["modality"]]}
    attributes["0020000D"] = {"vr": "UI", "Value": [row["study_instance_uid"]]}
    return Side(
        row["study_instance_uid"],
        row["series_instance_uid"],
        row["instance_count"] if series is None else row["series_instances"],
        tuple(row["calling_ae_titles"]),
        row["created_at"],
        attributes=attributes,
    )


def _json(decrypted: bytes | None) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(decrypted or b"{}")
    return found
