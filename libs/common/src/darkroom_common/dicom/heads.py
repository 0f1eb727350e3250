"""The head of an element: which VRs there are, and where a value begins when its VR is none.

A head has a VR and a length of two or of four bytes, or no VR at all (PS3.5 7.1). VRs that are to
come are long (PS3.5 6.2). Devices write others: two letters that no standard knows in a short
head, blanks, NULs, `??`. What such a head is, only the bytes behind its value tell: a head that
can follow stands there, or none.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from operator import itemgetter
from typing import Final, NamedTuple

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom.datadict import dictionary_has_tag

Bytes = bytes | bytearray | memoryview

LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
SHORT_VRS: Final = frozenset(
    {
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT",
        b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
    }
)  # fmt: skip
VRS: Final = LONG_VRS | SHORT_VRS
IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
PAPYRUS: Final = "1.2.840.10008.1.20"
"""Papyrus 3, retired: implicit as the default is."""
DEFLATED: Final = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)
"""Those whose data set is deflated: of JPIP, too, whose pixels are elsewhere (PS3.5 A.5, A.7)."""
SHORT_HEAD: Final = 8
LONG_HEAD: Final = 12
UNDEFINED: Final = 0xFFFFFFFF
ITEM_GROUP: Final = 0xFFFE
ITEM_END: Final = 0xFFFEE00D
AHEAD: Final = 1 << 16
"""Bytes of a value behind which is looked for the next head."""


def _sequences() -> Iterator[int]:
    for tag, entry in DicomDictionary.items():
        if entry[0] == "SQ":
            yield tag
    for mask, entry in RepeatersDictionary.items():
        if entry[0] == "SQ":
            digits = ("0123456789ABCDEF" if digit == "x" else digit for digit in mask)
            yield from (int("".join(chosen), 16) for chosen in product(*digits))


SEQUENCES: Final = frozenset(_sequences())
"""Tags whose VR is SQ by the dictionary of PS3.6."""


class Encoding(NamedTuple):
    """How elements are encoded: PS3.5 annex A, after inflation."""

    implicit: bool
    big: bool = False

    @classmethod
    def of(cls, transfer_syntax_uid: str) -> "Encoding":
        """Return the encoding of a transfer syntax; all but three are explicit little endian."""
        implicit = transfer_syntax_uid in (IMPLICIT_LITTLE, PAPYRUS)
        return cls(implicit, transfer_syntax_uid == EXPLICIT_BIG)


class Order(NamedTuple):
    """How whole numbers are read: the byte order of a transfer syntax."""

    head: struct.Struct
    """Tag and length of a head without a VR."""
    tag: struct.Struct
    short: struct.Struct
    long: struct.Struct


LITTLE: Final = Order(
    struct.Struct("<HHL"), struct.Struct("<HH"), struct.Struct("<H"), struct.Struct("<L")
)
BIG: Final = Order(
    struct.Struct(">HHL"), struct.Struct(">HH"), struct.Struct(">H"), struct.Struct(">L")
)


class Plain:
    """Passes over whole elements that nobody wants: most of a header.

    Args:
        encoding: of the elements.
        stops: tags of those that somebody wants.
    """

    def __init__(self, encoding: Encoding, stops: frozenset[int]) -> None:
        order = ">" if encoding.big else "<"
        self._implicit = encoding.implicit
        self._unpack = struct.Struct(order + ("HHL" if encoding.implicit else "HH2sH")).unpack_from
        self._stops = stops

    def pass_over(self, data: Bytes, at: int, size: int, most: int) -> tuple[int, int]:
        """Return where the first begins that is anything else or ends behind `size`; and how many.

        At most so many as `most` are passed over.
        """
        unpack, stops, room = self._unpack, self._stops, most
        if self._implicit:
            while room and size - at >= SHORT_HEAD:
                group, number, length = unpack(data, at)
                end = at + SHORT_HEAD + length
                if end > size or group == ITEM_GROUP or (group << 16) | number in stops:
                    break
                at = end
                room -= 1
        else:
            while room and size - at >= SHORT_HEAD:
                group, number, vr, length = unpack(data, at)
                end = at + SHORT_HEAD + length
                if (
                    end > size
                    or vr not in SHORT_VRS
                    or group == ITEM_GROUP
                    or (group << 16) | number in stops
                ):
                    break
                at = end
                room -= 1
        return at, most - room


class Head(NamedTuple):
    """What a head says: where its value begins, from its own beginning, and its length."""

    size: int
    length: int


class Ahead(NamedTuple):
    """The bytes from the beginning of a head on, as far as they are there.

    Attributes:
        data: the bytes.
        at: where the head begins in them.
        room: bytes from its beginning to the end of what it stands in, if that is known.
        ended: whether nothing comes after `data`.
        in_item: whether it stands in an item of undefined length.
    """

    data: Bytes
    at: int
    room: int
    ended: bool
    in_item: bool


class NeedsMore(Exception):
    """More bytes from the beginning of the head on are needed."""

    def __init__(self, needed: int) -> None:
        super().__init__()
        self.needed = needed


_NONE: Final = 0
_TOO_FAR: Final = 1
_PERHAPS: Final = 2
_SURELY: Final = 3
_PRINTED: Final = range(0x20, 0x7F)


def judge(ahead: Ahead, order: Order) -> Head:
    """Return what an explicit head is whose VR is none of `VRS`; at least 8 bytes are there.

    Raises:
        NeedsMore: that cannot be said yet.
    """
    data, at = ahead.data, ahead.at
    vr = bytes(data[at + 4 : at + 6])
    (count,) = order.short.unpack_from(data, at + 6)
    short = Head(SHORT_HEAD, count)
    implicit = Head(SHORT_HEAD, order.long.unpack_from(data, at + 4)[0])
    if vr.isalpha() and vr.isupper():
        if count:  # the two bytes are reserved in a long head
            return short
        choices = [_long(ahead, order), short]
    elif _is_written(vr):
        choices = [short, implicit] if count else [short, _long(ahead, order), implicit]
    elif count:
        return short if _follows(ahead, order, short) > _TOO_FAR else implicit
    else:
        choices = [implicit] if _follows(ahead, order, implicit) else [short, implicit]
    fits = [(_follows(ahead, order, choice), choice) for choice in choices if choice]
    return max(fits, key=itemgetter(0))[1]


def _is_written(vr: bytes) -> bool:
    """Whether somebody may have written this for a VR, rather than it is part of a length."""
    return vr == b"\0\0" or all(byte in _PRINTED for byte in vr)


def _long(ahead: Ahead, order: Order) -> Head | None:
    """Return the head as a long one; None where there is no room for it."""
    if not _is_there(ahead, SHORT_HEAD, LONG_HEAD - SHORT_HEAD):
        return None
    return Head(LONG_HEAD, order.long.unpack_from(ahead.data, ahead.at + SHORT_HEAD)[0])


def _is_there(ahead: Ahead, start: int, count: int) -> bool:
    """Whether there are so many bytes from `start` on.

    Raises:
        NeedsMore: they may come.
    """
    if start + count > ahead.room:
        return False
    there = len(ahead.data) - ahead.at
    if start + count <= there:
        return True
    if ahead.ended:
        return False
    raise NeedsMore(start + count)


def _follows(ahead: Ahead, order: Order, head: Head) -> int:
    """Return whether what stands behind the value of a head can follow it."""
    if head.length == UNDEFINED:
        return _begins_items(ahead, order, head)
    start = head.size + head.length
    if start == ahead.room:
        return _SURELY
    if head.length > AHEAD:
        return _TOO_FAR if start < ahead.room else _NONE
    if not _is_there(ahead, start, SHORT_HEAD):
        left = len(ahead.data) - ahead.at - start
        # Nothing, or a pad octet.
        return _SURELY if ahead.ended and left in (0, 1) else _NONE
    return _is_head(ahead, order, ahead.at + start)


def _begins_items(ahead: Ahead, order: Order, head: Head) -> int:
    if not _is_there(ahead, head.size, SHORT_HEAD):
        return _NONE
    group, _ = order.tag.unpack_from(ahead.data, ahead.at + head.size)
    return _SURELY if group == ITEM_GROUP else _NONE


def _is_head(ahead: Ahead, order: Order, at: int) -> int:
    """Return whether a head that can stand behind the one in question begins at `at`."""
    group, number = order.tag.unpack_from(ahead.data, at)
    own_group, own_number = order.tag.unpack_from(ahead.data, ahead.at)
    vr = bytes(ahead.data[at + 4 : at + 6])
    if group == ITEM_GROUP:
        return _SURELY if number == ITEM_END & 0xFFFF and ahead.in_item else _NONE
    if (group, number) <= (own_group, own_number) or (not number and vr != b"UL"):
        return _NONE  # tags rise, and element 0 is a group length
    if vr in VRS:
        return _SURELY
    return _PERHAPS if group == own_group or _is_known(group << 16 | number) else _NONE


@lru_cache(maxsize=1024)
def _is_known(tag: int) -> bool:
    return dictionary_has_tag(tag)
