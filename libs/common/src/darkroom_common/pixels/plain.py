"""Plain greyscale images: found in their bytes by one look, for they are most of all that is shown.

Plain is a native little endian image of one sample a pixel whose elements stand in their order, and
that has no table, overlay, mask or functional group. Of all others nothing is said here: they are
read the general way, by which plain ones look the same.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from darkroom_common.dicom.heads import IMPLICIT_LITTLE, LONG_VRS, UNDEFINED
from darkroom_common.dicom.stored import StoredObject
from darkroom_common.dicom.syntaxes import EXPLICIT_LITTLE
from darkroom_common.pixels.decoding import grey_values
from darkroom_common.pixels.frame import FrameHeader, decimals_of
from darkroom_common.pixels.samples import Samples

_BEGINNING: Final = 1 << 15
"""Bytes that a plain header has at most."""
_EXPLICIT: Final = struct.Struct("<HH2sH")
_IMPLICIT: Final = struct.Struct("<HHL")
_LENGTH: Final = struct.Struct("<L")
_PIXELS: Final = 0x7FE00000
_PIXEL_DATA: Final = 0x7FE00010
_DEFAULT: Final = b"  "
"""Of an element whose VR is not said."""
_NUMBER, _PADDING, _TEXT, _WORD, _COUNT = ((b"US",), (b"US", b"SS"), (b"DS",), (b"CS",), (b"IS",))
_KEPT: Final[dict[int, tuple[str, tuple[bytes, ...]]]] = {
    0x00181114: ("EstimatedRadiographicMagnificationFactor", _TEXT),
    0x00181164: ("ImagerPixelSpacing", _TEXT),
    0x00182010: ("NominalScannedPixelSpacing", _TEXT),
    0x00280002: ("SamplesPerPixel", _NUMBER),
    0x00280004: ("PhotometricInterpretation", _WORD),
    0x00280008: ("NumberOfFrames", _COUNT),
    0x00280010: ("Rows", _NUMBER),
    0x00280011: ("Columns", _NUMBER),
    0x00280030: ("PixelSpacing", _TEXT),
    0x00280034: ("PixelAspectRatio", _COUNT),
    0x00280100: ("BitsAllocated", _NUMBER),
    0x00280101: ("BitsStored", _NUMBER),
    0x00280103: ("PixelRepresentation", _NUMBER),
    0x00280120: ("PixelPaddingValue", _PADDING),
    0x00280121: ("PixelPaddingRangeLimit", _PADDING),
    0x00281050: ("WindowCenter", _TEXT),
    0x00281051: ("WindowWidth", _TEXT),
    0x00281052: ("RescaleIntercept", _TEXT),
    0x00281053: ("RescaleSlope", _TEXT),
    0x00281056: ("VOILUTFunction", _WORD),
    0x20500020: ("PresentationLUTShape", _WORD),
}
_NOT_PLAIN: Final = frozenset(
    {0x00283000, 0x00283010, 0x00286010, 0x00286100, 0x52009229, 0x52009230}
)
"""Tables of the modality and of VOI, the frame that represents it, masks, functional groups."""
_OVERLAYS: Final = range(0x6000, 0x6100)
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_OCTET: Final = 8


class PlainHeader(FrameHeader):
    """What the header of a plain image says of any of its frames."""

    def __init__(self, kept: dict[str, tuple[bytes, bytes]]) -> None:
        self.warnings = []
        self._kept = kept

    def get(self, keyword: str) -> Any:
        """Return a whole number, or a text as it stands; None when there is none."""
        vr, value = self._kept.get(keyword, (b"", b""))
        if vr in _PADDING:
            return int.from_bytes(value[:2], "little", signed=vr == b"SS") if value else None
        return value.decode("latin-1").strip(" \0") or None

    def decimals(self, keyword: str) -> list[float | None]:
        """See `FrameHeader`."""
        vr, value = self._kept.get(keyword, (b"", b""))
        if vr in _PADDING:
            one = self.get(keyword)
            return [] if one is None else [float(one)]
        return decimals_of(value.decode("latin-1").split("\\"))

    def items(self, keyword: str) -> Sequence[Any]:
        """Return nothing: what has sequences that say how it is seen is not plain."""
        del keyword
        return ()


@dataclass(frozen=True)
class Plain:
    """A plain image.

    Attributes:
        header: of it.
        frames: how many there are.
    """

    header: PlainHeader
    frames: int
    _stored: StoredObject
    _start: int
    _shape: tuple[int, int]
    _bits: tuple[int, int, bool]

    def values(self, number: int) -> Samples | None:
        """Return the stored values of a frame, from 0; None when they are not whole."""
        rows, columns = self._shape
        size = rows * columns * self._bits[0] // _OCTET
        body = self._stored.read(self._start + number * size, size)
        return grey_values(body, self._shape, *self._bits) if len(body) == size else None


def plain_image(stored: StoredObject) -> Plain | None:
    """Return an object as a plain image; None when it is none, or not surely one.

    Raises:
        OSError: the file cannot be read.
    """
    if stored.transfer_syntax_uid not in (EXPLICIT_LITTLE, IMPLICIT_LITTLE):
        return None
    data = stored.read(stored.start, min(_BEGINNING, stored.size))
    implicit = stored.transfer_syntax_uid == IMPLICIT_LITTLE
    try:
        found = _looked(data, implicit=implicit)
    except (struct.error, ValueError):
        return None
    return None if found is None else _plain(stored, *found)


def _plain(
    stored: StoredObject, kept: dict[str, tuple[bytes, bytes]], at: int, length: int
) -> Plain | None:
    header = PlainHeader(kept)
    rows, columns, allocated, bits, signed, samples = (
        header.get(name) if name in kept else None
        for name in (
            *("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation"),
            "SamplesPerPixel",
        )
    )
    frames = header.get("NumberOfFrames") or "1"
    grey = header.get("PhotometricInterpretation") in _GREY
    if not (rows and columns and samples == 1 and signed in (0, 1) and grey and frames.isdecimal()):
        return None
    bits = bits or 0
    if allocated not in (8, 16) or not 1 <= bits <= allocated or int(frames) < 1:
        return None
    size = rows * columns * allocated // _OCTET * int(frames)
    if length < size or at + length > stored.size:
        return None
    shape, kind = (rows, columns), (allocated, bits, bool(signed))
    return Plain(header, int(frames), stored, stored.start + at, shape, kind)


def _looked(
    data: bytes, *, implicit: bool
) -> tuple[dict[str, tuple[bytes, bytes]], int, int] | None:
    """Return the elements that matter, and where pixel data begin and how long they are."""
    kept: dict[str, tuple[bytes, bytes]] = {}
    at, last, end = 0, -1, len(data)
    while at < end:
        if implicit:
            group, number, length = _IMPLICIT.unpack_from(data, at)
            vr, at = _DEFAULT, at + 8
        else:
            group, number, vr, length = _EXPLICIT.unpack_from(data, at)
            at += 8
            if vr in LONG_VRS:
                (length,) = _LENGTH.unpack_from(data, at)
                at += 4
        tag = group << 16 | number
        if tag <= last or length == UNDEFINED or tag in _NOT_PLAIN or group in _OVERLAYS:
            return None
        last = tag
        if tag >= _PIXELS:
            return (kept, at, length) if tag == _PIXEL_DATA else None
        if tag in _KEPT:
            name, vrs = _KEPT[tag]
            if implicit:
                signed = (
                    vrs is _PADDING and kept.get("PixelRepresentation", ("", b""))[1][:1] == b"\1"
                )
                vr = vrs[signed]
            if vr not in vrs:
                return None
            kept[name] = vr, data[at : at + length]
        at += length
    return None
