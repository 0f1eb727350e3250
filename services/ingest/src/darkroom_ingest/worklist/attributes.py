"""An entry as what a worklist query answers (PS3.4 table K.6-1)."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.index.answer import element
from darkroom_common.specs.worklist.entries import Coded, WorklistEntry

Json = JsonDataset
STEPS: Final = "00400100"
"""Scheduled Procedure Step Sequence."""
OF_PATIENT: Final = {
    "PatientID": "patient_id",
    "IssuerOfPatientID": "issuer_of_patient_id",
    "PatientBirthDate": "patient_birth_date",
    "PatientSex": "patient_sex",
    "PatientName": "patient_name",
    "PatientWeight": "patient_weight",
    "PatientSize": "patient_size",
    "PatientState": "patient_state",
    "PregnancyStatus": "pregnancy_status",
    "MedicalAlerts": "medical_alerts",
    "Allergies": "allergies",
    "SpecialNeeds": "special_needs",
    "ConfidentialityConstraintOnPatientDataDescription": "confidentiality",
    "AdmissionID": "admission_id",
    "CurrentPatientLocation": "current_patient_location",
    "AccessionNumber": "accession_number",
    "ReferringPhysicianName": "referring_physician_name",
    "RequestingPhysician": "requesting_physician_name",
    "RequestingService": "requesting_service",
    "RequestedProcedureID": "requested_procedure_id",
    "RequestedProcedureDescription": "requested_procedure_description",
    "RequestedProcedurePriority": "requested_procedure_priority",
    "PatientTransportArrangements": "patient_transport",
    "StudyInstanceUID": "study_instance_uid",
}
OF_STEP: Final = {
    "Modality": "modality",
    "ScheduledStationAETitle": "scheduled_station_ae_titles",
    "ScheduledStationName": "scheduled_station_name",
    "ScheduledProcedureStepID": "scheduled_procedure_step_id",
    "ScheduledProcedureStepLocation": "scheduled_procedure_step_location",
    "ScheduledProcedureStepDescription": "scheduled_procedure_step_description",
    "ScheduledPerformingPhysicianName": "scheduled_performing_physician_name",
    "ScheduledProcedureStepStatus": "state",
    "PreMedication": "pre_medication",
    "RequestedContrastAgent": "requested_contrast_agent",
    "CommentsOnTheScheduledProcedureStep": "comments",
}
NOTHING: Final = ("ReferencedStudySequence", "ReferencedPatientSequence")
"""What there is nothing to say of: asked for often, and of type 2."""


def tag_of(keyword: str) -> str:
    """Return the tag of an attribute, eight hexadecimal digits."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no attribute")
    return f"{tag:08X}"


def attributes(entry: WorklistEntry, stations: Sequence[str]) -> Json:
    """Return an entry as DICOM JSON; what is not known is there without a value.

    Args:
        entry: of the worklist.
        stations: AE titles of those that it is told to be scheduled for.
    """
    given = entry.model_dump() | {"scheduled_station_ae_titles": tuple(stations)}
    found = _of(given, OF_PATIENT)
    found |= {tag_of(keyword): element("SQ") for keyword in NOTHING}
    code = entry.requested_procedure_code
    found[tag_of("RequestedProcedureCodeSequence")] = _codes([code] if code else [])
    step = _of(given, OF_STEP)
    step[tag_of("ScheduledProcedureStepStartDate")] = element("DA", f"{entry.scheduled_at:%Y%m%d}")
    step[tag_of("ScheduledProcedureStepStartTime")] = element("TM", f"{entry.scheduled_at:%H%M%S}")
    step[tag_of("ScheduledProtocolCodeSequence")] = _codes(entry.scheduled_protocol_codes)
    found[STEPS] = element("SQ", step)
    return found


def _of(given: dict[str, Any], names: dict[str, str]) -> Json:
    return {tag_of(keyword): _element(keyword, given[name]) for keyword, name in names.items()}


def _element(keyword: str, value: Any) -> dict[str, Any]:
    vr = dictionary_VR(keyword)
    values = [one for one in (value if isinstance(value, tuple) else (value,)) if one]
    match vr:
        case "PN":
            return element(vr, *map(_groups, values))
        case "DA":
            return element(vr, *(f"{one:%Y%m%d}" for one in values))
        case _:
            return element(vr, *values)


def _groups(name: str) -> dict[str, str]:
    names = ("Alphabetic", "Ideographic", "Phonetic")
    return {group: part for group, part in zip(names, name.split("="), strict=False) if part}


def _codes(codes: Iterable[Coded]) -> dict[str, Any]:
    items = [
        {
            tag_of("CodeValue"): element("SH", one.code),
            tag_of("CodingSchemeDesignator"): element("SH", one.scheme),
            tag_of("CodeMeaning"): element("LO", one.meaning),
        }
        for one in codes
    ]
    return element("SQ", *items)
