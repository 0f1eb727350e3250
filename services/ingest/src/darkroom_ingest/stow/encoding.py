"""Data sets of DICOM JSON (PS3.18 annex F) as bytes: Explicit VR Little Endian (PS3.5 annex A.2).

Values that stand elsewhere are left open. Text becomes UTF-8, which JSON is, as soon as there is
any that is not ASCII. What cannot be a value of its VR is refused, never altered.
"""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from darkroom_common.dicom.charset import CharacterSet, character_set
from darkroom_common.dicom.heads import ITEM_GROUP, LONG_VRS, UNDEFINED
from darkroom_common.dicom.text_elements import CODED
from darkroom_common.errors import PermanentError

DEPTH: Final = 64
PIXEL_DATA: Final = 0x7FE00010
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_NOT_KEPT: Final = frozenset({0, 2})
"""Groups of commands and of files."""
_CHARACTER_SET: Final = 0x00080005
_AVAILABLE_SYNTAX: Final = 0x00083002
_UTF_8: Final = "ISO_IR 192"
_SHORT: Final = 0xFFFE
"""The longest value behind a length of 16 bits."""
_SHORT_TEXT: Final = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI"}
)
_TEXT: Final = _SHORT_TEXT | {"UC", "UR", "UT"}
_ONE: Final = frozenset({"LT", "ST", "UT", "UR"})
_NUMBERS: Final[Mapping[str, str]] = {
    "FD": "<d",
    "FL": "<f",
    "SL": "<l",
    "SS": "<h",
    "SV": "<q",
    "UL": "<L",
    "US": "<H",
    "UV": "<Q",
}
_BYTES: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_DECIMAL: Final = 16
"""Characters of a DS."""
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_ITEM: Final = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED)
_ITEM_END: Final = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
_SEQUENCE_END: Final = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


