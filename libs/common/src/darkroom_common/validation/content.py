"""The content of an object as validation sees it: raw values, decoded without pydicom."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from darkroom_common.dicom.charset import CharacterSet, character_set
from darkroom_common.dicom.code_extensions import BACKSLASH

TEXTS: Final = frozenset({"LT", "ST", "UT", "UR"})
"""VRs of one value, in which a backslash separates nothing (PS3.5 table 6.2-1)."""
CODED: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
STRINGS: Final = CODED | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
BINARY: Final = {
    "US": "H",
    "SS": "h",
    "UL": "L",
    "SL": "l",
    "FL": "f",
    "FD": "d",
    "UV": "Q",
    "SV": "q",
}
CHARACTER_SET: Final = 0x00080005
PIXEL_REPRESENTATION: Final = 0x00280103
PRIVATE: Final = 0x10000
_CREATORS: Final = range(0x10, 0x100)
_MOST_NUMBERS: Final = 4096
"""Values of an element that are decoded; the rest of a table is not looked at."""


@lru_cache(maxsize=4096)
def dictionary(tag: int) -> tuple[str, str] | None:
    """Return VR and VM of a public attribute (PS3.6); None for one that is not known."""
    try:
        return dictionary_VR(tag), dictionary_VM(tag)
    except KeyError:
        return None


@dataclass(slots=True)
class Element:
    """A data element.

    Attributes:
        tag: it.
        vr: as written, else of the dictionary; UN when neither is known.
        written: the VR that was written; empty in implicit VR.
        length: of the value; 0xFFFFFFFF when it was not defined.
        raw: the value's bytes; None when it was too long to be read, or is a sequence.
        items: of a sequence.
    """

    tag: int
    vr: str
    written: str
    length: int
    raw: bytes | None
    items: "list[Item] | None"
    big: bool

    @property
    def is_empty(self) -> bool:
        """Whether it has no value: of padding only, or a sequence without items."""
        if self.items is not None:
            return not self.items
        if self.raw is None:
            return False
        return not (self.raw.strip(b" \0") if self.vr in STRINGS else self.raw)


@dataclass(slots=True)
class Item:
    """A data set, or an item of a sequence.

    Attributes:
        elements: by tag.
        around: the item or data set that it stands in.
        text: its character set.
    """

    elements: dict[int, Element] = field(default_factory=dict)
    around: "Item | None" = None
    text: CharacterSet = field(default_factory=lambda: character_set(""))

    def has(self, tag: int) -> bool:
        """Tell whether an element is there, with a value or without."""
        return tag in self.elements

    def has_value(self, tag: int) -> bool:
        """Tell whether an element is there with a value."""
        element = self.elements.get(tag)
        return element is not None and not element.is_empty

    def items(self, tag: int) -> "list[Item]":
        """Return the items of a sequence; none without."""
        element = self.elements.get(tag)
        return [] if element is None else element.items or []

    def values(self, tag: int) -> list[Any]:
        """Return the values of an element: text without padding, or numbers; none without."""
        element = self.elements.get(tag)
        return [] if element is None else decoded(element, self.text)

    def text_of(self, tag: int, place: int = 0) -> str:
        """Return a value as text; empty without."""
        values = self.values(tag)
        return str(values[place]) if len(values) > place else ""

    def numbers(self, tag: int) -> list[float]:
        """Return the values that are numbers, in text or binary; none when one is not."""
        try:
            return [float(value) for value in self.values(tag)]
        except (ValueError, TypeError):
            return []

    def number(self, tag: int) -> int | None:
        """Return the first value as a whole number; None when it is none."""
        numbers = self.numbers(tag)
        return int(numbers[0]) if numbers and abs(numbers[0]) < 1 << 53 else None

    def root(self) -> "Item":
        """Return the data set."""
        item = self
        while item.around is not None:
            item = item.around
        return item


def decoded(element: Element, text: CharacterSet) -> list[Any]:
    """Return the values of an element: text without padding, or numbers."""
    raw, vr = element.raw, element.vr
    if not raw:
        return []
    if vr in BINARY:
        form = BINARY[vr]
        size = struct.calcsize("<" + form)
        count = min(len(raw) // size, _MOST_NUMBERS)
        return list(struct.unpack_from(f"{'>' if element.big else '<'}{count}{form}", raw))
    if vr == "AT":
        count = min(len(raw) // 4, _MOST_NUMBERS)
        halves = struct.unpack_from(f"{'>' if element.big else '<'}{2 * count}H", raw)
        return [halves[n] << 16 | halves[n + 1] for n in range(0, len(halves), 2)]
    if vr not in STRINGS:
        return []
    said = readable(raw, vr, text)
    parts = [said] if vr in TEXTS else said.split("\\")
    return [part.strip(" \0") for part in parts]


def readable(raw: bytes, vr: str, text: CharacterSet) -> str:
    """Return the text of a value; a backslash in it separates values."""
    if vr not in CODED or (raw.isascii() and b"\x1b" not in raw):
        return raw.decode("latin-1")
    return text.decode(raw, vr)[0].replace(BACKSLASH, "/")


def content(data_set: Dataset, *, big: bool) -> Item:
    """Return the content of a data set that `dicom.stored` has read."""
    return _item(data_set, None, character_set(""), big=big)


def _item(data_set: Dataset, around: Item | None, text: CharacterSet, *, big: bool) -> Item:
    found = Item(around=around, text=text)
    raws = list(_elements(data_set))
    signed = False
    for tag, stands in raws:
        if tag == CHARACTER_SET and isinstance(stands.value, bytes):
            found.text = character_set(stands.value.decode("latin-1"))
        elif tag == PIXEL_REPRESENTATION and isinstance(stands.value, bytes):
            signed = any(stands.value[:2])
    for tag, stands in raws:
        written = stands.VR if isinstance(stands, RawDataElement) else ""
        items = None
        raw = _raw(stands, big=big)
        vr = _vr(tag, stands.VR, signed=signed)
        if vr == "SQ" and isinstance(stands.value, Sequence):
            items = [_item(one, found, found.text, big=big) for one in stands.value]
        length = stands.length if isinstance(stands, RawDataElement) else len(raw or b"")
        if vr == "SQ" and items is None and raw == b"":
            items = []
        found.elements[tag] = Element(tag, vr, written or "", length, raw, items, big)
    return found


def _raw(stands: Any, *, big: bool) -> bytes | None:
    """Return the bytes of an element; None of one that was too long, or is a sequence."""
    value = stands.value
    if isinstance(value, bytes):
        return value
    if isinstance(stands, RawDataElement):
        return b"" if not stands.length else None
    if isinstance(value, int):  # Pixel Representation, that pydicom has read for its own purposes
        return struct.pack(">H" if big else "<H", value & 0xFFFF)
    return b"" if value is None or value == "" else None


def _elements(data_set: Dataset) -> Iterator[tuple[int, Any]]:
    for tag in list(data_set.keys()):
        yield int(tag), data_set.get_item(tag, keep_deferred=True)


def _vr(tag: int, written: str | None, *, signed: bool) -> str:
    known = dictionary(tag)
    if written and written != "UN":
        return str(written)
    if known is None:
        return "UL" if not tag & 0xFFFF else "LO" if _is_creator(tag) else "UN"
    first, *others = known[0].split(" or ")
    if others:
        return "SS" if signed and "SS" in others else others[-1] if first == "OB" else first
    return first


def _is_creator(tag: int) -> bool:
    return bool(tag & PRIVATE) and (tag & 0xFFFF) in _CREATORS
