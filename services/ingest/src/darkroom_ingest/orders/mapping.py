"""What messages of HL7 v2 want done with the worklist (IHE RAD TF-2: RAD-1, RAD-4, RAD-12, RAD-13).

Nothing here opens anything: a message becomes `Act`s, or is not read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from darkroom_common.specs.worklist.entries import StepState, WorklistEntry
from darkroom_ingest.orders.patients import identifier, moment, name, patient, shortened
from darkroom_ingest.orders.reading import (
    DATA_TYPE,
    EVENT,
    MESSAGE_TYPE,
    NOT_IN_TABLE,
    NULL,
    PROCESSING,
    REQUIRED,
    SEQUENCE,
    TOO_LONG,
    VERSION,
    Hl7Message,
    NotRead,
    Segment,
)

ORDERS: Final = frozenset({("ORM", "O01"), ("OMI", "O23")})
ADMISSIONS: Final = frozenset(f"A{number:02}" for number in (*range(1, 9), 28, 31))
MERGE: Final = "A40"
_VERSION: Final = "2."
_STEPS: Final = 200
"""Of one message, at most."""
_CANCELLING: Final = frozenset({"CA", "DC", "OC", "OD"})
_STATES: Final[dict[str, StepState]] = {
    "SC": "SCHEDULED",
    "IP": "STARTED",
    "CM": "COMPLETED",
    "CA": "CANCELLED",
    "DC": "DISCONTINUED",
}
"""By ORC-5 (table 0038)."""
_PRIORITIES: Final = {"S": "STAT", "A": "HIGH", "R": "ROUTINE", "P": "HIGH", "T": "MEDIUM"}
_PLACES: Final = {
    "patient_id": "PID^1^3",
    "issuer_of_patient_id": "PID^1^3",
    "patient_name": "PID^1^5",
    "current_patient_location": "PV1^1^3",
    "accession_number": "OBR^{}^18",
    "requested_procedure_id": "OBR^{}^19",
    "scheduled_procedure_step_id": "OBR^{}^20",
    "modality": "OBR^{}^24",
    "scheduled_at": "OBR^{}^27",
    "study_instance_uid": "ZDS^1^1",
}
_MISSING: Final = frozenset({"missing", "string_too_short"})


@dataclass(frozen=True)
class Schedule:
    """A step is to be in the worklist as it is here; `new`: it is ordered, and not changed."""

    entry: WorklistEntry
    new: bool


@dataclass(frozen=True)
class Put:
    """Steps of an order are to be in a state; without an id of the step: all of them."""

    accession_number: str
    step_id: str
    state: StepState


@dataclass(frozen=True)
class Patient:
    """What is known of a patient from now on.

    Attributes:
        patient_id: that entries have now.
        known: values by their names in `WorklistEntry`, the id among them.
    """

    patient_id: str
    issuer: str
    known: dict[str, Any] = field(repr=False)


Act = Schedule | Put | Patient


def acts_of(message: Hl7Message) -> list[Act]:
    """Return what a message wants done.

    Raises:
        NotRead: it is of a kind that is not taken, or says something that cannot be.
    """
    header = message.header
    parts = [one.strip() for one in header.field(9).split(header.component)]
    kind, event = (*parts, "")[:2]
    if not header.first(12).startswith(_VERSION):
        raise NotRead(VERSION, "the version is not 2.x", "MSH^1^12", rejected=True)
    if header.first(11) not in {"P", "D", "T", ""}:
        raise NotRead(PROCESSING, "the processing id is none", "MSH^1^11", rejected=True)
    if not header.field(10).strip():
        raise NotRead(REQUIRED, "there is no message control id", "MSH^1^10", rejected=True)
    if (kind, event) in ORDERS:
        return _orders(message)
    if kind == "ADT" and event == MERGE:
        return _merged(message)
    if kind == "ADT" and event in ADMISSIONS:
        return [_known(patient(message))]
    known = kind == "ADT" or any(kind == one for one, _ in ORDERS)
    code, reason = (EVENT, "the event") if known else (MESSAGE_TYPE, "the message type")
    raise NotRead(code, f"{reason} is not taken", "MSH^1^9", rejected=True)


def _known(said: dict[str, Any]) -> Patient:
    kept = {key: value for key, value in said.items() if key in WorklistEntry.model_fields}
    _checked({**_ANY_ENTRY, **kept})
    return Patient(said["patient_id"], said.get("issuer_of_patient_id", ""), kept)


_ANY_ENTRY: Final = {"patient_name": "x", "modality": "OT", "scheduled_at": "2000-01-01T00:00:00"}


def _merged(message: Hl7Message) -> list[Act]:
    said = patient(message)
    merged = message.first("MRG")
    if merged is None:
        raise NotRead(REQUIRED, "there is no MRG", "MRG^1")
    number, issuer = identifier(merged, 1)
    return [Patient(number, issuer, _known(said).known)]


@dataclass
class _Order:
    """The segments of one order; those of a step each in `steps` (OMI)."""

    orc: Segment
    obr: Segment | None = None
    timing: Segment | None = None
    steps: list[Segment] = field(default_factory=list)


def _orders(message: Hl7Message) -> list[Act]:
    said = patient(message)
    study = message.first("ZDS")
    uid = "" if study is None else study.value(1)
    found: list[Act] = []
    for order in _grouped(message):
        found += _acts(order, said, uid)
        if len(found) > _STEPS:
            raise NotRead(TOO_LONG, "it has too many steps", "ORC^1")
    if not found:
        raise NotRead(REQUIRED, "there is no ORC", "ORC^1")
    return found


def _grouped(message: Hl7Message) -> Iterator[_Order]:
    order: _Order | None = None
    for segment in message.segments():
        if segment.name == "ORC" or (segment.name == "OBR" and order and order.obr):
            if order is not None:
                yield order
            order = _Order(segment if segment.name == "ORC" or order is None else order.orc)
        if segment.name not in {"OBR", "TQ1", "IPC"}:
            continue
        if order is None:
            raise NotRead(SEQUENCE, "there is no ORC before it", segment.place(1))
        match segment.name:
            case "OBR":
                order.obr = segment
            case "TQ1":
                order.timing = segment
            case _:
                order.steps.append(segment)
    if order is not None:
        yield order


def _acts(order: _Order, said: dict[str, Any], uid: str) -> Iterator[Act]:
    control = order.orc.value(1)
    steps: Sequence[Segment | None] = order.steps or [None]
    if control in _CANCELLING:
        for step in steps:
            accession = _accession(order, step)
            yield Put(accession, _step_id(order, step), "CANCELLED")
        return
    if control == "SC":
        status = order.orc.value(5)
        if status not in _STATES:
            raise NotRead(NOT_IN_TABLE, "the status of the order is not taken", "ORC^1^5")
        for step in steps:
            yield Put(_accession(order, step), _step_id(order, step), _STATES[status])
        return
    if control not in {"NW", "XO"}:
        raise NotRead(NOT_IN_TABLE, "the order control is not taken", order.orc.place(1))
    if order.obr is None:
        raise NotRead(REQUIRED, "there is no OBR", "OBR^1")
    for step in steps:
        yield Schedule(_entry(order, order.obr, step, said, uid), control == "NW")


def _accession(order: _Order, step: Segment | None) -> str:
    """Return the accession number, else the number of the filler's or the placer's order."""
    obr = order.obr
    candidates = (
        step and step.value(1),
        obr and obr.value(18),
        order.orc.value(3),
        obr and obr.value(3),
        order.orc.value(2),
        obr and obr.value(2),
    )
    found = next((one for one in candidates if one and one != NULL), None)
    if found is None:
        raise NotRead(REQUIRED, "there is no accession number", "OBR^1^18")
    return found


def _step_id(order: _Order, step: Segment | None) -> str:
    return (step.value(4) if step else "") or (order.obr.value(20) if order.obr else "")


def _entry(
    order: _Order, obr: Segment, step: Segment | None, said: dict[str, Any], uid: str
) -> WorklistEntry:
    codes = [_coded(obr, 4, 4)] if step is None else [_coded(step, 6, 1)]
    own = {} if step is None else _of_step(step)
    timing = order.timing
    places = (
        (timing.value(7), timing.place(7)) if timing else ("", ""),
        (obr.value(27, 4), obr.place(27)),
        (order.orc.value(7, 4), order.orc.place(7)),
        (obr.value(36), obr.place(36)),
    )
    begin, place = next((one for one in places if one[0]), ("", obr.place(27)))
    begins = moment(begin, place)
    if begins is None:
        raise NotRead(REQUIRED, "there is no time of the step", place)
    requested = _coded(obr, 44, 1) or _coded(obr, 4, 1)
    priority = (timing.value(9) if timing else "") or obr.value(27, 6) or order.orc.value(7, 6)
    station = obr.value(21)
    given = said | {
        "accession_number": _accession(order, step),
        "requesting_physician_name": name(obr.repetitions(16), first=2)
        or name(order.orc.repetitions(12), first=2),
        "requesting_service": order.orc.value(17, 2) or order.orc.value(17),
        "requested_procedure_id": obr.value(19),
        "requested_procedure_description": obr.value(44, 2) or obr.value(4, 2),
        "requested_procedure_code": requested,
        "requested_procedure_priority": _PRIORITIES.get(priority[:1], ""),
        "patient_transport": obr.value(30),
        "patient_state": obr.value(12, 2) or obr.value(12),
        "medical_alerts": shortened(obr.value(13)),
        "study_instance_uid": uid or None,
        "scheduled_procedure_step_id": _step_id(order, step) or obr.value(1) or "1",
        "scheduled_at": begins,
        "ordered_at": moment(order.orc.value(9), order.orc.place(9)),
        "modality": obr.value(24),
        "scheduled_station_ae_titles": (station,) if station else (),
        "scheduled_procedure_step_description": obr.value(4, 5) or obr.value(4, 2),
        "scheduled_protocol_codes": tuple(filter(None, codes)),
        "scheduled_performing_physician_name": name(obr.repetitions(34), first=2),
        "comments": obr.value(39, 2),
    }
    given |= {key: value for key, value in own.items() if value}
    emptied = {key: "" if value == NULL else value for key, value in given.items()}
    return _checked(emptied, obr.number)


def _of_step(step: Segment) -> dict[str, Any]:
    """Return what IPC says (HL7 2.5.1, chapter 4)."""
    stations = tuple(one.value() for one in step.repetitions(9) if one.value())
    return {
        "requested_procedure_id": step.value(2),
        "study_instance_uid": step.value(3),
        "modality": step.value(5),
        "scheduled_procedure_step_description": step.value(6, 2),
        "scheduled_station_name": step.value(7, 2) or step.value(7),
        "scheduled_procedure_step_location": step.value(8, 2) or step.value(8),
        "scheduled_station_ae_titles": stations,
    }


def _coded(segment: Segment, number: int, first: int) -> dict[str, str] | None:
    code, meaning, scheme = (segment.value(number, first + more) for more in range(3))
    if not code or not scheme:
        return None
    return {"code": code, "scheme": scheme, "meaning": meaning or code}


def _checked(given: dict[str, Any], number: int = 1) -> WorklistEntry:
    """Return the entry, by the one validator that REST and files have, too."""
    try:
        return WorklistEntry.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = str(next(iter(first["loc"]), ""))
        kind = first["type"]
        code = REQUIRED if kind in _MISSING else TOO_LONG if "too_long" in kind else DATA_TYPE
        place = _PLACES.get(where, "OBR^{}").format(number)
        raise NotRead(code, f"{where}: {kind.replace('_', ' ')}", place) from None