class Unsayable(PermanentError):
    """Metadata cannot be encoded. `code` is one of a closed list."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Bulk:
    """A value that stands elsewhere."""

    tag: int
    vr: str
    uri: str
    outermost: bool
    """Whether it is of the data set itself, not of an item."""


Piece = bytes | Bulk


@dataclass(frozen=True)
class Encoded:
    """A data set but for what stands elsewhere."""

    pieces: Sequence[Piece]

    @property
    def bulk(self) -> list[Bulk]:
        """What stands elsewhere."""
        return [piece for piece in self.pieces if isinstance(piece, Bulk)]


def encode_answer(data_set: Mapping[str, Any], text: CharacterSet, *, implicit: bool) -> bytes:
    """Return a DICOM JSON object without bulk data as an identifier that is sent.

    Args:
        data_set: what it declares in (0008,0005) is what `text` is.
        text: has all characters of it.
        implicit: in Implicit VR Little Endian, not Explicit.

    Raises:
        Unsayable: it is none.
    """
    pieces = _Encoder(data_set, text, implicit=implicit).elements(data_set, 0)
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


def encode_json(data_set: Any) -> Encoded:
    """Return a DICOM JSON object as bytes.

    Raises:
        Unsayable: it is none.
    """
    if not isinstance(data_set, dict):
        raise Unsayable("no-data-set")
    return Encoded(_joined(_Encoder(data_set).elements(data_set, 0)))


def value_of(data_set: Mapping[str, Any], tag: int) -> Any:
    """Return the first value of an attribute as JSON has it; None: there is none."""
    element = data_set.get(f"{tag:08X}")
    found = element.get("Value") if isinstance(element, dict) else None
    return next(iter(found), None) if isinstance(found, list) else None


def _joined(pieces: Iterator[Piece]) -> list[Piece]:
    found: list[Piece] = []
    run: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            run.append(piece)
            continue
        found += [b"".join(run), piece]
        run = []
    return [*found, b"".join(run)]


class _Encoder:
    def __init__(
        self,
        data_set: Mapping[str, Any],
        text: CharacterSet | None = None,
        *,
        implicit: bool = False,
    ) -> None:
        self._unicode = text is None and not _is_ascii(data_set)
        self._text = text or character_set(_UTF_8)
        self._implicit = implicit

    def elements(self, data_set: Mapping[str, Any], depth: int) -> Iterator[Piece]:
        if depth > DEPTH:
            raise Unsayable("nested-too-deep")
        known: dict[int, Any] = {}
        for name, element in data_set.items():
            if _TAG.fullmatch(name) is None:
                raise Unsayable("bad-tag")
            known[int(name, 16)] = element
        if self._unicode:
            known.pop(_CHARACTER_SET, None)
            if not depth:
                known[_CHARACTER_SET] = {"vr": "CS", "Value": [_UTF_8]}
        for tag in sorted(known):
            if tag >> 16 in _NOT_KEPT or not tag & 0xFFFF or tag == _AVAILABLE_SYNTAX:
                continue  # of the file or of the exchange, not of the object
            if tag >> 16 == ITEM_GROUP:
                raise Unsayable("bad-tag")
            yield from self._element(tag, known[tag], depth)

    def _element(self, tag: int, element: Any, depth: int) -> Iterator[Piece]:
        if not isinstance(element, dict) or not isinstance(element.get("vr"), str):
            raise Unsayable("no-vr")
        vr: str = element["vr"]
        if "BulkDataURI" in element:
            uri = element["BulkDataURI"]
            if not isinstance(uri, str) or vr == "SQ":
                raise Unsayable("bad-bulk-data-uri")
            yield Bulk(tag, vr, uri, not depth)
            return
        if vr == "SQ":
            yield from self._sequence(tag, element, depth)
            return
        value = self._value(vr, element)
        value += b"\x00" * (len(value) % 2)
        yield self._head(tag, vr, len(value)) + value

    def _head(self, tag: int, vr: str, length: int) -> bytes:
        if self._implicit:
            return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length)
        return head_of(tag, vr, length)

    def _sequence(self, tag: int, element: Mapping[str, Any], depth: int) -> Iterator[Piece]:
        yield self._head(tag, "SQ", UNDEFINED)
        for item in _list(element):
            if item is not None and not isinstance(item, dict):
                raise Unsayable("bad-item")
            yield _ITEM
            yield from self.elements(item or {}, depth + 1)
            yield _ITEM_END
        yield _SEQUENCE_END

    def _value(self, vr: str, element: Mapping[str, Any]) -> bytes:
        if vr in _BYTES:
            return _inline(element)
        values = _list(element)
        if vr in _NUMBERS:
            return b"".join(_number(vr, one) for one in values)
        if vr == "AT":
            return b"".join(_attribute_tag(one) for one in values)
        if vr not in _TEXT:
            raise Unsayable("unknown-vr")
        if vr in _ONE and len(values) > 1:
            raise Unsayable("bad-value")
        text = "\\".join("" if one is None else _text(vr, one) for one in values)
        try:
            raw = self._text.encode(text, vr) if vr in CODED else text.encode()
        except UnicodeEncodeError as error:
            raise Unsayable("bad-value") from error
        return raw + (b"\x00" if vr == "UI" else b" ") * (len(raw) % 2)


def head_of(tag: int, vr: str, length: int) -> bytes:
    """Return the head of an element; a value that is too long for its VR makes it UN (PS3.5 6.2.2).

    Args:
        tag: of it.
        vr: two capitals.
        length: of its value in bytes, or undefined.
    """
    code = vr.encode("ascii")
    if code not in LONG_VRS and length <= _SHORT:
        return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, code, length)
    if code not in LONG_VRS:
        code = b"UN"
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, code, 0, length)


def _list(element: Mapping[str, Any]) -> list[Any]:
    values = element.get("Value", [])
    if not isinstance(values, list):
        raise Unsayable("bad-value")
    return values


def _inline(element: Mapping[str, Any]) -> bytes:
    said = element.get("InlineBinary", "")
    if isinstance(said, list) and len(said) == 1:  # as some write it
        said = said[0]
    if not isinstance(said, str) or _list(element):
        raise Unsayable("bad-value")
    try:
        return base64.b64decode(said, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unsayable("bad-inline-binary") from error


def _number(vr: str, value: Any) -> bytes:
    """Return a binary number; JSON may write one as a string (PS3.18 F.2.3)."""
    convert: Callable[[Any], Any] = float if vr in ("FD", "FL") else int
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Unsayable("bad-value")
    try:
        number = convert(value)
        if not isinstance(value, str) and number != value:
            raise Unsayable("bad-value")
        return struct.pack(_NUMBERS[vr], number)
    except (ValueError, OverflowError, struct.error) as error:
        raise Unsayable("bad-value") from error


def _attribute_tag(value: Any) -> bytes:
    if not isinstance(value, str) or _TAG.fullmatch(value) is None:
        raise Unsayable("bad-value")
    return struct.pack("<HH", int(value[:4], 16), int(value[4:], 16))


def _text(vr: str, value: Any) -> str:
    if vr == "PN" and isinstance(value, dict):
        groups = [value.get(group) or "" for group in _GROUPS]
        if not all(isinstance(group, str) for group in groups):
            raise Unsayable("bad-value")
        value = "=".join(groups).rstrip("=")
    elif vr in ("DS", "IS") and isinstance(value, int | float) and not isinstance(value, bool):
        value = _digits(vr, value)
    if not isinstance(value, str) or _CONTROLS.search(value) or not _is_sayable(value):
        raise Unsayable("bad-value")
    if vr not in _ONE and "\\" in value:
        raise Unsayable("bad-value")
    return value


def _digits(vr: str, value: float) -> str:
    if vr == "IS":
        if int(value) != value:
            raise Unsayable("bad-value")
        return str(int(value))
    if not math.isfinite(value):
        raise Unsayable("bad-value")
    text = repr(value)
    for digits in range(_DECIMAL, 0, -1):
        if len(text) <= _DECIMAL:
            break
        text = f"{value:.{digits}g}"
    return text


def _is_sayable(text: str) -> bool:
    """Tell whether text can be UTF-8: half of a surrogate pair cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_ascii(value: Any) -> bool:
    """Tell whether all text in a JSON value is ASCII, without recursion."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if not one.isascii():
                return False
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return True
