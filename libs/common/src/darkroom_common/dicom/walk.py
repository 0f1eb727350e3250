"""Walks the elements of a data set without decoding values (PS3.5 chapter 7).

Receiving needs to know that a data set is whole, and a few identifiers in it. The walk is fed the
bytes as they arrive, in pieces of any size. It skips every value by its length and follows
sequences and items with a stack of its own, whether their lengths are defined or not. It does no
I/O and holds nothing but the start of the values it was asked for. Who reads stored objects
watches the same walk: what was received is read as it was judged.

It stops at the first thing that cannot be true: a delimiter that is missing, an item where none
belongs, an end within a value. Within something whose length is defined that is only noted, and
the rest of it passed over: what follows can be read.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from darkroom_common.dicom.heads import (
    AHEAD,
    BIG,
    ITEM_END,
    ITEM_GROUP,
    LITTLE,
    LONG_HEAD,
    LONG_VRS,
    SEQUENCES,
    SHORT_HEAD,
    SHORT_VRS,
    UNDEFINED,
    VRS,
    Ahead,
    Bytes,
    Encoding,
    NeedsMore,
    Plain,
    judge,
)
from darkroom_common.dicom.limits import DEFAULT_LIMITS, ReadLimits
from darkroom_common.dicom.watching import FRAGMENTS, ITEMS, SEQUENCE, Open, Watcher
from darkroom_common.errors import PermanentError

ITEM: Final = 0xFFFEE000
SEQUENCE_END: Final = 0xFFFEE0DD
PIXEL_DATA: Final = 0x7FE00010

VALUE_LIMIT: Final = 1024
"""Bytes that are kept of a wanted value; identifiers have at most 64 characters."""
NONSTANDARD_VR: Final = "nonstandard-vr"
DAMAGED_SEQUENCE: Final = "damaged-sequence"
FILE_META_ELEMENT: Final = "file-meta-element"
TRAILING_PADDING: Final = "trailing-padding"

_FILE_META: Final = 2
_META_TAGS: Final = frozenset(range(0x00020000, 0x00020020)) | {0x00020100, 0x00020102}
_PRIVATE: Final = 0x10000
"""The bit of the group of a tag that is private."""
_NO_END: Final = sys.maxsize
_FRAGMENTED: Final = frozenset({b"OB", b"OW"})
_HIDES_VRS: Final = frozenset({b"UN", b""})
"""PS3.5 6.2.2 note 2: UN of undefined length is a sequence in implicit little endian."""


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


@lru_cache(maxsize=32)
def _plain(encoding: Encoding, wanted: frozenset[int]) -> tuple[Plain, tuple[Plain, Plain]]:
    """Return what passes over elements of a data set, and of items without and with VRs hidden."""
    explicit, implicit = (encoding._replace(implicit=is_so) for is_so in (False, True))
    items = Plain(explicit, SEQUENCES), Plain(implicit, SEQUENCES)
    return Plain(encoding, wanted | SEQUENCES | _META_TAGS | {0}), items


class Walker:
    """Walks one data set: `feed` its bytes in order, then `finish`.

    Args:
        encoding: of its elements.
        wanted: top-level tags whose values are kept in `values`.
        on_element: is told of each top-level element when it has ended.
        watcher: is told of everything.
        limits: bounds on what is read.
    """

    def __init__(
        self,
        encoding: Encoding,
        *,
        wanted: frozenset[int] = frozenset(),
        on_element: Callable[[Element], object] | None = None,
        watcher: Watcher | None = None,
        limits: ReadLimits = DEFAULT_LIMITS,
    ) -> None:
        self._order = BIG if encoding.big else LITTLE
        self._implicit = encoding.implicit
        self._wanted = wanted
        self._plain, self._plain_in_items = _plain(encoding, wanted)
        self._on_element = on_element
        self._watcher = watcher
        self._limits = limits
        self.values: dict[int, tuple[bytes, int]] = {}
        """Wanted tag to (first bytes of its first value, where the value starts)."""
        self.oddities: set[str] = set()
        """What was met that the standard forbids and that can be read all the same."""
        self._base = 0  # where the piece in hand starts in the data set
        self._fed = 0
        self._count = 0
        self._left = 0  # bytes of the open value that are still to come
        self._cut = bytearray()  # a head that the pieces have cut, and what tells what it is
        self._needed = 0  # bytes of that
        self._ended = False
        self._stack: list[Open] = []
        self._open = (0, 0)  # tag and start of the open top-level element
        self._kept: bytearray | None = None

    @property
    def ahead(self) -> int:
        """Bytes that need not be fed, if they are told by `skip`: of a value nobody wants."""
        return self._left if self._kept is None else 0

    def skip(self, count: int) -> None:
        """Pass over bytes of a value that are not fed; `count` is at most `ahead`."""
        self._fed += count
        self._left -= count
        if not self._left:
            self._settle(self._fed)

    def feed(self, data: Bytes) -> None:
        """Take the next bytes.

        Raises:
            Unreadable: as soon as something cannot be true; nothing may be fed after that.
        """
        at, size, origin, cut = 0, len(data), self._fed, self._cut
        if self.ahead > size:  # all of it is of one value
            self.skip(size)
            return
        while cut and at < size:
            taken = min(self._needed - len(cut), size - at)
            cut += data[at : at + taken]
            at += taken
            if len(cut) >= self._needed:
                self._base = origin + at - len(cut)
                del cut[: self._walk(bytes(cut), 0)]
        if at < size:
            self._base = origin
            used = self._walk(data, at)
            if used < size:
                cut += data[used:]
        self._fed = origin + size

    def finish(self) -> int:
        """Say that there is no more; return how many bytes at the end are padding.

        Raises:
            Unreadable: the data set ends within an element.
        """
        self._ended = True
        if self._cut and not self._left:
            self._base = self._fed - len(self._cut)
            del self._cut[: self._walk(bytes(self._cut), 0)]
        if self._left or self._stack or any(self._cut) or len(self._cut) >= SHORT_HEAD:
            raise Unreadable("truncated", self._fed)
        if self._cut:
            self.oddities.add(TRAILING_PADDING)
        return len(self._cut)

    def _walk(self, data: Bytes, at: int) -> int:
        """Walk over a piece from `at` on; return where the first head begins that is cut."""
        size, stack = len(data), self._stack
        quick = self._on_element is None and self._watcher is None
        while at < size:
            if self._left:
                at = self._pass(data, at)
                continue
            if quick:
                begin, at = at, self._pass_plain(data, at, size)
                if stack and at != begin:
                    self._settle(self._base + at)
                    continue
            if stack and stack[-1].end - self._base - at < SHORT_HEAD:
                self._damaged("bad-item", self._base + at, self._base + at)
                continue
            if size - at < SHORT_HEAD:
                self._needed = SHORT_HEAD
                break
            try:
                tag, vr, used, length = self._parse(data, at)
            except NeedsMore as more:
                far = more.needed > 2 * LONG_HEAD  # then some more, so that many are judged at once
                self._needed = more.needed + AHEAD if far else more.needed
                break
            begin = self._base + at
            if stack and begin + used > stack[-1].end:
                self._damaged("truncated", begin, begin)
                continue
            at += used
            self._enter(tag, vr, length, begin, begin + used)
        return at

    def _pass_plain(self, data: Bytes, at: int, size: int) -> int:
        """Pass over whole elements that nobody wants, where elements stand."""
        plain = self._plain
        if self._stack:
            top = self._stack[-1]
            if top.kind != ITEMS or top.implicit is None:
                return at
            plain = self._plain_in_items[top.implicit]
            size = min(size, top.end - self._base)
        at, passed = plain.pass_over(data, at, size, self._limits.elements - self._count)
        self._count += passed
        return at

    def _pass(self, data: Bytes, at: int) -> int:
        taken = min(self._left, len(data) - at)
        if self._kept is not None:
            room = VALUE_LIMIT - len(self._kept)
            self._kept += data[at : at + min(taken, room)]
        self._left -= taken
        at += taken
        if not self._left:
            self._settle(self._base + at)
        return at

    def _settle(self, position: int) -> None:
        """Close what ends with the value, item or sequence that has ended here."""
        while self._stack and self._stack[-1].defined and self._stack[-1].end == position:
            self._pop(position)
        if not self._stack:
            self._element_ended(position)

    def _parse(self, data: Bytes, at: int) -> tuple[int, bytes, int, int]:
        """Return tag, VR or b"", bytes of the head, and length of the element or item at `at`.

        Raises:
            NeedsMore: it is cut, or what it is cannot be said yet.
        """
        group, number, length = self._order.head.unpack_from(data, at)
        tag = (group << 16) | number
        if not (tag or length or self._stack):
            self.oddities.add(TRAILING_PADDING)
            return 0, b"", SHORT_HEAD, 0
        top = self._stack[-1] if self._stack else None
        if group == ITEM_GROUP or (top and top.kind != ITEMS):  # items have no VR, PS3.5 7.5
            return tag, b"", SHORT_HEAD, length
        vr = bytes(data[at + 4 : at + 6])
        if self._is_implicit(vr) if top else self._implicit:
            return tag, b"", SHORT_HEAD, length
        if vr in SHORT_VRS:
            return tag, vr, SHORT_HEAD, self._order.short.unpack_from(data, at + 6)[0]
        if vr in LONG_VRS:
            if len(data) - at < LONG_HEAD:
                raise NeedsMore(LONG_HEAD)
            return tag, vr, LONG_HEAD, self._order.long.unpack_from(data, at + 8)[0]
        room = top.end - self._base - at if top else _NO_END
        in_item = top is not None and not top.defined
        head = judge(Ahead(data, at, room, self._ended, in_item), self._order)
        self.oddities.add(NONSTANDARD_VR)
        return tag, b"", head.size, head.length

    def _is_implicit(self, vr: bytes) -> bool:
        top = self._stack[-1]
        if top.implicit is None:
            top.implicit = vr not in VRS
        return top.implicit

    def _enter(self, tag: int, vr: bytes, length: int, position: int, start: int) -> None:
        """Decide what an element or item, whose head was just read, does to the state."""
        self._count += 1
        if self._count > self._limits.elements:
            raise Unreadable("too-many-elements", position)
        top = self._stack[-1] if self._stack else None
        if top is not None and top.kind != ITEMS:
            self._enter_item(tag, length, position, start)
        elif tag >> 16 != ITEM_GROUP:
            self._enter_element(tag, vr, length, position, start)
        elif tag == ITEM_END and top is not None and not top.defined:
            self._close(position, start)
        else:
            self._damaged("bad-item" if top else "item-outside-sequence", position, start)

    def _enter_element(self, tag: int, vr: bytes, length: int, position: int, start: int) -> None:
        end = self._stack[-1].end if self._stack else _NO_END
        if not self._stack:
            self._open = (tag, start)
            if tag >> 16 == _FILE_META:
                self.oddities.add(FILE_META_ELEMENT)
        if length == UNDEFINED:
            self._push(tag, vr, start, end, defined=False)
        elif start + length > end:
            self._damaged("truncated", position, start)
        elif length and self._is_sequence(tag, vr, length):
            self._push(tag, vr, start, start + length, defined=True)
        else:
            self._enter_value(tag, vr, start, length)

    def _is_sequence(self, tag: int, vr: bytes, length: int) -> bool:
        if vr not in _HIDES_VRS:
            return vr == b"SQ"
        if tag & _PRIVATE and self._watcher is not None:
            return self._watcher.is_sequence(tag, length)
        return tag in SEQUENCES

    def _enter_value(self, tag: int, vr: bytes, start: int, length: int) -> None:
        if self._watcher is not None:
            self._watcher.value(tag, vr, start, length)
        if not self._stack and tag in self._wanted and tag not in self.values:
            self._kept = bytearray()
        self._left = length
        if not length:
            self._settle(start)

    def _enter_item(self, tag: int, length: int, position: int, start: int) -> None:
        """Decide what stands in a sequence or among fragments."""
        top = self._stack[-1]
        if tag == SEQUENCE_END and not top.defined:
            self._close(position, start)
        elif tag != ITEM or (top.kind == FRAGMENTS and length == UNDEFINED):
            code = "bad-item" if top.kind == SEQUENCE else "bad-fragment"
            self._damaged(code, position, start)
        elif length == UNDEFINED:
            self._open_item(top.implicit, top.end, defined=False)
        elif start + length > top.end:
            self._damaged("truncated", position, start)
        elif top.kind == FRAGMENTS:
            self._left = length
        else:
            self._open_item(top.implicit, start + length, defined=True)
            self._settle(start)

    def _push(self, tag: int, vr: bytes, start: int, end: int, *, defined: bool) -> None:
        implicit: bool | None = self._stack[-1].implicit if self._stack else self._implicit
        if not defined and (tag == PIXEL_DATA or vr in _FRAGMENTED):
            self._stack.append(Open(FRAGMENTS, implicit, end, defined=False))
            if self._watcher is not None:
                self._watcher.fragments(tag, vr, start)
            return
        if not implicit and vr in _HIDES_VRS:
            implicit = None
        if len(self._stack) >= self._limits.depth * 2:
            if self._watcher is None:
                raise Unreadable("nested-too-deep", start)
            self._damaged("nested-too-deep", start, start)  # what is around it can be read
            return
        self._stack.append(Open(SEQUENCE, implicit, end, defined=defined))
        if self._watcher is not None:
            self._watcher.sequence(tag, vr, start)

    def _open_item(self, implicit: bool | None, end: int, *, defined: bool) -> None:
        self._stack.append(Open(ITEMS, implicit, end, defined=defined))
        if self._watcher is not None:
            self._watcher.item()

    def _damaged(self, code: str, position: int, here: int) -> None:
        """Pass over the rest of the innermost whose length is defined, `here` is what was read."""
        while self._stack and not self._stack[-1].defined:
            self._stack.pop()
        if not self._stack:
            raise Unreadable(code, position)
        self.oddities.add(DAMAGED_SEQUENCE)
        if self._watcher is not None:
            self._watcher.damaged(len(self._stack))
        self._left = self._stack[-1].end - here
        if not self._left:
            self._settle(here)

    def _close(self, end: int, position: int) -> None:
        """Close the innermost, whose delimiter was read: `position` is behind it."""
        self._pop(end)
        self._settle(position)

    def _pop(self, end: int) -> None:
        self._stack.pop()
        if self._watcher is not None:
            self._watcher.closed(end)

    def _element_ended(self, position: int) -> None:
        tag, start = self._open
        if self._kept is not None:
            self.values[tag] = (bytes(self._kept), start)
            self._kept = None
        if self._on_element is not None:
            self._on_element(Element(tag, start, position))
