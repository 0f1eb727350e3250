"""Objects, entries and steps that have a value for every attribute of the conformance statement."""

from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset

from tests.e2e.stating import Row, put, taken
from tests.support.builders import a_data_set, new_uid

OTHERS: dict[str, Any] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "SH", "ST"), "NONE SUCH"),
    "AS": "001D",
    "DA": "19990101",
    "DS": "99",
    "IS": 99,
    "PN": "None^Such",
    "TM": "010101",
    "UI": "1.2.3.99",
    "US": 4,
}
"""By VR a value that nothing here has."""


def a_full_object(rows: list[Row]) -> Dataset:
    """An object that has a value for every attribute of the table of queries."""
    own: dict[str, Any] = {
        **dict.fromkeys(("CS", "LO", "LT", "SH", "ST"), "STATED"),
        "AS": "042Y",
        "DA": "20250102",
        "DS": "1.5",
        "IS": 7,
        "TM": "101112",
        "PN": "Stated^Anna",
    }
    one = a_data_set()
    for row in rows:
        path, vr = row["Attribute"].split("."), row["VR"]
        computed = path[0].startswith("NumberOf") or path[0].endswith(("InStudy", "Availability"))
        if computed or not vr or taken(one, path) or path[0] in one:
            continue
        if vr == "UI":
            value: Any = new_uid()
        elif vr == "SQ":
            value = [Dataset()]
            value[0].CodeValue, value[0].CodeMeaning = "S", "STATED"
        else:
            value = own[vr]
        put(one, path, value)
    for keyword in ("ScheduledProcedureStepID", "RequestedProcedureID"):
        put(one, ("RequestAttributesSequence", keyword), "STATED")
    one.PatientSex, one.PatientIdentityRemoved, one.TimezoneOffsetFromUTC = "F", "NO", "+0000"
    one.Laterality, one.NumberOfFrames, one.ImageComments = "L", 1, "Of the header"
    return one


ENTRY: dict[str, Any] = {
    **dict.fromkeys(("patient_name", "referring_physician_name"), "Stated^Anna"),
    **dict.fromkeys(
        ("requesting_physician_name", "scheduled_performing_physician_name"), "Stated^B"
    ),
    **dict.fromkeys(
        (
            *("patient_id", "issuer_of_patient_id", "patient_state", "medical_alerts", "allergies"),
            *("special_needs", "confidentiality", "admission_id", "current_patient_location"),
            *("accession_number", "requesting_service", "requested_procedure_id"),
            *("requested_procedure_description", "patient_transport", "scheduled_station_name"),
            *("scheduled_procedure_step_id", "scheduled_procedure_step_location", "comments"),
            *("scheduled_procedure_step_description", "pre_medication", "requested_contrast_agent"),
        ),
        "STATED",
    ),
    "patient_birth_date": "1980-01-02",
    "patient_sex": "F",
    "patient_weight": 70.5,
    "patient_size": 1.75,
    "pregnancy_status": 1,
    "requested_procedure_priority": "STAT",
    "modality": "CT",
    "scheduled_station_ae_titles": ["CT1"],
    "study_instance_uid": "1.2.3.77",
    "requested_procedure_code": {"code": "P1", "scheme": "99S", "meaning": "Stated"},
    "scheduled_protocol_codes": [{"code": "Q1", "scheme": "99S", "meaning": "Stated"}],
}


def a_step() -> Dataset:
    scheduled = Dataset()
    scheduled.StudyInstanceUID, scheduled.ScheduledProcedureStepID = "1.2.3.78", "S1"
    step = Dataset()
    step.ScheduledStepAttributesSequence = [scheduled]
    step.PatientName, step.PatientID, step.PatientSex = "Stated^Anna", "STATED", "F"
    step.PatientBirthDate, step.StudyID, step.PerformedStationName = "19800102", "1", "CT"
    step.PerformedProcedureStepID, step.PerformedStationAETitle = "P1", "CT1"
    step.PerformedProcedureStepStartDate = "20261127"
    step.PerformedProcedureStepStartTime = "101112"
    step.PerformedProcedureStepStatus, step.Modality = "IN PROGRESS", "CT"
    return step


def the_end(status: str) -> Dataset:
    end = Dataset()
    end.PerformedProcedureStepStatus = status
    end.PerformedProcedureStepEndDate, end.PerformedProcedureStepEndTime = "20261127", "111213"
    series = Dataset()
    series.SeriesInstanceUID, series.ProtocolName = new_uid(), "Thorax"
    end.PerformedSeriesSequence = [series]
    return end


def without(keyword: str) -> Dataset:
    """A step that begins without an attribute."""
    step = a_step()
    if keyword in step:
        del step[keyword]
    return step


def emptied(keyword: str) -> Dataset:
    """A step that begins with an attribute that has no value."""
    step = a_step()
    if keyword in step:
        step[keyword].value = [] if step[keyword].VR == "SQ" else None
    return step


def changes_of(row: Row) -> Iterator[tuple[Dataset, int]]:
    """Yield what an N-SET may say of an attribute, and the status that the statement has for it."""
    keyword, said = row["Attribute"], row["N-SET"]
    if said.startswith("not taken"):
        value: Any = [] if keyword.endswith("Sequence") else OTHERS[a_step()[keyword].VR]
        other = Dataset()
        setattr(other, keyword, "M" if keyword == "PatientSex" else value)
        yield other, 0x0107
        return
    if keyword == "PerformedProcedureStepStatus":
        yield the_end("NONE SUCH"), 0x0106
    for status in ("COMPLETED", "DISCONTINUED"):
        end = the_end(status)
        if keyword == "PerformedProcedureStepStatus":
            continue
        del end[keyword]
        needed = "final state" in said or status == "COMPLETED"
        yield end, 0x0120 if needed else 0
