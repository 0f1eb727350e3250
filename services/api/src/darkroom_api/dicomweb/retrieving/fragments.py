"""Which fragments of encapsulated pixel data make which frame (PS3.5 A.4, PS3.3 C.7.6.3.1.8).

Offset tables are believed when they agree with the fragments. Otherwise the fragments themselves
tell, where they can: by their number, or by the marks that code streams begin and end with. A
frame that is not sure to be right is none.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from darkroom_common.dicom.limits import DEFAULT_LIMITS
from darkroom_common.dicom.syntaxes import RLE, UNMARKED
from darkroom_common.dicom.walk import ITEM
from darkroom_common.errors import PermanentError

Read = Callable[[int, int], bytes]
"""Returns bytes: from an offset, so many, fewer only at the end."""
Stretch = tuple[int, int]
"""Start and length of bytes."""

_HEAD: Final = struct.Struct("<HHL")
_MARK: Final = 12
_LAST: Final = 3
_STARTS: Final = (
    b"\xff\xd8",  # JPEG and JPEG-LS
    b"\xff\x4f\xff\x51",  # JPEG 2000 and High-Throughput JPEG 2000
    b"\x00\x00\x00\x0cjP  ",  # the file of JPEG 2000
    b"\xff\x0a",  # JPEG XL
    b"\x00\x00\x00\x0cJXL ",
)
_END: Final = b"\xff\xd9"
_SEGMENTS: Final = 15
_RLE_HEADER: Final = 64


class NoPixels(PermanentError):
    """The object has no frames, or none that can be told apart."""


@dataclass(frozen=True)
class Fragment:
    """One fragment: where its item begins behind the basic offset table, and its bytes."""

    offset: int
    start: int
    length: int
    begins: bool
    """Whether a code stream begins with it, by its mark."""
    ends: bool
    """Whether one ends with it."""


@dataclass(frozen=True)
class Tables:
    """Basic and extended offset table of an object, and the lengths of the latter; or nothing."""

    basic: tuple[int, ...] = ()
    extended: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()


def frames_of(
    read: Read, start: int, frames: int | None, syntax: str, extended: tuple[bytes, bytes]
) -> list[list[Stretch]]:
    """Return where the bytes of each frame are.

    Args:
        read: gives bytes of the object.
        start: where the value of the pixel data begins, with the item of the basic offset table.
        frames: Number of Frames; None when the object does not say.
        syntax: the transfer syntax.
        extended: extended offset table and its lengths; empty where there is none.

    Raises:
        NoPixels: they cannot be told apart.
    """
    basic, fragments = _fragments(read, start, syntax)
    if not fragments:
        raise NoPixels("there are no fragments")
    tables = Tables(_numbers(basic, "L"), _numbers(extended[0], "Q"), _numbers(extended[1], "Q"))
    found = _by_extended(fragments, frames, tables) or _by_basic(fragments, frames, tables)
    groups = found or _by_fragments(fragments, frames or 1)
    return [[(one.start, one.length) for one in group] for group in groups]


def _fragments(read: Read, start: int, syntax: str) -> tuple[bytes, list[Fragment]]:
    """Return the basic offset table, and the fragments behind it."""
    items = _items(read, start)
    begin, length = next(items, (start, 0))
    table = read(begin, length)
    first = begin + length
    marked = syntax not in UNMARKED
    begins = _begins_rle if syntax == RLE else _begins
    found = [
        Fragment(
            at - _HEAD.size - first,
            at,
            size,
            marked and begins(read(at, min(size, _MARK))),
            marked
            and read(at + max(0, size - _LAST), min(size, _LAST)).rstrip(b"\0").endswith(_END),
        )
        for at, size in items
    ]
    return table, found


def _items(read: Read, at: int) -> Iterator[Stretch]:
    for _ in range(DEFAULT_LIMITS.elements):
        head = read(at, _HEAD.size)
        if len(head) < _HEAD.size:
            return
        group, element, length = _HEAD.unpack(head)
        if group << 16 | element != ITEM:
            return
        at += _HEAD.size
        yield at, length
        at += length


def _begins(mark: bytes) -> bool:
    return mark.startswith(_STARTS)


def _begins_rle(mark: bytes) -> bool:
    """Tell whether this is the header of an RLE frame (PS3.5 G.5)."""
    if len(mark) < _MARK:
        return False
    segments, first = struct.unpack_from("<LL", mark)
    return bool(1 <= segments <= _SEGMENTS and first == _RLE_HEADER)


def _numbers(table: bytes, code: str) -> tuple[int, ...]:
    size = struct.calcsize(f"<{code}")
    if len(table) % size:
        return ()
    return struct.unpack(f"<{len(table) // size}{code}", table)


def _by_extended(
    fragments: Sequence[Fragment], frames: int | None, tables: Tables
) -> list[list[Fragment]]:
    """Return the frames by the extended table, if it is right: one fragment each."""
    expected = [one.offset for one in fragments]
    if not tables.extended or frames not in (None, len(fragments)):
        return []
    if list(tables.extended) != expected or len(tables.lengths) != len(fragments):
        return []
    pairs = zip(fragments, tables.lengths, strict=True)
    if any(not 0 <= one.length - length <= 1 for one, length in pairs):
        return []
    return [[one] for one in fragments]


def _by_basic(
    fragments: Sequence[Fragment], frames: int | None, tables: Tables
) -> list[list[Fragment]]:
    """Return the frames by the basic table, if it is right."""
    places = {one.offset: number for number, one in enumerate(fragments)}
    firsts = [places.get(offset, -1) for offset in tables.basic]
    if not firsts or firsts[0] != 0 or frames not in (None, len(firsts)):
        return []
    if any(later <= earlier for earlier, later in pairwise(firsts)):
        return []
    if fragments[0].begins and not all(fragments[first].begins for first in firsts):
        return []
    return [list(fragments[a:b]) for a, b in pairwise([*firsts, len(fragments)])]


def _by_fragments(fragments: Sequence[Fragment], frames: int) -> list[list[Fragment]]:
    """Return the frames by what the fragments are.

    Raises:
        NoPixels: that does not tell.
    """
    if all(one.begins and one.ends for one in fragments):
        return [[one] for one in fragments[:frames]]  # each is whole
    if frames == 1:
        return [list(fragments)]
    if len(fragments) == frames:
        return [[one] for one in fragments]
    starts = [number for number, one in enumerate(fragments) if one.begins]
    if len(starts) != frames or starts[0] != 0:
        starts = [0, *(number + 1 for number, one in enumerate(fragments[:-1]) if one.ends)]
    if len(starts) != frames:
        raise NoPixels("the frames cannot be told apart")
    return [list(fragments[a:b]) for a, b in pairwise([*starts, len(fragments)])]
