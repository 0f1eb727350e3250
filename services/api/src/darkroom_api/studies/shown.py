"""Examinations as people and programs see them: a study, and what was said of it."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from darkroom_api.studies.exam_id import exam_id_of
from darkroom_api.studies.examinations import Examination, ExamStatus
from darkroom_common.index.rows import SeriesRow, StudyRow
from darkroom_common.index.studies import first_text, moment_of

Status = Literal["receiving", "complete", "verified", "archived"]


TimeOfDay = Annotated[
    dt.time, WithJsonSchema({"type": "string", "pattern": r"^\d{2}:\d{2}:\d{2}(\.\d{1,6})?$"})
]
"""Without an offset, as DICOM has it: it is no `time` of RFC 3339."""


class Study(BaseModel):
    """A study as the index has it, with what was said of it as an examination."""

    exam_id: str = Field(description="the accession number, else the StudyInstanceUID")
    exam_status: ExamStatus = Field(description="set by people; `status` is the life cycle")
    exam_source: str = Field(description="the AE title that sent it, the first of several")
    order_datetime: dt.datetime | None = Field(
        description="when it was ordered, by its entry of the worklist; without one, study date and"
        " time, in UTC where the study says how far it is from there, else its clock is taken for"
        " that of UTC"
    )
    physician_name: str = Field(description="who is assigned to it; not the referring physician")
    institution: str
    study_instance_uid: str
    patient_name: str
    patient_id: str
    issuer_of_patient_id: str
    patient_birth_date: str = Field(description="as received, YYYYMMDD")
    patient_sex: str
    accession_number: str
    study_id: str
    study_date: dt.date | None
    study_time: TimeOfDay | None
    description: str
    referring_physician: str
    modalities: list[str]
    series_count: int
    instance_count: int
    byte_count: int
    status: Status
    revision: int = Field(description="how often the study was complete")
    version: int = Field(description="grows with every change")
    calling_ae_titles: list[str]
    created_at: dt.datetime
    last_instance_at: dt.datetime
    completed_at: dt.datetime | None


class Series(BaseModel):
    """A series as the index has it."""

    series_instance_uid: str
    modality: str | None
    series_number: int | None
    description: str
    body_part: str
    station: str
    instance_count: int
    instances_url: str = Field(description="of QIDO-RS")


class Conflict(BaseModel):
    """Something that disagrees with the study; see `/api/v1/conflicts`."""

    conflict_id: str
    kind: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    calling_ae_title: str
    size: int
    received_at: dt.datetime


class Sent(BaseModel):
    """A job that sends the study or a part of it; see `/api/v1/transmit/jobs`."""

    job_id: str
    destination: str
    state: str
    sent: int = Field(description="instances")
    created_at: dt.datetime
    finished_at: dt.datetime | None


class Printed(BaseModel):
    """A job that prints images of the study; see `/api/v1/print/jobs`."""

    job_id: str
    printer: str
    state: str
    films: int
    created_at: dt.datetime
    finished_at: dt.datetime | None


class Change(BaseModel):
    """What somebody has changed."""

    at: dt.datetime
    by: str
    field: str
    old: str
    new: str
    reason: str


class StudyDetail(Study):
    """A study with all that hangs on it."""

    series: list[Series]
    conflicts: list[Conflict] = Field(description="the newest 100 that are open")
    sent_to: list[Sent] = Field(description="the newest 100")
    printed_on: list[Printed] = Field(description="the newest 100")
    history: list[Change] = Field(description="the newest 100")


def study(row: StudyRow, exam: Examination, institution: str) -> dict[str, object]:
    """Return what is shown of a study wherever it is shown."""
    known = row.attributes
    accession = first_text(known, "AccessionNumber")
    return {
        "exam_id": exam_id_of(row.study_instance_uid, accession),
        "exam_status": exam.exam_status,
        "exam_source": next(iter(row.calling_ae_titles), ""),
        "order_datetime": exam.ordered_at or moment_of(row),
        "physician_name": exam.physician_name,
        "institution": institution,
        "study_instance_uid": row.study_instance_uid,
        "patient_name": first_text(known, "PatientName"),
        "patient_id": first_text(known, "PatientID"),
        "issuer_of_patient_id": first_text(known, "IssuerOfPatientID"),
        "patient_birth_date": first_text(known, "PatientBirthDate"),
        "patient_sex": first_text(known, "PatientSex"),
        "accession_number": accession,
        "study_id": first_text(known, "StudyID"),
        "study_date": row.study_date,
        "study_time": row.study_time,
        "description": first_text(known, "StudyDescription"),
        "referring_physician": first_text(known, "ReferringPhysicianName"),
        "modalities": list(row.modalities),
        "series_count": row.series_count,
        "instance_count": row.instance_count,
        "byte_count": row.byte_count,
        "status": row.status,
        "revision": row.revision,
        "version": row.version,
        "calling_ae_titles": list(row.calling_ae_titles),
        "created_at": row.created_at,
        "last_instance_at": row.last_instance_at,
        "completed_at": row.completed_at,
    }


def series(study_uid: str, row: SeriesRow) -> Series:
    """Return what is shown of a series."""
    path = f"/dicom-web/studies/{study_uid}/series/{row.series_instance_uid}/instances"
    return Series(
        series_instance_uid=row.series_instance_uid,
        modality=row.modality,
        series_number=row.series_number,
        description=first_text(row.attributes, "SeriesDescription"),
        body_part=first_text(row.attributes, "BodyPartExamined"),
        station=first_text(row.attributes, "StationName"),
        instance_count=row.instance_count,
        instances_url=path,
    )
