"""What may become of a workitem (PS3.4 section CC.2). Nothing is read or written here."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydicom.uid import generate_uid

from darkroom_common.dicom.identity import is_conformant
from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.index.answer import element
from darkroom_common.index.matching.data_sets import values_at
from darkroom_common.specs.worklist.as_workitem import tag_of
from darkroom_common.specs.worklist.workitems import (
    ASSIGNED,
    FILTERED_WORKLIST,
    FINAL,
    NO_TRANSACTION,
    PROGRESS_REPORT,
    PUSH,
    STATE_REPORT,
    WORKLIST,
    State,
    UpsStatus,
)
from darkroom_ingest.workitems.reading import NotTaken

SOP_CLASS: Final = tag_of("SOPClassUID")
SOP_INSTANCE: Final = tag_of("SOPInstanceUID")
TRANSACTION: Final = tag_of("TransactionUID")
STATE: Final = tag_of("ProcedureStepState")
READINESS: Final = tag_of("InputReadinessState")
START: Final = tag_of("ScheduledProcedureStepStartDateTime")
MODIFIED: Final = tag_of("ScheduledProcedureStepModificationDateTime")
PATIENT_ID: Final = tag_of("PatientID")
PROGRESS: Final = tag_of("ProcedureStepProgressInformationSequence")
PERFORMED: Final = tag_of("UnifiedProcedureStepPerformedProcedureSequence")
REASON: Final = tag_of("ReasonForCancellation")
REASON_CODE: Final = tag_of("ProcedureStepDiscontinuationReasonCodeSequence")
CONTACT_NAME: Final = tag_of("ContactDisplayName")
CONTACT_URI: Final = tag_of("ContactURI")
CANCELED_AT: Final = tag_of("ProcedureStepCancellationDateTime")
_LABEL: Final = tag_of("WorklistLabel")
_PRIORITY: Final = tag_of("ScheduledProcedureStepPriority")
_STATIONS: Final = tag_of("ScheduledStationNameCodeSequence")
_PERFORMERS: Final = tag_of("ScheduledHumanPerformersSequence")
_REQUIRED: Final = (_PRIORITY, tag_of("ProcedureStepLabel"), READINESS, START, STATE)
"""Of type 1 when it is created (PS3.4 table CC.2.5-3)."""
_EMPTY: Final = (TRANSACTION, PROGRESS, PERFORMED)
"""Have no value when it is created."""
_THERE: Final[dict[str, str]] = {
    tag_of(keyword): vr
    for keyword, vr in {
        "ScheduledProcessingParametersSequence": "SQ",
        "ScheduledStationNameCodeSequence": "SQ",
        "ScheduledStationClassCodeSequence": "SQ",
        "ScheduledStationGeographicLocationCodeSequence": "SQ",
        "ScheduledWorkitemCodeSequence": "SQ",
        "CommentsOnTheScheduledProcedureStep": "LT",
        "InputInformationSequence": "SQ",
        "PatientName": "PN",
        "PatientID": "LO",
        "PatientBirthDate": "DA",
        "PatientSex": "CS",
        "AdmissionID": "LO",
        "IssuerOfAdmissionIDSequence": "SQ",
        "AdmittingDiagnosesDescription": "LO",
        "AdmittingDiagnosesCodeSequence": "SQ",
        "ReferencedRequestSequence": "SQ",
        "ProcedureStepProgressInformationSequence": "SQ",
        "UnifiedProcedureStepPerformedProcedureSequence": "SQ",
    }.items()
}
"""Of type 2: there with or without a value."""
_FIXED: Final = frozenset(
    {
        STATE,
        SOP_CLASS,
        SOP_INSTANCE,
        *(
            tag_of(keyword)
            for keyword in (
                "PatientName",
                "PatientID",
                "IssuerOfPatientID",
                "OtherPatientIDsSequence",
                "PatientBirthDate",
                "PatientSex",
                "StudyInstanceUID",
                "AdmissionID",
                "IssuerOfAdmissionIDSequence",
                "AdmittingDiagnosesDescription",
                "AdmittingDiagnosesCodeSequence",
                "ReferencedRequestSequence",
                "ReplacedProcedureStepSequence",
            )
        ),
    }
)
"""What an update may not set (PS3.4 table CC.2.5-3)."""
_CODED: Final = {
    _PRIORITY: {"HIGH", "MEDIUM", "LOW"},
    READINESS: {"INCOMPLETE", "UNAVAILABLE", "READY"},
}
_OF_PERFORMED: Final = tuple(
    tag_of(keyword)
    for keyword in (
        "PerformedStationNameCodeSequence",
        "PerformedWorkitemCodeSequence",
        "PerformedProcedureStepStartDateTime",
        "PerformedProcedureStepEndDateTime",
    )
)
"""Have a value when it is completed: final state P of the same table."""
_OUTPUT: Final = tag_of("OutputInformationSequence")
_UNSPECIFIED: Final = {
    tag_of("CodeValue"): element("SH", "110513"),
    tag_of("CodingSchemeDesignator"): element("SH", "DCM"),
    tag_of("CodeMeaning"): element("LO", "Discontinued for unspecified reason"),
}
DEFAULT_LABEL: Final = "WORKLIST"
CLAIMED: Final = "the transaction UID is not that of the workitem"


@dataclass(frozen=True)
class Known:
    """A workitem as it is.

    Attributes:
        claimed_by: whether the transaction UID that was given is its lock.
    """

    state: State
    attributes: JsonDataset
    claimed_by: bool


def created(given: JsonDataset, uid: str | None, now: dt.datetime) -> tuple[str, JsonDataset, bool]:
    """Return the UID and the attributes of a workitem, and whether it is not just as it was given.

    Args:
        given: the data set.
        uid: of the address; None: the data set's, or a new one.
        now: with its offset.

    Raises:
        NotTaken: it is no workitem to begin with.
    """
    said = one(given, SOP_INSTANCE)
    if uid and said and uid != said:
        raise NotTaken(
            UpsStatus.INVALID_ATTRIBUTE_VALUE, "the address has another UID", SOP_INSTANCE
        )
    uid = uid or said or str(generate_uid(prefix=None))
    if not is_conformant(uid) or uid in (WORKLIST, FILTERED_WORKLIST):
        raise NotTaken(UpsStatus.INVALID_ATTRIBUTE_VALUE, "this is no UID", SOP_INSTANCE)
    if one(given, SOP_CLASS) not in ("", PUSH):
        raise NotTaken(UpsStatus.INVALID_ATTRIBUTE_VALUE, "it is of another class", SOP_CLASS)
    _require(given, _REQUIRED)
    full = [tag for tag in _EMPTY if given.get(tag, {}).get("Value")]
    if full:
        raise NotTaken(
            UpsStatus.INVALID_ATTRIBUTE_VALUE, "these have no value when it is created", *full
        )
    if one(given, STATE) != "SCHEDULED":
        raise NotTaken(UpsStatus.NOT_SCHEDULED, "it has to be SCHEDULED", STATE)
    _check(given)
    made = {tag: element(vr) for tag, vr in _THERE.items() if tag not in given}
    if not one(given, _LABEL):
        made[_LABEL] = element("LO", DEFAULT_LABEL)
    whole = {tag: value for tag, value in given.items() if tag != TRANSACTION} | made
    whole |= {SOP_CLASS: element("UI", PUSH), SOP_INSTANCE: element("UI", uid)}
    whole[MODIFIED] = element("DT", moment(now))
    return uid, whole, bool(made)


def updated(known: Known, given: JsonDataset, transaction: str, now: dt.datetime) -> JsonDataset:
    """Return the attributes of a workitem that is updated (PS3.4 section CC.2.6).

    Raises:
        NotTaken: it may not be, or not so.
    """
    if known.state in FINAL:
        raise NotTaken(UpsStatus.FINAL, f"it is {known.state}")
    if known.state == "SCHEDULED" and transaction:
        raise NotTaken(UpsStatus.NOT_IN_PROGRESS, "nobody has claimed it")
    if known.state == "IN PROGRESS":
        _require_owner(known, transaction)
    fixed = sorted(_FIXED & given.keys())
    if fixed:
        raise NotTaken(
            UpsStatus.INVALID_ATTRIBUTE_VALUE, "these cannot be set by an update", *fixed
        )
    whole = known.attributes | {tag: value for tag, value in given.items() if tag != TRANSACTION}
    _require(whole, _REQUIRED)
    _check(whole)
    whole[MODIFIED] = element("DT", moment(now))
    return whole


def changed(
    known: Known, given: JsonDataset, now: dt.datetime
) -> tuple[State, JsonDataset, UpsStatus]:
    """Return the state and attributes of a workitem whose state is asked to be another.

    It is table CC.1.1-2 of PS3.4.

    Raises:
        NotTaken: it may not be.
    """
    transaction, wanted = one(given, TRANSACTION), one(given, STATE)
    if wanted == "SCHEDULED":
        raise NotTaken(UpsStatus.NEVER_SCHEDULED_AGAIN, "nothing is scheduled again", STATE)
    if wanted not in ("IN PROGRESS", "COMPLETED", "CANCELED"):
        raise NotTaken(UpsStatus.INVALID_ATTRIBUTE_VALUE, "this is no state", STATE)
    if not transaction:
        raise NotTaken(UpsStatus.WRONG_TRANSACTION, NO_TRANSACTION, TRANSACTION)
    if not is_conformant(transaction):
        raise NotTaken(UpsStatus.INVALID_ATTRIBUTE_VALUE, "this is no UID", TRANSACTION)
    if wanted == "IN PROGRESS":
        return "IN PROGRESS", _claimed(known), UpsStatus.SUCCESS
    if known.state == "SCHEDULED":
        raise NotTaken(UpsStatus.NOT_IN_PROGRESS, "nobody has claimed it")
    _require_owner(known, transaction)
    if known.state == wanted:
        done = wanted == "COMPLETED"
        status = UpsStatus.ALREADY_COMPLETED if done else UpsStatus.ALREADY_CANCELED
        return known.state, known.attributes, status
    if known.state in FINAL:
        raise NotTaken(UpsStatus.FINAL, f"it is {known.state}")
    if wanted == "COMPLETED":
        return "COMPLETED", _completed(known.attributes), UpsStatus.SUCCESS
    return "CANCELED", canceled(known.attributes, {}, now), UpsStatus.SUCCESS


def canceled(attributes: JsonDataset, why: JsonDataset, now: dt.datetime) -> JsonDataset:
    """Return the attributes of a workitem that is canceled, with what final state X asks for."""
    items = attributes.get(PROGRESS, {}).get("Value", [])
    item: JsonDataset = dict(items[0]) if items else {}
    item |= {tag: why[tag] for tag in (REASON, REASON_CODE) if why.get(tag, {}).get("Value")}
    if not one(item, CANCELED_AT):
        item[CANCELED_AT] = element("DT", moment(now))
    if not item.get(REASON_CODE, {}).get("Value"):
        item[REASON_CODE] = element("SQ", dict(_UNSPECIFIED))
    return attributes | {
        PROGRESS: element("SQ", item, *items[1:]),
        STATE: element("CS", "CANCELED"),
    }


def reports_of(before: JsonDataset, after: JsonDataset) -> Iterator[tuple[int, JsonDataset]]:
    """Yield what is told of a change: types of events, and what they say beyond states."""
    if one(before, STATE) != one(after, STATE) or one(before, READINESS) != one(after, READINESS):
        yield STATE_REPORT, state_report(after)
    if after.get(PROGRESS) != before.get(PROGRESS) and one(after, STATE) not in FINAL:
        yield PROGRESS_REPORT, {PROGRESS: after[PROGRESS]}
    if any(before.get(tag) != after.get(tag) for tag in (_STATIONS, _PERFORMERS)):
        told = {tag: after[tag] for tag in (_STATIONS, _PERFORMERS) if tag in after}
        yield ASSIGNED, told


def state_report(attributes: JsonDataset) -> JsonDataset:
    """Return what a state report says beyond the states: why it was canceled."""
    items = attributes.get(PROGRESS, {}).get("Value", [])
    item = items[0] if items and one(attributes, STATE) == "CANCELED" else {}
    return {tag: item[tag] for tag in (REASON, REASON_CODE) if tag in item}


def moment(now: dt.datetime) -> str:
    """Return a moment as DT (PS3.5 section 6.2)."""
    return f"{now:%Y%m%d%H%M%S%z}"


def start_of(attributes: JsonDataset) -> dt.datetime:
    """Return when it is scheduled to start, by the clock of the department.

    Raises:
        NotTaken: it says no such moment.
    """
    text = one(attributes, START)
    digits = text.partition("+")[0].partition("-")[0].partition(".")[0]
    padded = digits + "00000101000000"[len(digits) :]
    try:
        return dt.datetime.strptime(padded, "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError as error:
        raise NotTaken(
            UpsStatus.INVALID_ATTRIBUTE_VALUE, "it is no moment of the calendar", START
        ) from error


def one(data_set: JsonDataset, tag: str) -> str:
    """Return the first value of an attribute; empty: there is none."""
    return next(iter(values_at(data_set, tag)), "").strip()


def _claimed(known: Known) -> JsonDataset:
    if known.state == "IN PROGRESS":
        raise NotTaken(UpsStatus.ALREADY_IN_PROGRESS, "somebody has claimed it")
    if known.state in FINAL:
        raise NotTaken(UpsStatus.FINAL, f"it is {known.state}")
    return known.attributes | {STATE: element("CS", "IN PROGRESS")}


def _completed(attributes: JsonDataset) -> JsonDataset:
    items: list[Any] = attributes.get(PERFORMED, {}).get("Value", [])
    item: JsonDataset = items[0] if items else {}
    missing = [tag for tag in _OF_PERFORMED if not item.get(tag, {}).get("Value")]
    if _OUTPUT not in item:
        missing.append(_OUTPUT)
    if missing:
        raise NotTaken(
            UpsStatus.FINAL_STATE_NOT_MET, "what was performed is not said whole", *missing
        )
    return attributes | {STATE: element("CS", "COMPLETED")}


def _require_owner(known: Known, transaction: str) -> None:
    if not transaction:
        raise NotTaken(UpsStatus.WRONG_TRANSACTION, NO_TRANSACTION, TRANSACTION)
    if not known.claimed_by:
        raise NotTaken(UpsStatus.WRONG_TRANSACTION, CLAIMED, TRANSACTION)


def _require(data_set: JsonDataset, tags: Iterable[str]) -> None:
    missing = [tag for tag in tags if tag not in data_set]
    if missing:
        raise NotTaken(UpsStatus.MISSING_ATTRIBUTE, "attributes are missing", *missing)
    empty = [tag for tag in tags if not one(data_set, tag)]
    if empty:
        raise NotTaken(UpsStatus.MISSING_ATTRIBUTE_VALUE, "attributes have no value", *empty)


def _check(data_set: JsonDataset) -> None:
    wrong = [tag for tag, known in _CODED.items() if one(data_set, tag) not in known]
    if wrong:
        raise NotTaken(UpsStatus.INVALID_ATTRIBUTE_VALUE, "a value is not allowed", *wrong)
    start_of(data_set)
