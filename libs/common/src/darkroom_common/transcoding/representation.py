"""A value of one VR written as another: the same value, or none at all (PS3.5 section 6.2)."""

import struct
from collections.abc import Sequence
from typing import Final

_NUMBERS: Final = {
    "US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
}  # fmt: skip
_FLOATS: Final = frozenset({"FL", "FD"})
_WIDTHS: Final = {
    **{vr: struct.calcsize(f"<{code}") for vr, code in _NUMBERS.items()},
    "OW": 2,
    "AT": 2,
    "OL": 4,
    "OF": 4,
    "OD": 8,
    "OV": 8,
}
_TAG: Final = 4
_TEXT: Final = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI"}
    | {"UR", "UT"}
)
_OF_NUMBERS: Final = frozenset({"DS", "IS", "LO", "LT", "SH", "ST", "UC", "UT"})
"""Text in which a number may be written."""
_LONGEST: Final = {"DS": 16, "IS": 12}
"""Characters of one value."""
PAD: Final = {**dict.fromkeys(_TEXT - {"UI"}, b" "), "UI": b"\0"}
"""What makes a value even; a NUL where nothing else is said."""


def width_of(vr: str) -> int:
    """Return the bytes of what has an order in a value: 1 where nothing has."""
    return _WIDTHS.get(vr, 1)


def written_as(wanted: str, given: str, value: bytes) -> bytes | None:
    """Return a value under another VR, or under its own; None when it is none of that VR.

    Args:
        wanted: the VR that whoever reads it will assume.
        given: the VR that it came with.
        value: little endian.
    """
    if not value:
        return value
    if (wanted == "SQ") or (given == "SQ"):
        return None
    if wanted in _NUMBERS:
        return _as_numbers(wanted, given, value)
    if wanted == "AT":
        return value if given not in _TEXT and len(value) % _TAG == 0 else None
    if wanted in _TEXT and (given in _NUMBERS or given == "AT"):
        return _as_text(wanted, given, value)
    return value


def _as_numbers(wanted: str, given: str, value: bytes) -> bytes | None:
    if len(value) % width_of(given if given in _NUMBERS else wanted) and given not in _TEXT:
        return None
    if given in _TEXT:
        numbers = _numbers_in(value)
    elif given in _NUMBERS and given != wanted:
        count = len(value) // width_of(given)
        numbers = struct.unpack(f"<{count}{_NUMBERS[given]}", value)
    else:
        return value if given != "AT" else None
    if numbers is None:
        return None
    try:
        exact = numbers if wanted in _FLOATS else [int(number) for number in numbers]
        packed = struct.pack(f"<{len(exact)}{_NUMBERS[wanted]}", *exact)
    except (struct.error, OverflowError, ValueError):  # beyond what it holds, infinite, NaN
        return None
    return packed if list(exact) == list(numbers) or wanted in _FLOATS else None


def _numbers_in(value: bytes) -> Sequence[float] | None:
    try:
        texts = value.decode("ascii").strip(" \0").split("\\")
        found: list[float] = []
        for text in texts:
            whole = text.strip().lstrip("+-").isdigit()
            found.append(int(text) if whole else float(text))
    except ValueError:
        return None
    return found if all(abs(number) < float("inf") for number in found) else None


def _as_text(wanted: str, given: str, value: bytes) -> bytes | None:
    if wanted not in _OF_NUMBERS or given == "AT" or len(value) % width_of(given):
        return None
    count = len(value) // width_of(given)
    numbers = struct.unpack(f"<{count}{_NUMBERS[given]}", value)
    texts = [f"{number:.10g}" if given in _FLOATS else str(number) for number in numbers]
    if wanted == "IS" and not all(text.lstrip("-").isdigit() for text in texts):
        return None
    if any(len(text) > _LONGEST.get(wanted, len(text)) for text in texts):
        return None
    return "\\".join(texts).encode("ascii")
