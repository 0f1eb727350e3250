"""What a compressed image says of itself: its transfer syntax, and what of its pixels.

Only the markers before the first coded byte are read, and nothing is decoded (PS3.18 tables 8.7.3-2
to -4 and 10.5.2-1). A code stream never goes under a label that it contradicts.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.dicom.heads import EXPLICIT_BIG, IMPLICIT_LITTLE

BEGINNING: Final = 1 << 20
"""Bytes of a code stream that are looked at: of JPEG, application segments may come first."""
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
_JPEG_PREFIX: Final = "1.2.840.10008.1.2.4."
_RLE: Final = "1.2.840.10008.1.2.5"
_NATIVE: Final = frozenset({EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, ""})
_OF_KIND: Final[Mapping[str, tuple[str, ...]]] = {
    kind: tuple(last.split())
    for kind, last in (
        ("image/jpeg", "50 51 57 70"),
        ("image/jls", "80 81"),
        ("image/jp2", "90 91"),
        ("image/jpx", "92 93"),
        ("image/jphc", "201 202 203"),
        ("image/jxl", "110 111 112"),
        ("video/mpeg", "100 100.1 101 101.1"),
        ("video/mpeg2", "100 100.1 101 101.1"),
        ("video/mp4", "102 102.1 103 103.1 104 104.1 105 105.1 106 106.1 107 108"),
    )
}
_OTHER_NAMES: Final = {
    "image/x-jls": "image/jls",
    "image/x-dicom-rle": "image/dicom-rle",
    "image/j2c": "image/jp2",
}
_JP2: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_SIZE: Final = b"\xff\x4f\xff\x51"
_FRAMES: Final = {0xC0: "50", 0xC1: "51", 0xC3: "70", 0xF7: "80"}
_NO_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_FILL: Final = 0xFF
"""Begins a marker, and may fill before it (T.81 B.1.1.2)."""
_SCAN: Final = 0xDA
_CAP, _COD = 0x50, 0x52
_COLOURS: Final = 3
_BYTE: Final = 8


@dataclass(frozen=True)
class CodeStream:
    """What the beginning of a compressed frame says.

    Attributes:
        transfer_syntax_uid: empty: it cannot be told.
        start: bytes before the code stream: of a file format around it, which DICOM does not take.
        pixels: Image Pixel Description, by tag, as numbers.
        photometric: interpretation; empty: it cannot be told.
    """

    transfer_syntax_uid: str = ""
    start: int = 0
    pixels: Mapping[int, int] = field(default_factory=dict)
    photometric: str = ""


def syntaxes_of(kind: str) -> frozenset[str]:
    """Return the transfer syntaxes of a media type of pixels; none: it is of no compressed one."""
    kind = _OTHER_NAMES.get(kind, kind)
    if kind == "image/dicom-rle":
        return frozenset({_RLE})
    return frozenset(_JPEG_PREFIX + last for last in _OF_KIND.get(kind, ()))


def is_native(transfer_syntax_uid: str) -> bool:
    """Tell whether pixels of a transfer syntax that a part names are not compressed."""
    return transfer_syntax_uid in _NATIVE


def default_of(kind: str) -> str:
    """Return what a media type means when neither a parameter nor the stream says it."""
    kind = _OTHER_NAMES.get(kind, kind)
    if kind == "image/dicom-rle":
        return _RLE
    return next((_JPEG_PREFIX + last for last in _OF_KIND.get(kind, ())), "")


def look(beginning: bytes) -> CodeStream:
    """Return what the first bytes of a frame say; nothing of a format that is not known here."""
    try:
        if beginning.startswith(b"\xff\xd8"):
            return _jpeg(beginning)
        if beginning.startswith(_JP2):
            return _boxed(beginning)
        if beginning.startswith(_SIZE):
            return _jpeg_2000(beginning, 0)
    except (struct.error, IndexError):
        pass  # cut, or no such stream: it says nothing
    return CodeStream()


def _segments(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Yield markers with where their content begins, up to that of the first scan."""
    while True:
        while data[at] != _FILL:
            at += 1
        while data[at] == _FILL:
            at += 1
        marker, at = data[at], at + 1
        if marker in _NO_LENGTH:
            continue
        yield marker, at + 2
        if marker == _SCAN:
            return
        at += max(2, struct.unpack_from(">H", data, at)[0])


