"""Readers of schema `index` for rules: what is known of a study and of its series.

As in `objects.py`: no service has statements of its own on these tables, and a study that is
deleted is not there.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from darkroom_common.dicom.json_values import first_text_of
from darkroom_common.index.fields import BY_KEYWORD
from darkroom_common.index.rows import Json, StudyRow
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_common.postgres.statement import statement

_STUDY: Final = (  # study_study_instance_uid_key
    "SELECT s.study_date, s.modalities,"
    " pgp_sym_decrypt_bytea(s.phi, ($1::text[])[s.phi_key]) AS phi"
    " FROM index.study s WHERE s.study_instance_uid = $2 AND s.status <> 'deleted'"
    " ORDER BY s.id LIMIT 1"  # of several patients': the one that was first
)
_SERIES: Final = (  # study_study_instance_uid_key, series_study_id_series_instance_uid_key
    "SELECT e.series_instance_uid, e.modality,"
    " pgp_sym_decrypt_bytea(e.phi, ($1::text[])[e.phi_key]) AS phi,"
    " ARRAY(SELECT i.sop_instance_uid FROM index.instance i WHERE i.series_id = e.id"
    "   ORDER BY i.instance_number, i.id) AS instances"
    " FROM index.study s JOIN index.series e ON e.study_id = s.id"
    " WHERE s.study_instance_uid = $2 AND s.status <> 'deleted'"
    " ORDER BY e.series_number, e.id"
)
_KNOWN: Final = (  # study_study_instance_uid_key
    "SELECT study_instance_uid FROM index.study WHERE status <> 'deleted'"
    " AND study_instance_uid = ANY($1::text[])"
)

# The sets of values that studies have are few, and an index has them in order: each step asks for
# the first one behind the last.
_SETS: Final = (  # study_source_sets, study_modality_sets, and the same of study_beside
    "WITH RECURSIVE sets AS ((SELECT {column} AS kept FROM index.study WHERE status <> 'deleted'"
    "  ORDER BY {column} LIMIT 1)"
    " UNION ALL SELECT (SELECT s.{column} FROM index.study s WHERE s.status <> 'deleted'"
    "  AND s.{column} > sets.kept ORDER BY s.{column} LIMIT 1) FROM sets"
    "  WHERE sets.kept IS NOT NULL)"
    " SELECT DISTINCT value FROM (SELECT kept FROM sets WHERE kept IS NOT NULL LIMIT 5000) AS found"
    " CROSS JOIN LATERAL unnest(found.kept) AS value ORDER BY value LIMIT 1000"
)


@dataclass(frozen=True)
class SeriesKnown:
    """A series; texts are PHI."""

    series_instance_uid: str
    modality: str
    attributes: Json
    instances: tuple[str, ...]

    def text(self, keyword: str) -> str:
        """Return the first value of an attribute that the index keeps of series, or nothing."""
        return first_text(self.attributes, keyword)


@dataclass(frozen=True)
class StudyKnown:
    """A study with its series; texts are PHI."""

    study_date: dt.date | None
    modalities: tuple[str, ...]
    attributes: Json
    series: tuple[SeriesKnown, ...]

    def text(self, keyword: str) -> str:
        """Return the first value of an attribute that the index keeps of studies, or nothing."""
        return first_text(self.attributes, keyword)


async def study_known(db: Connection, keys: PhiKeys, study: str) -> StudyKnown | None:
    """Return a study, its series in the order of viewing; None when it is not there."""
    row = await db.fetchrow(_STUDY, keys.by_id(), study)
    if row is None:
        return None
    series = tuple(
        SeriesKnown(
            each["series_instance_uid"],
            each["modality"] or "",
            _attributes(each["phi"]),
            tuple(each["instances"]),
        )
        for each in await db.fetch(_SERIES, keys.by_id(), study)
    )
    return StudyKnown(row["study_date"], tuple(row["modalities"]), _attributes(row["phi"]), series)


async def stored_studies(db: Connection, studies: Sequence[str]) -> set[str]:
    """Return which of these studies are here."""
    return {row[0] for row in await db.fetch(_KNOWN, list(studies))}


_MIDNIGHT: Final = dt.time()
_ZONE: Final = BY_KEYWORD["TimezoneOffsetFromUTC"].tag


def first_text(attributes: Json, keyword: str) -> str:
    """Return the first value of an attribute as text, or nothing."""
    return first_text_of(attributes.get(BY_KEYWORD[keyword].tag))


def moment_of(row: StudyRow) -> dt.datetime | None:
    """Return when a study was, in UTC; where it names no zone, its clock is taken for that."""
    return moment_at(row.study_date, row.study_time, row.attributes)


def moment_at(day: dt.date | None, time: dt.time | None, attributes: Json) -> dt.datetime | None:
    """Return the moment of a study of this day, time and attributes; see `moment_of`."""
    if day is None:
        return None
    local = dt.datetime.combine(day, time or _MIDNIGHT, dt.UTC)
    if _ZONE not in attributes:
        return local
    ahead = minutes_ahead(first_text_of(attributes.get(_ZONE))) or 0
    if not ahead:
        return local
    try:
        return local - dt.timedelta(minutes=ahead)
    except OverflowError:  # the first or the last day that there is
        return local


def minutes_ahead(offset: str) -> int | None:
    """Return the minutes ahead of UTC of `+HHMM` (PS3.3 C.12.1.1.8); None of what is none."""
    sign, digits = offset[:1], offset[1:]
    if sign not in ("+", "-") or len(digits) != len("HHMM") or not digits.isdecimal():
        return None
    ahead = 60 * int(digits[:2]) + int(digits[2:])
    if ahead >= 24 * 60:
        return None
    return ahead if sign == "+" else -ahead


def _attributes(decrypted: bytes | None) -> Json:
    found: Json = orjson.loads(decrypted or b"{}").get("j", {})
    return found


async def values_occurring(
    db: Connection, column: Literal["calling_ae_titles", "modalities"]
) -> list[str]:
    """Return the values of studies that are not deleted: up to 1000, sorted."""
    return [row[0] for row in await db.fetch(statement(_SETS, column=column))]
