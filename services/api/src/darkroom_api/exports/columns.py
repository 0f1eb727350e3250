"""What can be exported of a study: the columns by name, and where each has its value."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from darkroom_api.exports.table import Column, Row, Value
from darkroom_api.studies.exam_id import exam_id_of
from darkroom_common.dicom.json_values import first_text_of
from darkroom_common.index.fields import BY_KEYWORD
from darkroom_common.index.rows import Json
from darkroom_common.index.studies import moment_at


@dataclass(slots=True)
class Exam:
    """A study as an examination: one of a hundred thousand, so that it is made of few things.

    Attributes:
        study: a row of `studies_of`.
        attributes: what its `study_phi` has.
    """

    study: asyncpg.Record
    attributes: Json
    exam_status: str
    physician_name: str
    institution: str
    ordered_at: dt.datetime | None


INSTITUTION: Final = "institution"
ORDERED: Final = "order_datetime"
"""These are looked up only where they are wanted."""
Getter = Callable[[Exam], Value]


def _attribute(keyword: str) -> Callable[[Exam], str]:
    tag = BY_KEYWORD[keyword].tag
    return lambda exam: first_text_of(exam.attributes.get(tag))


_accession_number: Final = _attribute("AccessionNumber")
_born: Final = _attribute("PatientBirthDate")


def _exam_id(exam: Exam) -> str:
    return exam_id_of(exam.study["study_instance_uid"], _accession_number(exam))


def _ordered(exam: Exam) -> Value:
    study = exam.study
    moment = exam.ordered_at or moment_at(study["study_date"], study["study_time"], exam.attributes)
    return moment.replace(microsecond=0) if moment is not None and moment.microsecond else moment


def _birth_date(exam: Exam) -> Value:
    """Return it as ISO 8601 has dates, and what is none as it was received."""
    text = _born(exam)
    plain = len(text) == len("YYYYMMDD") and text.isascii() and text.isdigit()
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if plain else text


_ALL: Final[tuple[tuple[Column, Getter], ...]] = (
    (Column("exam_id", "Exam ID", 18), _exam_id),
    (Column("accession_number", "Accession number", 18), _attribute("AccessionNumber")),
    (
        Column("study_instance_uid", "StudyInstanceUID", 40),
        lambda exam: exam.study["study_instance_uid"],
    ),
    (Column("patient_name", "Patient name", 26), _attribute("PatientName")),
    (Column("patient_id", "Patient ID", 16), _attribute("PatientID")),
    (Column("patient_birth_date", "Birth date", 11), _birth_date),
    (Column("patient_sex", "Sex", 5), _attribute("PatientSex")),
    (Column("exam_status", "Exam status", 12), lambda exam: exam.exam_status),
    (
        Column("exam_source", "Exam source", 16),
        lambda exam: next(iter(exam.study["calling_ae_titles"]), ""),
    ),
    (Column(ORDERED, "Ordered (UTC)", 19, "moment"), _ordered),
    (Column("physician_name", "Assigned physician", 22), lambda exam: exam.physician_name),
    (
        Column("referring_physician", "Referring physician", 22),
        _attribute("ReferringPhysicianName"),
    ),
    (Column(INSTITUTION, "Institution", 24), lambda exam: exam.institution),
    (Column("modality", "Modality", 9), lambda exam: ", ".join(exam.study["modalities"])),
    (Column("description", "Description", 28), _attribute("StudyDescription")),
    (Column("study_id", "Study ID", 12), _attribute("StudyID")),
    (Column("study_date", "Study date", 11, "date"), lambda exam: exam.study["study_date"]),
    (Column("status", "Status", 10), lambda exam: exam.study["status"]),
    (Column("series_count", "Series", 7, "number"), lambda exam: exam.study["series_count"]),
    (Column("instance_count", "Instances", 9, "number"), lambda exam: exam.study["instance_count"]),
    (Column("byte_count", "Bytes", 13, "number"), lambda exam: exam.study["byte_count"]),
    (Column("received_at", "Received (UTC)", 19, "moment"), lambda exam: exam.study["created_at"]),
)
COLUMNS: Final = {column.name: column for column, _ in _ALL}
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
_GETTERS: Final = {column.name: getter for column, getter in _ALL}


def row_maker(names: Sequence[str]) -> Callable[[Exam], Row]:
    """Return what makes a row with these columns of a study."""
    getters = [_GETTERS[name] for name in names]
    return lambda exam: [getter(exam) for getter in getters]
