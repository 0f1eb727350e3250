"""Attributes of performed procedure steps (PS3.4 table F.7.2-1): what is sent, and when."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from pydicom.dataset import Dataset

from darkroom_common.specs.remote import (
    DiscontinuationReason,
    NewProcedureStep,
    PerformedSeries,
    ProcedureStepChange,
    Reference,
)
from darkroom_transmit.remote.query_keys import put

FINAL: Final = frozenset({"COMPLETED", "DISCONTINUED"})
_EMPTY_SEQUENCES: Final = (
    "ReferencedPatientSequence",
    "ProcedureCodeSequence",
    "PerformedProtocolCodeSequence",
    "PerformedSeriesSequence",
)
_NOT_IMAGES: Final = (
    "1.2.840.10008.5.1.4.1.1.88.",
    "1.2.840.10008.5.1.4.1.1.11.",
    "1.2.840.10008.5.1.4.1.1.9.",
    "1.2.840.10008.5.1.4.1.1.104.",
)


def local(moment: dt.datetime | None, zone: str, now: dt.datetime) -> dt.datetime:
    """Return a moment by the clock of a destination; one without a zone is taken as it is."""
    if moment is None:
        return now.astimezone(ZoneInfo(zone))
    return moment if moment.tzinfo is None else moment.astimezone(ZoneInfo(zone))


def created(step: NewProcedureStep, *, station: str, started: dt.datetime) -> Dataset:
    """Return the attribute list of the N-CREATE, with all of types 1 and 2.

    Args:
        step: what is known.
        station: AE title of the station, unless the step names one.
        started: by the clock of the destination.
    """
    scheduled = Dataset()
    scheduled.StudyInstanceUID = step.study_instance_uid
    scheduled.ReferencedStudySequence = []
    scheduled.ScheduledProtocolCodeSequence = []
    texts = {
        "AccessionNumber": step.accession_number,
        "RequestedProcedureID": step.requested_procedure_id,
        "RequestedProcedureDescription": step.requested_procedure_description,
        "ScheduledProcedureStepID": step.scheduled_procedure_step_id,
        "ScheduledProcedureStepDescription": step.scheduled_procedure_step_description,
    }
    for keyword, value in texts.items():
        put(scheduled, keyword, value)
    made = Dataset()
    for keyword in _EMPTY_SEQUENCES:
        put(made, keyword, [])
    put(made, "ScheduledStepAttributesSequence", [scheduled])
    plain = {
        "PatientName": step.patient_name,
        "PatientID": step.patient_id,
        "PatientBirthDate": f"{step.patient_birth_date:%Y%m%d}" if step.patient_birth_date else "",
        "PatientSex": step.patient_sex,
        "PerformedProcedureStepID": step.performed_procedure_step_id,
        "PerformedStationAETitle": step.performed_station_ae_title or station,
        "PerformedStationName": step.performed_station_name,
        "PerformedLocation": step.performed_location,
        "PerformedProcedureStepStartDate": f"{started:%Y%m%d}",
        "PerformedProcedureStepStartTime": f"{started:%H%M%S}",
        "PerformedProcedureStepStatus": "IN PROGRESS",
        "PerformedProcedureStepDescription": step.description,
        "PerformedProcedureTypeDescription": step.type_description,
        "PerformedProcedureStepEndDate": "",
        "PerformedProcedureStepEndTime": "",
        "Modality": step.modality,
        "StudyID": step.study_id,
    }
    if step.issuer_of_patient_id:
        plain["IssuerOfPatientID"] = step.issuer_of_patient_id
    for keyword, value in plain.items():
        put(made, keyword, value)
    return made


def changed(
    change: ProcedureStepChange, *, ended: dt.datetime, stored: Mapping[str, Sequence[Reference]]
) -> Dataset:
    """Return the modification list of the N-SET.

    Args:
        change: what has become of the step.
        ended: by the clock of the destination.
        stored: the instances of series that are stored here, for series that name none.
    """
    made = Dataset()
    put(made, "PerformedProcedureStepStatus", change.status)
    if change.description is not None:
        put(made, "PerformedProcedureStepDescription", change.description)
    if change.status in FINAL:
        put(made, "PerformedProcedureStepEndDate", f"{ended:%Y%m%d}")
        put(made, "PerformedProcedureStepEndTime", f"{ended:%H%M%S}")
    if change.series or change.status in FINAL:
        items = [_series(one, stored.get(one.series_instance_uid, ())) for one in change.series]
        put(made, "PerformedSeriesSequence", items)
    if change.discontinuation_reason is not None:
        reason = change.discontinuation_reason
        put(made, "PerformedProcedureStepDiscontinuationReasonCodeSequence", [_code(reason)])
    return made


def _code(reason: DiscontinuationReason) -> Dataset:
    item = Dataset()
    put(item, "CodeValue", reason.code)
    put(item, "CodingSchemeDesignator", reason.scheme)
    put(item, "CodeMeaning", reason.meaning)
    return item


def _series(series: PerformedSeries, stored: Sequence[Reference]) -> Dataset:
    item = Dataset()
    put(item, "SeriesInstanceUID", series.series_instance_uid)
    put(item, "ProtocolName", series.protocol_name)
    put(item, "SeriesDescription", series.description)
    put(item, "PerformingPhysicianName", series.performing_physician_name)
    put(item, "OperatorsName", series.operators_name)
    put(item, "RetrieveAETitle", series.retrieve_ae_title)
    images: list[Dataset] = []
    others: list[Dataset] = []
    for one in stored if series.images is None else series.images:
        made = Dataset()
        put(made, "ReferencedSOPClassUID", one.sop_class_uid)
        put(made, "ReferencedSOPInstanceUID", one.sop_instance_uid)
        (others if one.sop_class_uid.startswith(_NOT_IMAGES) else images).append(made)
    put(item, "ReferencedImageSequence", images)
    put(item, "ReferencedNonImageCompositeSOPInstanceSequence", others)
    return item
