"""What the answer to a STOW-RS request means for each instance (PS3.18 section 10.5.3)."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from darkroom_transmit.sending.outcome import Outcome, Verdict, classify

_US: Final = range(1 << 16)
NOT_ACCEPTED: Final = "TransferSyntaxNotAccepted"
_SYNTAX_NOT_SUPPORTED: Final = 0xC122
_REFERENCED: Final = "00081199"
_FAILED: Final = "00081198"
_UID: Final = "00081155"
_FAILURE: Final = "00081197"
_WARNING: Final = "00081196"
_PROCESSING_FAILURE: Final = 0x0110


def outcomes(answer: Mapping[str, Any] | None, syntaxes: Mapping[str, str]) -> dict[str, Outcome]:
    """Return the outcome of each instance that was sent; what is not mentioned is not stored.

    Args:
        answer: the data set of the answer in the DICOM JSON model, if there is one.
        syntaxes: transfer syntax of each instance that was sent, by its UID.
    """
    failed = dict(_items(answer, _FAILED))
    stored = dict(_items(answer, _REFERENCED))
    found = {}
    for uid, syntax in syntaxes.items():
        if uid in failed:
            found[uid] = _failure(_number(failed[uid], _FAILURE), syntax)
        elif uid in stored:
            warning = _number(stored[uid], _WARNING)
            found[uid] = classify(warning or 0, syntax)
        else:
            found[uid] = Outcome(Verdict.RETRY, "NotMentioned")
    return found


def _failure(reason: int | None, syntax: str) -> Outcome:
    if reason == _SYNTAX_NOT_SUPPORTED:
        return Outcome(Verdict.FAILED, NOT_ACCEPTED, reason)
    outcome = classify(_PROCESSING_FAILURE if reason is None else reason, syntax)
    if outcome.arrived:  # it says that it failed, with a number that says it did not
        return Outcome(Verdict.FAILED, f"Refused{reason or 0:04X}", reason)
    return outcome


def _items(answer: Mapping[str, Any] | None, tag: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    element = (answer or {}).get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    for item in values if isinstance(values, list) else ():
        if isinstance(item, dict):
            uid = _first(item, _UID)
            if isinstance(uid, str):
                yield uid, item


def _number(item: Mapping[str, Any], tag: str) -> int | None:
    value = _first(item, tag)
    return value if isinstance(value, int) and value in _US else None


def _first(item: Mapping[str, Any], tag: str) -> Any:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None
