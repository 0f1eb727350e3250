"""Walks the elements of a data set without decoding values (PS3.5 chapter 7).

Receiving needs to know that a data set is whole, and a few identifiers in it. The walk is fed the
bytes as they arrive, in pieces of any size. It skips every value by its length, follows undefined
lengths with a stack of its own, and stops at the first thing that cannot be true: a delimiter that
is missing, an item where none belongs, an end within a value. It does no I/O and holds nothing but
the start of the values it was asked for.
"""

import struct
from collections.abc import Callable
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

VALUE_LIMIT: Final = 1024
"""Bytes that are kept of a wanted value; identifiers have at most 64 characters."""

_ITEM_GROUP: Final = 0xFFFE
_SHORT_HEAD: Final = 8
_LONG_HEAD: Final = 12
_FRAGMENTED: Final = frozenset({b"OB", b"OW"})
_HIDES_VRS: Final = frozenset({b"UN", b""})
"""PS3.5 6.2.2 note 2: UN of undefined length is a sequence in implicit little endian."""
_LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT_VRS: Final = frozenset(
    {
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT",
        b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
    }
)  # fmt: skip

# What is open, innermost last: a sequence, an item of undefined length, encapsulated fragments.
_SEQUENCE: Final = 0
_ITEM: Final = 1
_FRAGMENTS: Final = 2


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
    """Walks one data set: `feed` its bytes in order, then `finish`.

    Args:
        implicit: whether elements have no VR.
        big: whether the byte order is big endian.
        wanted: top-level tags whose values are kept in `values`.
        on_element: is told of each top-level element when it has ended.
        limits: bounds on what is read.
    """

    def __init__(
        self,
        *,
        implicit: bool,
        big: bool = False,
        wanted: frozenset[int] = frozenset(),
        on_element: Callable[[Element], object] | None = None,
        limits: ReadLimits = DEFAULT_LIMITS,
    ) -> None:
        order = ">" if big else "<"
        self._tag_long = struct.Struct(f"{order}HHL")
        self._short = struct.Struct(f"{order}H")
        self._long = struct.Struct(f"{order}L")
        self._plain = struct.Struct(f"{order}HHL" if implicit else f"{order}HH2sH")
        self._implicit = implicit
        self._wanted = wanted
        self._on_element = on_element
        self._limits = limits
        self.values: dict[int, tuple[bytes, int]] = {}
        """Wanted tag to (first bytes of its first value, where the value starts)."""
        self._base = 0  # where the piece in hand starts in the data set
        self._count = 0
        self._left = 0  # bytes of the open value that are still to come
        self._head = bytearray()  # a head that the pieces have cut
        self._stack: list[tuple[int, bool]] = []
        self._open = (0, 0)  # tag and start of the open top-level element
        self._kept: bytearray | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes.

        Raises:
            Unreadable: as soon as something cannot be true; nothing may be fed after that.
        """
        at, size = 0, len(data)
        while at < size:
            if self._left:
                at = self._pass(data, at)
                continue
            if self._head or size - at < _LONG_HEAD:
                at = self._gather(data, at)
                continue
            if not self._stack and self._on_element is None:
                passed = self._pass_plain(data, at, size)
                if passed != at:
                    at = passed
                    continue
            begin = self._base + at
            tag, length, vr, used = self._parse(data, at)
            at += used
            self._enter(tag, length, vr, begin, self._base + at)
        self._base += size

    def finish(self) -> None:
        """Say that there is no more.

        Raises:
            Unreadable: the data set ends within an element.
        """
        if self._left or self._head or self._stack:
            raise Unreadable("truncated", self._base)

    def _pass_plain(self, data: bytes | bytearray | memoryview, at: int, size: int) -> int:
        """Pass over whole top-level elements that nobody wants: most of a header.

        It stops before the first element that is anything else, or not all there.
        """
        wanted, unpack = self._wanted, self._plain.unpack_from
        room = self._limits.elements - self._count
        begin_room = room
        if self._implicit:
            while room and size - at >= _SHORT_HEAD:
                group, number, length = unpack(data, at)
                end = at + _SHORT_HEAD + length
                if end > size or group == _ITEM_GROUP or (group << 16) | number in wanted:
                    break
                at = end
                room -= 1
        else:
            while room and size - at >= _SHORT_HEAD:
                group, number, vr, length = unpack(data, at)
                end = at + _SHORT_HEAD + length
                if (
                    end > size
                    or vr not in _SHORT_VRS
                    or group == _ITEM_GROUP
                    or (group << 16) | number in wanted
                ):
                    break
                at = end
                room -= 1
        self._count += begin_room - room
        return at

    def _pass(self, data: bytes | bytearray | memoryview, at: int) -> int:
        taken = min(self._left, len(data) - at)
        if self._kept is not None:
            room = VALUE_LIMIT - len(self._kept)
            self._kept += data[at : at + min(taken, room)]
        self._left -= taken
        if not self._left and not self._stack:
            self._ended(self._base + at + taken)
        return at + taken

    def _gather(self, data: bytes | bytearray | memoryview, at: int) -> int:
        """Fill the cut head, byte by byte of what it needs, and enter when it is whole."""
        head = self._head
        begin = self._base + at - len(head)
        for needed in (_SHORT_HEAD, _LONG_HEAD):
            taken = max(0, min(needed - len(head), len(data) - at))
            head += data[at : at + taken]
            at += taken
            if len(head) < needed:
                return at
            tag, length, vr, used = self._parse(head, 0)
            if used <= needed:
                break
        head.clear()
        self._enter(tag, length, vr, begin, self._base + at)
        return at

    def _parse(self, data: bytes | bytearray | memoryview, at: int) -> tuple[int, int, bytes, int]:
        """Return (tag, length, VR or b'', bytes of the head); the length only if all are there."""
        group, number, length = self._tag_long.unpack_from(data, at)
        tag = (group << 16) | number
        if group == _ITEM_GROUP:  # items have no VR, PS3.5 7.5
            return tag, length, b"", _SHORT_HEAD
        if self._stack[-1][1] if self._stack else self._implicit:
            return tag, length, b"", _SHORT_HEAD
        vr = bytes(data[at + 4 : at + 6])
        if vr in _SHORT_VRS:
            return tag, self._short.unpack_from(data, at + 6)[0], vr, _SHORT_HEAD
        if vr in _LONG_VRS or (vr.isalpha() and vr.isupper()):  # PS3.5 6.2: new VRs are long
            if len(data) - at < _LONG_HEAD:
                return tag, 0, vr, _LONG_HEAD
            return tag, self._long.unpack_from(data, at + 8)[0], vr, _LONG_HEAD
        return tag, length, b"", _SHORT_HEAD  # an implicit element among explicit ones

    def _enter(self, tag: int, length: int, vr: bytes, position: int, start: int) -> None:
        """Decide what an element or item, whose head was just read, does to the state."""
        self._count += 1
        if self._count > self._limits.elements:
            raise Unreadable("too-many-elements", position)
        if not self._stack:
            self._enter_top(tag, length, vr, position, start)
            return
        kind, hidden = self._stack[-1]
        if kind == _ITEM:
            self._enter_nested(tag, length, vr, position, start)
        elif tag == SEQUENCE_END:
            self._close(start)
        elif tag != ITEM:
            raise Unreadable("bad-item" if kind == _SEQUENCE else "bad-fragment", position)
        elif length != UNDEFINED:
            self._left = length
        elif kind == _FRAGMENTS:
            raise Unreadable("bad-fragment", position)
        else:
            self._stack.append((_ITEM, hidden))

    def _enter_nested(self, tag: int, length: int, vr: bytes, position: int, start: int) -> None:
        if tag == ITEM_END:
            self._close(start)
        elif tag >> 16 == _ITEM_GROUP:
            raise Unreadable("bad-item", position)
        elif length == UNDEFINED:
            self._push(tag, vr, position, hidden=self._stack[-1][1])
        else:
            self._left = length

    def _enter_top(self, tag: int, length: int, vr: bytes, position: int, start: int) -> None:
        if tag >> 16 == _ITEM_GROUP:
            raise Unreadable("item-outside-sequence", position)
        self._open = (tag, start)
        if length == UNDEFINED:
            self._push(tag, vr, position, hidden=self._implicit)
            return
        if tag in self._wanted and tag not in self.values:
            self._kept = bytearray()
        self._left = length
        if not length:
            self._ended(start)

    def _push(self, tag: int, vr: bytes, position: int, *, hidden: bool) -> None:
        if tag == PIXEL_DATA or vr in _FRAGMENTED:
            self._stack.append((_FRAGMENTS, True))
            return
        self._stack.append((_SEQUENCE, hidden or vr in _HIDES_VRS))
        if len(self._stack) > self._limits.depth * 2:
            raise Unreadable("nested-too-deep", position)

    def _close(self, position: int) -> None:
        self._stack.pop()
        if not self._stack:
            self._ended(position)

    def _ended(self, position: int) -> None:
        tag, start = self._open
        if self._kept is not None:
            self.values[tag] = (bytes(self._kept), start)
            self._kept = None
        if self._on_element is not None:
            self._on_element(Element(tag, start, position))
