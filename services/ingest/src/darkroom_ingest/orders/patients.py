"""What PID, PV1, AL1 and MRG say of a patient (IHE RAD TF-2, appendix B)."""

import datetime as dt
import re
from collections.abc import Iterable
from typing import Any, Final

from darkroom_ingest.orders.reading import (
    DATA_TYPE,
    NULL,
    REQUIRED,
    Hl7Message,
    NotRead,
    Repetition,
    Segment,
)

_MOMENT: Final = re.compile(
    r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.\d+)?)?)?)?(?:[+-]\d{4})?"
)
_SEX: Final = {"M": "M", "F": "F", "O": "O", "A": "O", "U": "", "N": "", NULL: ""}
_PREGNANT: Final = "B6"
_PREGNANCY_YES: Final = 3
_IDENTIFIERS: Final = ("MR", "PI")
"""Types of identifiers (table 0203) that are taken before others."""
_GROUPS: Final = {"I": 1, "P": 2}
"""Of a person name, by XPN-8: ideographic, phonetic."""
_DELIMITERS: Final = str.maketrans(dict.fromkeys("^=\\", " "))


def moment(text: str, place: str) -> dt.datetime | None:
    """Return a date and time (TS, DTM) by the clock of whoever has written it; None for none.

    Raises:
        NotRead: it is no date.
    """
    if text in {"", NULL}:
        return None
    found = _MOMENT.fullmatch(text)
    try:
        year, month, day, *time = found.groups("00") if found else ("", "", "")
        return dt.datetime.fromisoformat(f"{year}-{month}-{day}T{':'.join(time)}")
    except ValueError:
        raise NotRead(DATA_TYPE, "a date and time is none", place) from None


def name(given: Iterable[Repetition], first: int = 1) -> str:
    """Return a person name as DICOM has it, its groups from repetitions of XPN or XCN.

    Args:
        given: repetitions.
        first: component that the family name is.
    """
    groups = ["", "", ""]
    for one in given:
        parts = [one.value(first + place) for place in (0, 1, 2, 4, 3)]
        parts[4] = " ".join(filter(None, (parts[4], one.value(first + 5))))  # a degree
        text = "^".join("" if part == NULL else part.translate(_DELIMITERS) for part in parts)
        group = _GROUPS.get(one.value(first + 7), 0) if first == 1 else 0
        groups[group] = groups[group] or text.rstrip("^")
    return "=".join(groups).rstrip("=")


def identifier(segment: Segment, field: int) -> tuple[str, str]:
    """Return a patient's id and who has issued it, of repetitions of CX.

    Raises:
        NotRead: there is none.
    """
    found = {one.value(5): one for one in reversed(list(segment.repetitions(field)))}
    chosen = next((found[kind] for kind in _IDENTIFIERS if kind in found), None)
    chosen = chosen or next(segment.repetitions(field), None)
    number = "" if chosen is None else chosen.value()
    if chosen is None or number in {"", NULL}:
        raise NotRead(REQUIRED, "there is no patient id", segment.place(field))
    return number, chosen.value(4) or chosen.value(4, 2)


def patient(message: Hl7Message) -> dict[str, Any]:
    """Return what is said of the patient, by the names of `WorklistEntry`.

    What is not said is left out; what is to be deleted is empty.

    Raises:
        NotRead: there is no patient, or a value is wrong.
    """
    pid = message.first("PID")
    if pid is None:
        raise NotRead(REQUIRED, "there is no PID", "PID^1")
    number, issuer = identifier(pid, 3)
    found: dict[str, Any] = {"patient_id": number}
    if issuer:
        found["issuer_of_patient_id"] = issuer
    if text := name(pid.repetitions(5)):
        found["patient_name"] = text
    born = pid.value(7)
    if born:
        day = moment(born, pid.place(7)) if len(born) != len("1980") else None
        found["patient_birth_date"] = None if day is None else day.date()
    sex = pid.value(8)
    if sex:
        if sex not in _SEX:
            raise NotRead(DATA_TYPE, "the sex is none of table 0001", pid.place(8))
        found["patient_sex"] = _SEX[sex]
    return found | _visit(message, pid) | _allergies(message)


def _visit(message: Hl7Message, pid: Segment) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if account := pid.value(18):
        found["admission_id"] = _text(account)
    visit = message.first("PV1")
    if visit is None:
        return found
    place = next(visit.repetitions(3), None)
    if place is not None and place.value():
        where = (_text(place.value(component)) for component in (1, 2, 3))
        found["current_patient_location"] = " ".join(filter(None, where))
    if referring := name(visit.repetitions(8), first=2):
        found["referring_physician_name"] = referring
    if any(one.value() == _PREGNANT for one in visit.repetitions(15)):
        found["pregnancy_status"] = _PREGNANCY_YES
    if important := visit.value(16):
        found["confidentiality"] = _text(important)
    if number := visit.value(19):
        found["admission_id"] = _text(number)
    return found


def _allergies(message: Hl7Message) -> dict[str, Any]:
    listed = [one for one in message.segments() if one.name == "AL1"]
    names = [one.value(3, 2) or one.value(3) for one in listed]
    text = ", ".join(_text(one) for one in names if one)
    return {"allergies": shortened(text)} if listed else {}


def shortened(text: str, most: int = 64) -> str:
    """Return a text of at most so many characters, with a sign where some have gone."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _text(value: str) -> str:
    return "" if value == NULL else value