def _jpeg(data: bytes) -> CodeStream:
    """Read SOF and SOS of JPEG (T.81 B.2) or JPEG-LS (T.87 C.2)."""
    last, pixels, photometric = "", dict[int, int](), ""
    for marker, at in _segments(data, 2):
        if marker in _FRAMES:
            last = _FRAMES[marker]
            bits, rows, columns, samples = struct.unpack_from(">BHHB", data, at)
            pixels = _described(rows, columns, samples, bits, signed=False)
            photometric = _of_jpeg(data, at + 6, samples, lossless=marker in (0xC3, 0xF7))
        elif marker == _SCAN and last in ("70", "80"):
            # Behind the components: the predictor of lossless JPEG, or what JPEG-LS may be off by.
            word = data[at + 1 + 2 * data[at]]
            last = {"70": "70" if word == 1 else "57", "80": "81" if word else "80"}[last]
    return CodeStream(_JPEG_PREFIX + last if last else "", 0, pixels, photometric)


def _of_jpeg(data: bytes, at: int, samples: int, *, lossless: bool) -> str:
    if samples == 1:
        return "MONOCHROME2"
    if samples != _COLOURS:
        return ""
    if lossless:
        return "RGB"
    return "YBR_FULL_422" if data[at + 1] != data[at + 4] else "YBR_FULL"


def _boxed(data: bytes) -> CodeStream:
    """Find the code stream in a file of JP2 (T.800 annex I)."""
    at = 0
    while True:
        size, kind = struct.unpack_from(">L4s", data, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + head)
            head = 16
        if kind == b"jp2c":
            return _jpeg_2000(data, at + head)
        if size < head:
            return CodeStream()
        at += size


def _jpeg_2000(data: bytes, start: int) -> CodeStream:
    """Read SIZ, CAP and COD of JPEG 2000 (T.800 A.5, A.6) or HTJ2K (T.814)."""
    if not data.startswith(_SIZE, start):
        return CodeStream()
    at = start + 6
    right, bottom, left, top = struct.unpack_from(">4L", data, at + 2)
    (samples,) = struct.unpack_from(">H", data, at + 34)
    depth = data[at + 36]
    bits, signed = (depth & 0x7F) + 1, bool(depth & 0x80)
    high_throughput, reversible, mixed = False, False, False
    for marker, at in _segments(data, start + 2):
        if marker == _CAP:
            high_throughput = True
        if marker == _COD:
            mixed, reversible = bool(data[at + 4]), data[at + 9] == 1
            break
    pixels = _described(bottom - top, right - left, samples, bits, signed=signed)
    lossless, lossy = ("201", "203") if high_throughput else ("90", "91")
    last = lossless if reversible else lossy
    photometric = "MONOCHROME2" if samples == 1 else ""
    if samples == _COLOURS:
        of_mixed = "YBR_RCT" if reversible else "YBR_ICT"
        photometric = of_mixed if mixed else "RGB"
    return CodeStream(_JPEG_PREFIX + last, start, pixels, photometric)


def _described(rows: int, columns: int, samples: int, bits: int, *, signed: bool) -> dict[int, int]:
    """Return Image Pixel Description (PS3.3 C.7.6.3), as far as a code stream has it."""
    found = {
        0x00280002: samples,
        0x00280010: rows,
        0x00280011: columns,
        0x00280100: _BYTE if bits <= _BYTE else 2 * _BYTE,
        0x00280101: bits,
        0x00280102: bits - 1,
        0x00280103: int(signed),
    }
    if samples > 1:
        found[0x00280006] = 0
    return found
