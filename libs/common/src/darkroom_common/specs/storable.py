"""What values may be at all: whatever cannot be kept or sent on is refused where it comes in."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

DEEPEST: Final = 64
"""Lists and objects within one another."""
_BIGGEST: Final = 2**63


@dataclass(frozen=True)
class Fault:
    """What is wrong with a value, in words that hold nothing of it.

    Attributes:
        place: names and numbers that lead to it.
        reason: what it must be.
    """

    place: tuple[str | int, ...]
    reason: str


def first_fault(value: Any) -> Fault | None:
    """Return what makes a JSON value impossible to keep; None when nothing does.

    PostgreSQL keeps no NUL and no half of a surrogate pair, JSON no number that is not finite.
    """
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        place, one = waiting.pop()
        reason = _reason(one) or ("it is nested too deeply" if len(place) > DEEPEST else "")
        if reason:
            return Fault(place, reason)
        waiting += (((*place, name), inner) for name, inner in _within(one))
    return None


def _within(value: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list | tuple) else ()


def _reason(value: Any) -> str:
    match value:
        case str():
            return "" if is_text(value) else "it holds a character that no text may have"
        case float():
            return "" if math.isfinite(value) else "it is not a finite number"
        case bool():
            return ""
        case int():
            return "" if -_BIGGEST <= value < _BIGGEST else "it is too large a number"
        case dict():
            named = all(is_text(name) for name in value if isinstance(name, str))
            return "" if named else "a name holds a character that no text may have"
    return ""


def is_text(text: str) -> bool:
    """Tell whether a text can be stored: Unicode without NUL."""
    if text.isascii():
        return "\0" not in text
    return "\0" not in text and not any("\ud800" <= one <= "\udfff" for one in text)
