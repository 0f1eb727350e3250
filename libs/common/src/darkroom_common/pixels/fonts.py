"""Fonts for any script, as Debian installs them, and which of them has a character."""

import struct
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import ImageFont, features

from darkroom_common.errors import ConfigurationError

_END_OF_SEGMENTS: Final = 0xFFFF  # of a cmap of format 4
DIRECTORIES: Final = (
    Path("/usr/share/fonts/truetype/dejavu"),
    Path("/usr/share/fonts/truetype/noto"),
    Path("/usr/share/fonts/opentype/noto"),
)
PACKAGES: Final = "fonts-dejavu-core fonts-noto-core fonts-noto-cjk libfribidi0"
_FIRST: Final[tuple[str, ...]] = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc")
_SEGMENTS: Final = 4
_GROUPS: Final = 12


class FontsMissing(ConfigurationError):
    """The fonts that films are written with are not installed."""


@lru_cache(maxsize=1)
def font_files() -> tuple[Path, ...]:
    """Return the fonts to look into, in the order of preference.

    Raises:
        FontsMissing: they are not installed.
    """
    if not features.check("raqm"):
        raise FontsMissing(f"text cannot be shaped; install the Debian packages {PACKAGES}")
    found = {
        path.name: path
        for directory in DIRECTORIES
        for pattern in ("DejaVuSans.ttf", "NotoSans*-Regular.tt[fc]", "NotoSerif*-Regular.tt[fc]")
        for path in sorted(directory.glob(pattern))
    }
    if _FIRST[0] not in found:
        raise FontsMissing(f"there is no font; install the Debian packages {PACKAGES}")
    names = [*(name for name in _FIRST if name in found)]
    names += sorted(set(found).difference(names), key=lambda name: ("Sans" not in name, name))
    return tuple(found[name] for name in names)


@lru_cache(maxsize=64)
def font(path: Path, size: int, language: int) -> ImageFont.FreeTypeFont:
    """Return a font of `size` pixels that shapes its text.

    Args:
        path: one of `font_files`.
        size: in pixels.
        language: which font of a collection: 0 Japanese, 1 Korean, 2 simplified Chinese.
    """
    index = language if path.suffix == ".ttc" else 0
    return ImageFont.truetype(path, size, index, layout_engine=ImageFont.Layout.RAQM)


@lru_cache(maxsize=4096)
def font_of(character: str) -> Path | None:
    """Return the first font that has a character; None when none has.

    Raises:
        FontsMissing: there are no fonts.
    """
    code = ord(character)
    for path in font_files():
        starts, ends = coverage(path)
        index = int(np.searchsorted(starts, code, "right")) - 1
        if index >= 0 and code <= ends[index]:
            return path
    return None


_Ranges = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


@lru_cache(maxsize=256)
def coverage(path: Path) -> _Ranges:
    """Return first and last code points of the ranges of a font's character map.

    Read from the table `cmap` (OpenType), formats 12 and 4; of a collection, its first font.
    """
    data = path.read_bytes()
    start = struct.unpack_from(">I", data, 12)[0] if data[:4] == b"ttcf" else 0
    tables = struct.unpack_from(">H", data, start + 4)[0]
    offset = 0
    for number in range(tables):
        tag, _, where, _ = struct.unpack_from(">4sIII", data, start + 12 + 16 * number)
        if tag == b"cmap":
            offset = where
    best: dict[int, int] = {}
    for number in range(struct.unpack_from(">H", data, offset + 2)[0]):
        _, _, where = struct.unpack_from(">HHI", data, offset + 4 + 8 * number)
        best[struct.unpack_from(">H", data, offset + where)[0]] = offset + where
    if _GROUPS in best:
        return _groups(data, best[_GROUPS])
    if _SEGMENTS in best:
        return _segments(data, best[_SEGMENTS])
    return np.empty(0, np.int64), np.empty(0, np.int64)


def _groups(data: bytes, where: int) -> _Ranges:
    count = struct.unpack_from(">I", data, where + 12)[0]
    table = np.frombuffer(data, ">u4", count * 3, where + 16).reshape(count, 3).astype(np.int64)
    return table[:, 0], table[:, 1]


def _segments(data: bytes, where: int) -> _Ranges:
    count = struct.unpack_from(">H", data, where + 6)[0] // 2
    ends = np.frombuffer(data, ">u2", count, where + 14).astype(np.int64)
    starts = np.frombuffer(data, ">u2", count, where + 16 + 2 * count).astype(np.int64)
    real = starts < _END_OF_SEGMENTS
    return starts[real], ends[real]
