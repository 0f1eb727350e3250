"""A header as DICOM JSON, read straight from the bytes: the way of ordinary objects to the index.

`json_model.to_json` over pydicom is what a header means. This reads the same, many times faster,
as long as everything is as PS3.5 has it: little endian, sorted tags, lengths that are right. At
the first thing that is not, it says `Unusual`, and pydicom finds the elements. Values are made by
`json_values` for both.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from darkroom_common.dicom.charset import TextReader
from darkroom_common.dicom.heads import ITEM_END, LONG_VRS, UNDEFINED
from darkroom_common.dicom.json_model import AS_UTF_8, FILE_META, PIXELS
from darkroom_common.dicom.json_values import (
    BINARY,
    KNOWN_VRS,
    Element,
    JsonDataset,
    binary,
    element,
)
from darkroom_common.dicom.text_elements import CHARACTER_SET
from darkroom_common.dicom.walk import ITEM, SEQUENCE_END

BEGINNING: Final = 1 << 16
"""Bytes of a data set that are read at once; a header that is longer is unusual."""

Read = Callable[[int, int], bytes]
"""Returns bytes of the data set: from an offset, so many, fewer only at the end."""

_PIXEL_DATA: Final = 0x7FE00010
_PIXEL_REPRESENTATION: Final = 0x00280103
_DEPTH: Final = 16
_DELIMITERS: Final = 0xFFFE
"""The group of items and their ends."""
_CREATORS: Final = range(0x10, 0x100)
"""Elements of an odd group that name who has reserved a block of it (PS3.5 7.8.1)."""
_FRAGMENTS: Final = 1 << 16
_EXPLICIT: Final = struct.Struct("<HH2sH")
_IMPLICIT: Final = struct.Struct("<HHL")
_LENGTH: Final = struct.Struct("<L")


class Unusual(Exception):
    """Not for this reader."""


def read_json(
    read: Read,
    size: int,
    *,
    implicit: bool,
    text: TextReader | None = None,
    items: list[tuple[int, int]] | None = None,
) -> JsonDataset:
    """Return the header of a little endian data set.

    Args:
        read: gives its bytes.
        size: bytes of the whole data set.
        implicit: whether its elements have no VR.
        text: reads its text, and knows afterwards what was odd; none: nothing is assumed.
        items: gets those of encapsulated pixel data: where the bytes of each begin, and how many.

    Raises:
        Unusual: pydicom must read it.
        OSError: `read` has failed.
    """
    try:
        reader = _Reader(read, size, text or TextReader(), implicit=implicit)
        found = reader.header()
    except (struct.error, IndexError, ValueError, OverflowError, RecursionError) as error:
        raise Unusual from error
    if items is not None:
        items += reader.items
    return found


class _Reader:
    def __init__(self, read: Read, size: int, text: TextReader, *, implicit: bool) -> None:
        self._read = read
        self._size = size
        self._implicit = implicit
        self._text = text
        self._data = b""
        self.items: list[tuple[int, int]] = []

    def header(self) -> JsonDataset:
        found: JsonDataset = {}
        base, last = 0, -1
        while base < self._size:
            self._data = self._read(base, BEGINNING)
            left = min(len(self._data), self._size - base)
            used, last = self._elements(found, 0, left, last, "bulkdata/", 0, base)
            if not used:
                raise Unusual
            base += used
        return found

    def _elements(  # noqa: C901, PLR0912, PLR0913, PLR0917 - one loop, where the time goes
        self,
        found: JsonDataset,
        at: int,
        end: int,
        last: int,
        prefix: str,
        depth: int,
        base: int = 0,
    ) -> tuple[int, int]:
        """Read elements until `end`, or until the delimiter of an item when `end` is -1.

        Returns:
            Where to go on, and the last tag. At the top that is behind pixel data.
        """
        data, implicit = self._data, self._implicit
        creators: dict[int, str] = {}
        while at < end or end < 0:
            if implicit:
                group, number, length = _IMPLICIT.unpack_from(data, at)
                tag = group << 16 | number
                at += 8
                if tag == ITEM_END and end < 0:
                    return at, last
                vr = self._implicit_vr(tag, creators, found, depth)
            else:
                group, number, raw_vr, length = _EXPLICIT.unpack_from(data, at)
                tag = group << 16 | number
                at += 8
                if tag == ITEM_END and end < 0:
                    return at, last
                vr = _VRS.get(raw_vr, "")
                if not vr:
                    if raw_vr not in LONG_VRS or length:
                        raise Unusual
                    (length,) = _LENGTH.unpack_from(data, at)
                    at += 4
                    vr = raw_vr.decode("ascii")
                    if vr == "UN":
                        self._check_unknown(tag, creators)
            if tag <= last or group <= FILE_META or group == _DELIMITERS:
                raise Unusual
            last = tag
            name = _name(tag)
            if tag in PIXELS and not depth:
                found[name] = {"vr": vr, "BulkDataURI": prefix + name} if length else {"vr": vr}
                return self._behind_pixels(tag, at + base, length) - base, last
            if vr == "SQ":
                found[name], at = self._sequence(at, length, f"{prefix}{name}/", depth)
                continue
            stop = at + length
            if length == UNDEFINED or stop > len(data) or tag in PIXELS:
                raise Unusual
            if tag == CHARACTER_SET:
                self._text.declare(data[at:stop])
                found[name] = AS_UTF_8
            elif vr in BINARY and number:
                found[name] = binary(vr, data[at:stop], prefix + name)
            elif number:  # group lengths are no attributes
                found[name] = element(vr, data[at:stop], self._text)
                if group & 1 and number in _CREATORS:
                    creators[group << 8 | number] = _creator(found[name])
            at = stop
        if at != end:
            raise Unusual
        return at, last

    def _implicit_vr(
        self, tag: int, creators: dict[int, str], found: JsonDataset, depth: int
    ) -> str:
        if tag & 0x10000:
            return _private_vr(tag, creators)
        vr = _public_vr(tag)
        if vr == "US or SS" and not depth:
            representation = found.get(f"{_PIXEL_REPRESENTATION:08X}", {}).get("Value")
            if representation in ([0], [1]):
                return "SS" if representation == [1] else "US"
        if tag in PIXELS:
            return "OW"
        if " or " in vr:
            raise Unusual
        return vr

    @staticmethod
    def _check_unknown(tag: int, creators: dict[int, str]) -> None:
        """Leave UN to pydicom where the dictionary knows better."""
        if (_private_vr(tag, creators) if tag & 0x10000 else _known_vr(tag)) != "UN":
            raise Unusual

    def _behind_pixels(self, tag: int, start: int, length: int) -> int:
        """Return where the element after pixel data would begin."""
        if length != UNDEFINED:
            if start + length > self._size:
                raise Unusual
            return start + length
        if tag != _PIXEL_DATA:
            raise Unusual
        at = start
        for _ in range(_FRAGMENTS):
            group, number, size = _IMPLICIT.unpack(self._read(at, 8))
            at += 8
            if group << 16 | number == SEQUENCE_END:
                return at
            if group << 16 | number != ITEM or size == UNDEFINED:
                raise Unusual
            self.items.append((at, size))
            at += size
        raise Unusual

    def _sequence(self, at: int, length: int, path: str, depth: int) -> tuple[Element, int]:
        if depth == _DEPTH:
            raise Unusual
        items: list[JsonDataset] = []
        end = -1 if length == UNDEFINED else at + length
        if end > len(self._data):
            raise Unusual
        while at < end or end < 0:
            group, number, size = _IMPLICIT.unpack_from(self._data, at)
            at += 8
            tag = group << 16 | number
            if tag == SEQUENCE_END and end < 0:
                break
            if tag != ITEM:
                raise Unusual
            item: JsonDataset = {}
            stop = -1 if size == UNDEFINED else at + size
            if stop > len(self._data):
                raise Unusual
            outer = self._text.current
            at, _ = self._elements(item, at, stop, -1, f"{path}{len(items)}/", depth + 1)
            self._text.back_to(outer)
            items.append(item)
        if end >= 0 and at != end:
            raise Unusual
        return ({"vr": "SQ", "Value": items} if items else {"vr": "SQ"}), at


def _creator(element: Element) -> str:
    values = element.get("Value", [""])
    if element["vr"] != "LO" or len(values) > 1:
        raise Unusual
    return str(values[0])


_VRS: Final = {vr.encode(): vr for vr in KNOWN_VRS if vr.encode() not in LONG_VRS}


@lru_cache(maxsize=8192)
def _name(tag: int) -> str:
    return f"{tag:08X}"


@lru_cache(maxsize=8192)
def _known_vr(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def _public_vr(tag: int) -> str:
    if not tag & 0xFFFF:
        return "UL"
    vr = _known_vr(tag)
    if vr == "UN" or not (vr in KNOWN_VRS or vr == "SQ" or " or " in vr):
        raise Unusual
    return vr


def _private_vr(tag: int, creators: dict[int, str]) -> str:
    number = tag & 0xFFFF
    if number in _CREATORS:
        return "LO"
    if number < _CREATORS.stop:
        raise Unusual
    creator = creators.get((tag >> 16) << 8 | number >> 8)
    return "UN" if creator is None else _vr_of_creator(tag, creator)


@lru_cache(maxsize=8192)
def _vr_of_creator(tag: int, creator: str) -> str:
    try:
        vr = private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"
    if vr not in KNOWN_VRS and vr != "SQ":
        raise Unusual
    return vr
