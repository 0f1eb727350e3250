"""Values of elements as DICOM JSON (PS3.18 section F.2), from their bytes: nothing is altered.

A number is a number where JSON says the very same, else the string that stands in the object; an
empty one of several values is null; bytes that make no values of their VR are inline, as UN.
"""

import base64
import math
import re
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from darkroom_common.dicom.charset import TextReader
from darkroom_common.dicom.code_extensions import BACKSLASH

Element = dict[str, Any]
JsonDataset = dict[str, Element]
INLINE_LIMIT: Final = 1024
"""Bytes of a binary value that stands in the JSON itself."""
BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
EXACT: Final = 1 << 53
"""Integers beyond it are not what a reader of JSON makes of their digits."""
_DIGITS_KEPT: Final = 15
"""Digits of a decimal that a float keeps whatever they are."""
_DIGITS: Final = "+-.0123456789"
_LIST_OF_DECIMALS: Final = _DIGITS + "\\ "
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")


def _plain(text: str) -> list[Any]:
    return _nulls(text.rstrip(" \x00").split("\\"))


def _stripped(text: str) -> list[Any]:
    return _nulls([part.rstrip(" \x00") for part in text.split("\\")])


def _stripped_whole(text: str) -> list[Any]:
    whole = text.strip(" \x00")
    if "\\" not in whole:
        return [whole] if whole else []
    return _nulls([part.strip(" \x00") for part in text.split("\\")])


def _single(text: str) -> list[Any]:
    whole = text.rstrip(" \x00")
    return [whole] if whole else []


def _nulls(parts: list[str]) -> list[Any]:
    if "" not in parts:
        return parts
    return [part or None for part in parts] if len(parts) > 1 else []


def _person_name(text: str) -> list[Any]:
    parts = text.rstrip(" \x00").split("\\")
    if parts == [""]:
        return []
    if "=" not in text and "" not in parts:
        return [{"Alphabetic": part} for part in parts]
    names = [_component_groups(part) for part in parts]
    return names if any(names) or len(names) > 1 else []


def _component_groups(name: str) -> dict[str, str] | None:
    """Return a name's groups (PS3.5 section 6.2.1); what stands behind the third stays with it."""
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("=", 2), strict=False)
    return {kind: text for kind, text in groups if text} or None


def _decimals(text: str) -> list[Any]:
    parts = text.rstrip(" \x00").split("\\")
    room = _DIGITS_KEPT + (text.count(".") == len(parts))
    if text.strip(_LIST_OF_DECIMALS) or max(map(len, parts)) > room:
        return [decimal(part) for part in parts]
    try:
        return list(map(float, parts))
    except ValueError:  # one of them is empty, or no number
        return [decimal(part) for part in parts] if parts != [""] else []


def decimal(given: str) -> float | str | None:
    """Return one value of a DS as JSON: a number if a float is exactly what the text says."""
    text = given.strip(" \x00")
    try:
        found = float(text)
    except ValueError:
        return text or None
    if len(text) <= _DIGITS_KEPT and not text.strip(_DIGITS):
        return found
    exact = _FLOAT.fullmatch(text) and math.isfinite(found)
    return found if exact and Decimal(repr(found)) == Decimal(text) else text


def _integers(text: str) -> list[Any]:
    parts = text.rstrip(" \x00").split("\\")
    if text.strip(_LIST_OF_DECIMALS) or max(map(len, parts)) > _DIGITS_KEPT:
        return [integer(part) for part in parts]
    try:
        return list(map(int, parts))
    except ValueError:  # one of them is empty, or no integer
        return [integer(part) for part in parts] if parts != [""] else []


def integer(given: str) -> int | str | None:
    """Return one value of an IS as JSON: a number if an integer is exactly what the text says."""
    text = given.strip(" \x00")
    if not text or _FLOAT.fullmatch(text) is None:
        return text or None
    exact = Decimal(text)
    return int(exact) if abs(exact) <= EXACT and exact == exact.to_integral_value() else text


