"""Whose an object is: patient and study as the index, or an entry of the worklist, has them."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword
from starlette.requests import Request

from darkroom_api.accounts.permissions import Permission, has
from darkroom_api.http.errors import ApiError, Code, invalid, permission_denied, study_not_found
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_api.objects.spec import Given
from darkroom_api.studies.identity import study_meant
from darkroom_common.index.fields import Level
from darkroom_common.index.query import Query
from darkroom_common.index.reader import IndexReader
from darkroom_common.index.rows import Json, StudyRow
from darkroom_common.index.studies import first_text
from darkroom_common.readers import ingest
from darkroom_common.specs.worklist.entries import ENTRY_PURPOSE, WorklistEntry

_MOST_SERIES: Final = 10_000
_OF_THE_STUDY: Final = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
)
"""Patient and General Study (PS3.3 sections C.7.1.1 and C.7.2.1)."""
_MAY_BE_LEFT_OUT: Final = frozenset({"IssuerOfPatientID", "StudyDescription"})
"""Of type 3; what else is not known stands there empty."""
_OVER: Final = frozenset({"CANCELLED", "DISCONTINUED"})
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


@dataclass(frozen=True)
class Identity:
    """Whose an object is.

    Attributes:
        study_instance_uid: of the study.
        attributes: DICOM JSON of patient, study, and of what was asked for.
        series: number and modality of those that the study has, by their UIDs.
        equipment: what the index has of each of them, as DICOM JSON.
    """

    study_instance_uid: str
    attributes: Json
    series: Mapping[str, tuple[int | None, str]]
    equipment: Mapping[str, Json]


async def identity_of(request: Request, given: Given, now: dt.datetime) -> Identity:
    """Return whose an object is.

    Args:
        request: of somebody who needs `mpps:read` as well to name an entry of the worklist.
        given: names a study or an entry.
        now: by the clock of this host: when a study begins of which nothing is there yet.

    Raises:
        ApiError: 403; 404, there is none such; 409, it is not to be had any more, or is another's.
    """
    if given.study is not None:
        meant = await study_meant(request, given.study)
        row = await parts_of(request.scope).reader.study(meant.study_instance_uid)
        if row is None:
            raise study_not_found()
        reader = parts_of(request.scope).reader
        return await identity_in(reader, row.study_instance_uid, of_row(row))
    return await _of_entry(request, str(given.worklist_entry), now)


async def _of_entry(request: Request, entry_id: str, now: dt.datetime) -> Identity:
    parts = parts_of(request.scope)
    if not has(Permission.STEPS_READ, principal_of(request.scope).permissions):
        raise permission_denied(Permission.STEPS_READ)
    async with parts.database.acquire() as db:
        kept = await ingest.worklist_entry(db, entry_id)
    if kept is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such entry of the worklist.")
    if kept["state"] in _OVER:
        raise ApiError(409, Code.CONFLICT, "This procedure step does not take place.")
    opened = parts.seal.open(kept["sealed"], purpose=ENTRY_PURPOSE)
    entry = WorklistEntry.model_validate(opened)
    if entry.study_instance_uid is None:
        raise invalid("body.worklist_entry", "The entry names no study.")
    row = await parts.reader.study(entry.study_instance_uid)
    if row is not None and first_text(row.attributes, "PatientID") != entry.patient_id:
        raise ApiError(409, Code.CONFLICT, "The study of this entry is another patient's here.")
    attributes = _of_entry_alone(entry, now) if row is None else of_row(row)
    whole = {**attributes, **_asked_for(entry)}
    return await identity_in(parts.reader, entry.study_instance_uid, whole)


async def identity_in(reader: IndexReader, study: str, attributes: Json) -> Identity:
    """Return whose an object is that becomes part of a study.

    Args:
        reader: of the index.
        study: its StudyInstanceUID.
        attributes: of patient and study, see `of_row`.
    """
    query = Query(Level.SERIES, study_uid=study, limit=_MOST_SERIES)
    found = (await reader.search(query)).results
    series = {
        one.series.series_instance_uid: (one.series.series_number, one.series.modality or "")
        for one in found
        if one.series is not None
    }
    known = {
        one.series.series_instance_uid: one.series.attributes
        for one in found
        if one.series is not None
    }
    return Identity(study, attributes, series, known)


def of_row(row: StudyRow) -> Json:
    """Return what the index has of a study, as it was received or corrected."""
    found: Json = {}
    for keyword in _OF_THE_STUDY:
        known = row.attributes.get(f"{tag_for_keyword(keyword):08X}")
        if known is not None or keyword not in _MAY_BE_LEFT_OUT:
            found |= {f"{tag_for_keyword(keyword):08X}": known or {"vr": dictionary_VR(keyword)}}
    return found | said({"StudyInstanceUID": row.study_instance_uid})


def _of_entry_alone(entry: WorklistEntry, now: dt.datetime) -> Json:
    born = entry.patient_birth_date
    found = {
        "PatientName": entry.patient_name,
        "PatientID": entry.patient_id,
        "IssuerOfPatientID": entry.issuer_of_patient_id,
        "PatientBirthDate": f"{born:%Y%m%d}" if born else "",
        "PatientSex": entry.patient_sex,
        "StudyInstanceUID": entry.study_instance_uid,
        "StudyID": entry.requested_procedure_id,
        "StudyDate": f"{now:%Y%m%d}",
        "StudyTime": f"{now:%H%M%S}",
        "AccessionNumber": entry.accession_number,
        "ReferringPhysicianName": entry.referring_physician_name,
        "StudyDescription": entry.requested_procedure_description,
    }
    kept = {name: text for name, text in found.items() if text or name not in _MAY_BE_LEFT_OUT}
    return said(kept)


def _asked_for(entry: WorklistEntry) -> Json:
    """Return the Request Attributes of the series (PS3.3 table 10-9)."""
    item = {
        "RequestedProcedureID": entry.requested_procedure_id,
        "RequestedProcedureDescription": entry.requested_procedure_description,
        "ScheduledProcedureStepID": entry.scheduled_procedure_step_id,
        "ScheduledProcedureStepDescription": entry.scheduled_procedure_step_description,
    }
    kept = {name: text for name, text in item.items() if text}
    return {"00400275": {"vr": "SQ", "Value": [said(kept)]}} if kept else {}


def said(values: Mapping[str, Any]) -> Json:
    """Return values, by their keywords, as DICOM JSON; what is empty has no value."""
    found: Json = {}
    for keyword, value in values.items():
        vr = dictionary_VR(keyword)
        element: dict[str, Any] = {"vr": vr}
        if vr == "PN" and value:
            groups = zip(_GROUPS, value.split("="), strict=False)
            element["Value"] = [{name: text for name, text in groups if text}]
        elif value not in ("", None):
            element["Value"] = [value]
        found[f"{tag_for_keyword(keyword):08X}"] = element
    return found
