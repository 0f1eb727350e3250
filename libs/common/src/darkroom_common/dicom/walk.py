"""Walks the elements of a data set without decoding values (PS3.5 chapter 7).

Receiving needs to know that a data set is whole, and a few identifiers in it. The walk skips every
value by its length, follows undefined lengths with a stack of its own, and stops at the first
thing that cannot be true: a value that runs past the end, a delimiter that is missing, an item
where none belongs. It does no I/O and never copies the data set.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from darkroom_common.dicom.limits import DEFAULT_LIMITS, ReadLimits
from darkroom_common.errors import PermanentError

UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
PIXEL_DATA: Final = 0x7FE00010

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = frozenset({"1.2.840.10008.1.2.1.99"})

_LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT_VRS: Final = frozenset(
    {
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT",
        b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
    }
)  # fmt: skip


class Unreadable(PermanentError):
    """The bytes are not a whole data set. `code` is one of a closed list, fit for a metric."""

    def __init__(self, code: str, position: int) -> None:
        super().__init__(f"{code} at byte {position}")
        self.code = code
        self.position = position


@dataclass(frozen=True)
class Element:
    """One top-level element: its tag and where its value lies. `end` is after all of it."""

    tag: int
    start: int
    end: int


class Walker:
    """Walks one data set held in memory."""

    def __init__(
        self,
        data: bytes | memoryview,
        *,
        implicit: bool,
        big: bool,
        limits: ReadLimits = DEFAULT_LIMITS,
    ) -> None:
        self._data = data
        self._size = len(data)
        self._implicit = implicit
        self._order = ">" if big else "<"
        self._tag_long = struct.Struct(f"{self._order}HHL")
        self._tag_vr = struct.Struct(f"{self._order}HH2sH")
        self._long = struct.Struct(f"{self._order}L")
        self._limits = limits
        self._count = 0

    def _spend(self, position: int) -> None:
        self._count += 1
        if self._count > self._limits.elements:
            raise Unreadable("too-many-elements", position)

    def _head(self, position: int, *, implicit: bool) -> tuple[int, int, int, bytes]:
        """Return (tag, length, start of the value, VR or b'')."""
        if position + 8 > self._size:
            raise Unreadable("truncated", position)
        group, number, length = self._tag_long.unpack_from(self._data, position)
        tag = (group << 16) | number
        if implicit or group == 0xFFFE:  # noqa: PLR2004 - items have no VR, PS3.5 7.5
            return tag, length, position + 8, b""
        _, _, vr, short = self._tag_vr.unpack_from(self._data, position)
        if vr in _SHORT_VRS:
            return tag, short, position + 8, vr
        if vr in _LONG_VRS or (vr.isalpha() and vr.isupper()):  # PS3.5 6.2: new VRs are long
            if position + 12 > self._size:
                raise Unreadable("truncated", position)
            return tag, self._long.unpack_from(self._data, position + 8)[0], position + 12, vr
        return tag, length, position + 8, b""  # an implicit element among explicit ones

    def elements(self) -> Iterator[Element]:
        """Yield the top-level elements in order.

        Raises:
            Unreadable: as soon as something cannot be true.
        """
        position = 0
        while position < self._size:
            self._spend(position)
            tag, length, start, vr = self._head(position, implicit=self._implicit)
            if tag >> 16 == 0xFFFE:  # noqa: PLR2004 - an item needs a sequence
                raise Unreadable("item-outside-sequence", position)
            if length == UNDEFINED:
                end = self._undefined(tag, vr, start)
            else:
                end = start + length
                if end > self._size:
                    raise Unreadable("truncated", position)
            yield Element(tag, start, end)
            position = end

    def _undefined(self, tag: int, vr: bytes, start: int) -> int:
        if tag == PIXEL_DATA or vr in (b"OB", b"OW"):
            return self._fragments(start)
        # PS3.5 6.2.2 note 2: UN of undefined length is a sequence in implicit little endian.
        return self._sequence(start, implicit=self._implicit or vr in (b"UN", b""))

    def _fragments(self, position: int) -> int:
        while True:
            self._spend(position)
            tag, length, start, _ = self._head(position, implicit=True)
            if tag == SEQUENCE_END:
                return start
            if tag != ITEM or length == UNDEFINED:
                raise Unreadable("bad-fragment", position)
            position = start + length

    def _sequence(self, position: int, *, implicit: bool) -> int:  # noqa: C901 - one case a line
        """Return the position after the delimiter; a stack stands for the nesting."""
        stack: list[tuple[str, bool]] = [("sequence", implicit)]
        while stack:
            self._spend(position)
            kind, hidden = stack[-1]
            tag, length, start, vr = self._head(position, implicit=hidden)
            if kind == "sequence":
                if tag == SEQUENCE_END:
                    stack.pop()
                    position = start
                elif tag != ITEM:
                    raise Unreadable("bad-item", position)
                elif length == UNDEFINED:
                    stack.append(("item", hidden))
                    position = start
                else:
                    position = start + length
            elif tag == ITEM_END:
                stack.pop()
                position = start
            elif tag >> 16 == 0xFFFE:  # noqa: PLR2004 - group of items
                raise Unreadable("bad-item", position)
            elif length != UNDEFINED:
                position = start + length
            elif tag == PIXEL_DATA or vr in (b"OB", b"OW"):
                position = self._fragments(start)
            else:
                stack.append(("sequence", hidden or vr in (b"UN", b"")))
                position = start
            if len(stack) > self._limits.depth * 2:
                raise Unreadable("nested-too-deep", position)
        return position
