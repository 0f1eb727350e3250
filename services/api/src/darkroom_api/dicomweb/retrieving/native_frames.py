"""Where the frames of native pixel data are, as far as the index tells.

Nothing is parsed: the index says how large the pixels are, and what stands before them when they
are the last of an object's elements. When exactly that stands there, that is where they are;
otherwise a worker has to look. One who makes up an object deceives nobody but those who look at it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from darkroom_common.dicom.heads import IMPLICIT_LITTLE
from darkroom_common.dicom.syntaxes import EXPLICIT_LITTLE
from darkroom_common.index.rows import StoredInstance

_TAG: Final = b"\xe0\x7f\x10\x00"
_VRS: Final = (b"OW\0\0", b"OB\0\0")
_LENGTH: Final = struct.Struct("<L")
_SAMPLES: Final = (1, 3)
_OCTET: Final = 8
_LONGEST: Final = (1 << 32) - 2


@dataclass(frozen=True)
class Expected:
    """Pixel data that may end an object.

    Attributes:
        start: where it begins in the object.
        frame: bytes of each frame.
        count: of the frames.
        heads: what stands before it, in one of these forms.
    """

    start: int
    frame: int
    count: int
    heads: tuple[bytes, ...]

    @property
    def before(self) -> tuple[int, int]:
        """Where what stands before it is: the first byte and the number of bytes."""
        length = len(self.heads[0])
        return self.start - length, length

    def stands_in(self, file: BinaryIO) -> bool:
        """Tell whether an object has it."""
        first, length = self.before
        file.seek(first)
        return file.read(length) in self.heads


def expected(one: StoredInstance) -> Iterator[Expected]:
    """Yield what may be found, for one sample a pixel and for three."""
    syntax = one.transfer_syntax_uid
    if syntax not in (EXPLICIT_LITTLE, IMPLICIT_LITTLE):
        return
    bits = one.bits_allocated or 0
    frame = (one.rows or 0) * (one.columns or 0) * (bits // _OCTET)
    count = one.frames or 1
    if frame <= 0 or bits % _OCTET or count < 0:
        return
    for samples in _SAMPLES:
        length = frame * samples * count
        length += length % 2
        start = one.object_size - length
        if length > _LONGEST:
            return
        size = _LENGTH.pack(length)
        vrs = _VRS if syntax == EXPLICIT_LITTLE else (b"",)
        heads = tuple(_TAG + vr + size for vr in vrs)
        if start - len(heads[0]) >= one.data_set_offset:
            yield Expected(start, frame * samples, count, heads)
