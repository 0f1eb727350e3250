"""What can be exported of a study: the columns by name, and where each has its value."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from darkroom_api.exports.table import Column, Kind, Row, Value
from darkroom_api.studies.exam_id import exam_id_of
from darkroom_common.dicom.json_values import first_text_of
from darkroom_common.index.fields import BY_KEYWORD
from darkroom_common.index.rows import LISTED, Json, institution_in, studies_sql
from darkroom_common.index.studies import moment_at

Getter = Callable[[asyncpg.Record, Json], Value]
"""Takes a row of `studies_of` and what its `study_phi` has."""
_SAID: Final = {  # examination_pkey
    "exam_status": "coalesce(x.exam_status, 'pending') AS exam_status",
    "physician_name": "coalesce(pgp_sym_decrypt(x.physician,"
    " coalesce(($1::text[])[x.phi_key], '')), '') AS physician_name",
}
_BESIDE: Final = " LEFT JOIN api.examination x ON x.study_instance_uid = s.study_instance_uid"


def _attribute(keyword: str) -> Callable[[asyncpg.Record, Json], str]:
    tag = BY_KEYWORD[keyword].tag

    def text_of(_: asyncpg.Record, known: Json) -> str:
        element = known.get(tag)
        if element is None:
            return ""
        values = element.get("Value")
        if values and type(values[0]) is str and values[0]:  # nearly all but names
            plain: str = values[0]
            return plain
        return first_text_of(element)

    return text_of


_accession_number: Final = _attribute("AccessionNumber")
_born: Final = _attribute("PatientBirthDate")


def _kept(name: str) -> Getter:
    return lambda study, _: study[name]


def _exam_id(study: asyncpg.Record, known: Json) -> str:
    return exam_id_of(study["study_instance_uid"], _accession_number(study, known))


def _ordered(study: asyncpg.Record, known: Json) -> Value:
    moment = study["ordered_at"] or moment_at(study["study_date"], study["study_time"], known)
    return moment.replace(microsecond=0) if moment is not None and moment.microsecond else moment


def _birth_date(study: asyncpg.Record, known: Json) -> Value:
    """Return it as ISO 8601 has dates, and what is none as it was received."""
    text = _born(study, known)
    plain = len(text) == len("YYYYMMDD") and text.isascii() and text.isdigit()
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if plain else text


def _institution(study: asyncpg.Record, _: Json) -> str:
    series = study["first_series"]
    return "" if series is None else institution_in(series)


@dataclass(frozen=True)
class _Made:
    """A column, how it has its value, and of what columns of `LISTED` or `_SAID`."""

    column: Column
    getter: Getter
    of: tuple[str, ...] = ()


def _own(name: str, title: str, width: int, kind: Kind = "text", *, of: str = "") -> _Made:
    """Return a column that is one of the statement's."""
    return _Made(Column(name, title, width, kind), _kept(of or name), (of or name,))


def _known(name: str, title: str, width: int, keyword: str) -> _Made:
    """Return a column of an attribute."""
    return _Made(Column(name, title, width), _attribute(keyword))


_ALL: Final = (
    _Made(Column("exam_id", "Exam ID", 18), _exam_id, ("study_instance_uid",)),
    _known("accession_number", "Accession number", 18, "AccessionNumber"),
    _own("study_instance_uid", "StudyInstanceUID", 40),
    _known("patient_name", "Patient name", 26, "PatientName"),
    _known("patient_id", "Patient ID", 16, "PatientID"),
    _Made(Column("patient_birth_date", "Birth date", 11), _birth_date),
    _known("patient_sex", "Sex", 5, "PatientSex"),
    _own("exam_status", "Exam status", 12),
    _own("exam_source", "Exam source", 16, of="sender"),
    _Made(
        Column("order_datetime", "Ordered (UTC)", 19, "moment"),
        _ordered,
        ("ordered_at", "study_date", "study_time"),
    ),
    _own("physician_name", "Assigned physician", 22),
    _known("referring_physician", "Referring physician", 22, "ReferringPhysicianName"),
    _Made(Column("institution", "Institution", 24), _institution, ("first_series",)),
    _own("modality", "Modality", 9, of="modalities"),
    _known("description", "Description", 28, "StudyDescription"),
    _known("study_id", "Study ID", 12, "StudyID"),
    _own("study_date", "Study date", 11, "date"),
    _own("status", "Status", 10),
    _own("series_count", "Series", 7, "number"),
    _own("instance_count", "Instances", 9, "number"),
    _own("byte_count", "Bytes", 13, "number"),
    _own("received_at", "Received (UTC)", 19, "moment", of="created_at"),
)
_MADE: Final = {one.column.name: one for one in _ALL}
COLUMNS: Final = {name: one.column for name, one in _MADE.items()}
DEFAULT: Final = (
    "exam_id",
    "patient_name",
    "patient_id",
    "exam_status",
    "exam_source",
    "order_datetime",
    "modality",
    "description",
    "physician_name",
)


def statement_of(names: Sequence[str]) -> str:
    """Return the statement for `studies_of` of an export with these columns: no more is read."""
    wanted = dict.fromkeys(of for name in names for of in _MADE[name].of)
    said = [_SAID[of] for of in wanted if of in _SAID]
    kept = [of for of in wanted if of in LISTED] or ["study_instance_uid"]
    return studies_sql(kept, more=said, beside=_BESIDE if said else "")


def row_maker(names: Sequence[str]) -> Callable[[asyncpg.Record, Json], Row]:
    """Return what makes a row with these columns of a study."""
    getters = [_MADE[name].getter for name in names]
    return lambda study, known: [getter(study, known) for getter in getters]