_STRINGS: Final[dict[str, Callable[[str], list[Any]]]] = {
    **dict.fromkeys(("AS", "CS", "DA", "DT", "TM"), _plain),
    **dict.fromkeys(("LO", "SH", "UC"), _stripped),
    **dict.fromkeys(("LT", "ST", "UR", "UT"), _single),
    **dict.fromkeys(("AE", "UI"), _stripped_whole),
    "PN": _person_name,
    "DS": _decimals,
    "IS": _integers,
}
_NUMBERS: Final = {
    "AT": "L",
    "FD": "d",
    "FL": "f",
    "SL": "l",
    "SS": "h",
    "SV": "q",
    "UL": "L",
    "US": "H",
    "UV": "Q",
}
_LITTLE: Final = {vr: struct.Struct("<" + form).iter_unpack for vr, form in _NUMBERS.items()}
_BIG: Final = {vr: struct.Struct(">" + form).iter_unpack for vr, form in _NUMBERS.items()}
KNOWN_VRS: Final = frozenset({*_STRINGS, *_NUMBERS, *BINARY})


def element(vr: str, raw: bytes, text: TextReader, *, big: bool = False) -> Element:
    """Return an element as DICOM JSON; one of `BINARY` is for `binary`.

    Args:
        vr: of text or of numbers.
        raw: its value as it stands in the object.
        text: of the data set or item.
        big: whether numbers are big endian.
    """
    if not raw:
        return {"vr": vr}
    strings = _STRINGS.get(vr)
    if strings is not None:
        if raw.isascii() and b"\x1b" not in raw and text.has_ascii:
            values = strings(raw.decode("ascii"))
        else:
            values = _restored(strings(text.read(raw, vr)))
        return {"vr": vr, "Value": values} if values else {"vr": vr}
    try:
        values = [value for (value,) in (_BIG if big else _LITTLE)[vr](raw)]
    except struct.error:  # no whole number of them
        return _inline("UN", raw)
    if vr == "AT" and not big:
        values = [value << 16 & 0xFFFF0000 | value >> 16 for value in values]
    if vr in _CHECKED:
        values = [_number(vr, value) for value in values]
    return {"vr": vr, "Value": values}


def of_text(vr: str, text: str) -> Element:
    """Return an element of a VR of text whose values are decoded already, with backslashes."""
    values = _STRINGS[vr](text)
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def of_numbers(vr: str, values: list[Any]) -> Element:
    """Return an element of a VR of binary numbers."""
    return {"vr": vr, "Value": [_number(vr, value) for value in values]}


def binary(vr: str, raw: bytes, path: str) -> Element:
    """Return an element of bytes: inline, or referred to when it is long (PS3.18 F.2.6, F.2.7)."""
    if not raw:
        return {"vr": vr}
    if len(raw) > INLINE_LIMIT:
        return {"vr": vr, "BulkDataURI": path}
    return _inline(vr, raw)


def _inline(vr: str, raw: bytes) -> Element:
    return {"vr": vr, "InlineBinary": base64.b64encode(raw).decode("ascii")}


_CHECKED: Final = frozenset({"AT", "FD", "FL", "SV", "UV"})


def _number(vr: str, value: Any) -> Any:
    if vr == "AT":
        return f"{value:08X}"
    if vr in ("SV", "UV"):
        return value if abs(value) <= EXACT else str(value)
    if vr in ("FD", "FL") and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _restored(values: list[Any]) -> list[Any]:
    """Return values with the backslashes of bytes that could not be read (PS3.5 6.1.2.3)."""
    return [
        {kind: group.replace(BACKSLASH, "\\") for kind, group in value.items()}
        if isinstance(value, dict)
        else value.replace(BACKSLASH, "\\")
        if isinstance(value, str)
        else value
        for value in values
    ]


def texts(element: Element | None) -> list[str]:
    """Return the values of an element as text, a person name with its groups joined by `=`."""
    if element is None:
        return []
    return [text for value in element.get("Value", ()) if (text := _text(value))]


def first_text_of(element: Element | None) -> str:
    """Return the first of `texts`, or nothing."""
    if element is not None:
        for value in element.get("Value", ()):
            if text := value if type(value) is str else _text(value):
                return text
    return ""


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        if len(value) == 1 and "Alphabetic" in value:  # nearly every name
            alone: str = value["Alphabetic"]
            return alone.rstrip("=")
        groups = [value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=")
    return "" if value is None else str(value)
