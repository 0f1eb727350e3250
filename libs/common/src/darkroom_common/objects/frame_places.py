"""Where the frames of compressed pixel data are in an object, as the index keeps it (PS3.5 A.4).

Kept is where the first fragment begins, and how long each is: one behind the other, one for each
frame. What is in any other order, or has several fragments a frame, is found by walking.
"""

import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from darkroom_common.dicom.syntaxes import VIDEO

ITEM_HEAD: Final = 8
"""Bytes before a fragment: the tag of an item, and its length."""
_HEAD: Final = struct.Struct("<HHL")
_ITEM: Final = 0xFFFE, 0xE000
_START: Final = struct.Struct("<Q")
_LENGTH: Final = 4


def packed(
    items: Sequence[tuple[int, int]], frames: int | None, transfer_syntax_uid: str
) -> bytes | None:
    """Return the places of frames; None when not every fragment is a frame.

    Args:
        items: of the pixel data, that of the basic offset table first: where the bytes of each
            begin in the object, and how many there are.
        frames: Number of Frames; None when the object does not say.
        transfer_syntax_uid: of the object.
    """
    count = 1 if transfer_syntax_uid in VIDEO else frames or 1
    fragments = items[1:]
    if len(fragments) != count:
        return None
    lengths = [length for _, length in fragments]
    return _START.pack(fragments[0][0]) + struct.pack(f"<{count}L", *lengths)


def unpacked(places: bytes) -> list[tuple[int, int]]:
    """Return where the bytes of each frame begin, and how many there are."""
    (start,) = _START.unpack_from(places)
    lengths = struct.unpack_from(f"<{(len(places) - _START.size) // _LENGTH}L", places, _START.size)
    steps = accumulate((length + ITEM_HEAD for length in lengths[:-1]), initial=start)
    return list(zip(steps, lengths, strict=True))


def head_of(length: int) -> bytes:
    """Return what stands before a fragment of so many bytes."""
    return _HEAD.pack(*_ITEM, length)
