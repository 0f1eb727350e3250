"""The one table of transfer syntaxes: how pixel data is encoded, and as what a frame is handed out.

A syntax that is not in it, a new or a private one, is taken as well: its frames are octets.
"""

from typing import Final

from darkroom_common.dicom.heads import DEFLATED, EXPLICIT_BIG, IMPLICIT_LITTLE

EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
RLE: Final = "1.2.840.10008.1.2.5"
NATIVE: Final = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, *DEFLATED})
"""Those whose pixel data is not encapsulated (PS3.5 8.2), of those that are known."""
UNMARKED: Final = frozenset({"1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"})
"""Encapsulated ones whose frames begin with any octets: uncompressed (A.4.11) and deflated."""
OCTETS: Final = "application/octet-stream"
_FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "image/jpeg": ("50", "51", "57", "70"),
    "image/jls": ("80", "81"),
    "image/jp2": ("90", "91"),
    "image/jpx": ("92", "93"),
    "image/jxl": ("110", "111", "112"),
    "image/jphc": ("201", "202", "203"),
    "video/mpeg": ("100", "100.1", "101", "101.1"),
    "video/mp4": tuple(f"{n}{x}" for n in range(102, 109) for x in ("", ".1")),
}
MEDIA_TYPES: Final = {
    RLE: "image/dicom-rle",
    **{f"1.2.840.10008.1.2.4.{n}": kind for kind, ns in _FAMILIES.items() for n in ns},
}
"""Transfer syntax to the media type of one frame (PS3.18 table 8.7.3-5)."""
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG_LOSSLESS_SV1: Final = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
HTJ2K_LOSSLESS: Final = "1.2.840.10008.1.2.4.201"
ENCODABLE: Final = frozenset(
    {JPEG_2000_LOSSLESS, JPEG_LOSSLESS_SV1, JPEG_LS_LOSSLESS, HTJ2K_LOSSLESS, RLE}
)
"""Compressed ones that can be made, without loss."""
RECENT: Final = (
    "1.2.840.10008.1.2.4.110",  # JPEG XL lossless
    "1.2.840.10008.1.2.4.111",  # JPEG XL, JPEG recompressed
    "1.2.840.10008.1.2.4.112",  # JPEG XL
    "1.2.840.10008.1.2.4.204",  # JPIP, High-Throughput JPEG 2000
    "1.2.840.10008.1.2.4.205",  # the same, deflated
    "1.2.840.10008.1.2.8.1",  # deflated frames
)
"""Those that pydicom's dictionary may not have yet."""
VIDEO: Final = frozenset(uid for uid, kind in MEDIA_TYPES.items() if kind.startswith("video/"))
"""Those whose pixel data is one stream, whatever the number of frames (PS3.5 8.2.5 to 8.2.8)."""


def media_type(transfer_syntax_uid: str) -> str:
    """Return the media type of a frame as it is stored; octets when none is registered."""
    return MEDIA_TYPES.get(transfer_syntax_uid, OCTETS)
