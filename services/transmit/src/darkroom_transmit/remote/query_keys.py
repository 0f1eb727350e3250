"""Identifiers of queries: matching keys and return keys (PS3.4 sections C.6.2.1 and K.6.1.2)."""

from collections.abc import Iterable
from typing import Final

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from darkroom_common.errors import PermanentError
from darkroom_common.specs.remote import RemoteQuery, WorklistQuery, keyword_of

LEVELS: Final = {"study": "STUDY", "series": "SERIES", "image": "IMAGE"}
_STUDY: Final = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ModalitiesInStudy",
    "ReferringPhysicianName",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
)
_SERIES: Final = (
    "Modality",
    "SeriesDescription",
    "BodyPartExamined",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "NumberOfSeriesRelatedInstances",
)
_IMAGE: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "InstanceNumber",
    "NumberOfFrames",
)
_RETURNED: Final = {"study": _STUDY, "series": _SERIES, "image": _IMAGE}

_REQUEST: Final = (
    "AccessionNumber",
    "ReferringPhysicianName",
    "RequestingPhysician",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedurePriority",
    "PatientTransportArrangements",
    "AdmissionID",
    "CurrentPatientLocation",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientWeight",
    "PatientState",
    "PregnancyStatus",
    "MedicalAlerts",
    "Allergies",
    "SpecialNeeds",
    "ConfidentialityConstraintOnPatientDataDescription",
)
_STEP: Final = (
    "Modality",
    "ScheduledStationAETitle",
    "ScheduledStationName",
    "ScheduledProcedureStepID",
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
    "ScheduledProcedureStepDescription",
    "ScheduledProcedureStepLocation",
    "ScheduledProcedureStepStatus",
    "ScheduledPerformingPhysicianName",
    "PreMedication",
    "RequestedContrastAgent",
)
_CODE: Final = ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")
_REFERENCE: Final = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")


class BadValue(PermanentError):
    """The value of a key is none of its kind. The text names the key."""


def put(data_set: Dataset, keyword: str, value: str | list[Dataset]) -> None:
    """Set an attribute as it is given: patterns and ranges are no values of their VR.

    Raises:
        BadValue: it cannot be encoded.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise BadValue(f"{keyword} is no attribute")
    try:
        data_set[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadValue(f"{keyword} has a value that is none of its kind") from error


def _empty(keywords: Iterable[str]) -> Dataset:
    made = Dataset()
    for keyword in keywords:
        put(made, keyword, "")
    return made


def study_root_identifier(query: RemoteQuery) -> Dataset:
    """Return the identifier of a study root query with all that is told besides.

    Raises:
        BadValue: a key has a value that is none.
    """
    made = _empty(_RETURNED[query.level])
    for name in query.include:
        put(made, keyword_of(name), "")
    for name, value in query.keys.items():
        put(made, keyword_of(name), value)
    made.QueryRetrieveLevel = LEVELS[query.level]
    return made


def worklist_identifier(query: WorklistQuery) -> Dataset:
    """Return the identifier of a modality worklist query.

    Raises:
        BadValue: a key has a value that is none.
    """
    step = _empty(_STEP)
    step.ScheduledProtocolCodeSequence = [_empty(_CODE)]
    put(step, "Modality", query.modality)
    put(step, "ScheduledStationAETitle", query.scheduled_station_ae_title)
    put(step, "ScheduledStationName", query.scheduled_station_name)
    put(step, "ScheduledProcedureStepStartDate", _days(query))
    made = _empty(_REQUEST)
    made.RequestedProcedureCodeSequence = [_empty(_CODE)]
    made.ReferencedStudySequence = [_empty(_REFERENCE)]
    made.ReferencedPatientSequence = [_empty(_REFERENCE)]
    put(made, "ScheduledProcedureStepSequence", [step])
    texts = {
        "PatientName": query.patient_name,
        "PatientID": query.patient_id,
        "AccessionNumber": query.accession_number,
        "RequestedProcedureID": query.requested_procedure_id,
    }
    for keyword, value in texts.items():
        put(made, keyword, value)
    return made


def _days(query: WorklistQuery) -> str:
    if query.date is not None:
        return f"{query.date:%Y%m%d}"
    begin = f"{query.date_from:%Y%m%d}" if query.date_from else ""
    end = f"{query.date_to:%Y%m%d}" if query.date_to else ""
    return f"{begin}-{end}" if begin or end else ""
