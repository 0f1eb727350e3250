"""An entry of the modality worklist as a workitem (PS3.3 annex B.26), in DICOM JSON."""

from collections.abc import Iterable
from typing import Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.specs.worklist.entries import Coded, StepState, WorklistEntry
from darkroom_common.specs.worklist.workitems import PUSH, State, uid_of_entry

STATES: Final[dict[StepState, State]] = {
    "SCHEDULED": "SCHEDULED",
    "ARRIVED": "SCHEDULED",
    "READY": "SCHEDULED",
    "STARTED": "IN PROGRESS",
    "COMPLETED": "COMPLETED",
    "DISCONTINUED": "CANCELED",
    "CANCELLED": "CANCELED",
}
"""What an entry is in as a workitem; migration 0010 of ingest says the same."""
_PRIORITIES: Final = {"STAT": "HIGH", "HIGH": "HIGH", "LOW": "LOW"}
_LABEL: Final = "MODALITY WORKLIST"
_EMPTY: Final = (
    "ScheduledProcessingParametersSequence",
    "ScheduledStationGeographicLocationCodeSequence",
    "ScheduledWorkitemCodeSequence",
    "InputInformationSequence",
    "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)
_STATIONS: Final = "99DARKROOM_AE"
"""Coding scheme of AE titles, which are the codes of stations."""


def workitem_of(entry_id: str, entry: WorklistEntry) -> JsonDataset:
    """Return an entry as the data set of a workitem; what is not known is there without a value."""
    label = (
        entry.scheduled_procedure_step_description
        or entry.requested_procedure_description
        or f"{entry.modality} {entry.scheduled_procedure_step_id}".strip()
    )
    born = entry.patient_birth_date
    found = _of(
        {
            "SOPClassUID": PUSH,
            "SOPInstanceUID": uid_of_entry(entry_id),
            "ScheduledProcedureStepPriority": _PRIORITIES.get(
                entry.requested_procedure_priority, "MEDIUM"
            ),
            "ProcedureStepLabel": label,
            "WorklistLabel": _LABEL,
            "ScheduledProcedureStepStartDateTime": f"{entry.scheduled_at:%Y%m%d%H%M%S}",
            "InputReadinessState": "READY",
            "ProcedureStepState": STATES[entry.state],
            "CommentsOnTheScheduledProcedureStep": entry.comments,
            "PatientName": entry.patient_name,
            "PatientID": entry.patient_id,
            "IssuerOfPatientID": entry.issuer_of_patient_id,
            "PatientBirthDate": f"{born:%Y%m%d}" if born else "",
            "PatientSex": entry.patient_sex,
            "PregnancyStatus": entry.pregnancy_status,
            "MedicalAlerts": entry.medical_alerts,
            "Allergies": entry.allergies,
            "SpecialNeeds": entry.special_needs,
            "AdmissionID": entry.admission_id,
            "StudyInstanceUID": entry.study_instance_uid,
        }
    )
    stations = [
        Coded.model_construct(code=one, scheme=_STATIONS, meaning=one)
        for one in entry.scheduled_station_ae_titles
    ]
    modality = Coded.model_construct(code=entry.modality, scheme="DCM", meaning=entry.modality)
    found[tag_of("ScheduledStationNameCodeSequence")] = _codes(stations)
    found[tag_of("ScheduledStationClassCodeSequence")] = _codes([modality])
    code = entry.requested_procedure_code
    asked = _of(
        {
            "StudyInstanceUID": entry.study_instance_uid,
            "AccessionNumber": entry.accession_number,
            "RequestedProcedureID": entry.requested_procedure_id,
            "RequestedProcedureDescription": entry.requested_procedure_description,
            "ReferringPhysicianName": entry.referring_physician_name,
            "RequestingService": entry.requesting_service,
        }
    ) | {tag_of("RequestedProcedureCodeSequence"): _codes([code] if code else [])}
    found[tag_of("ReferencedRequestSequence")] = _element("SQ", asked)
    return found | {tag_of(keyword): _element("SQ") for keyword in _EMPTY}


def tag_of(keyword: str) -> str:
    """Return the tag of an attribute, eight hexadecimal digits."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no attribute")
    return f"{tag:08X}"


def _element(vr: str, *values: object) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def _of(given: dict[str, Any]) -> JsonDataset:
    found: JsonDataset = {}
    for keyword, value in given.items():
        vr = dictionary_VR(keyword)
        values = [] if value in (None, "") else [value]
        found[tag_of(keyword)] = _element(vr, *(map(_name, values) if vr == "PN" else values))
    return found


def _name(name: str) -> dict[str, str]:
    groups = ("Alphabetic", "Ideographic", "Phonetic")
    return {group: part for group, part in zip(groups, name.split("="), strict=False) if part}


def _codes(codes: Iterable[Coded]) -> dict[str, Any]:
    items = [
        {
            tag_of("CodeValue"): _element("SH", one.code),
            tag_of("CodingSchemeDesignator"): _element("SH", one.scheme),
            tag_of("CodeMeaning"): _element("LO", one.meaning),
        }
        for one in codes
    ]
    return _element("SQ", *items)
