"""Lines of text in any script, as masks."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from darkroom_common.pixels.fonts import font, font_files, font_of

MAX_CHARACTERS: Final = 400  # of one line
_MISSING: Final = "\u25a1"
_ELLIPSIS: Final = "\u2026"
_LEAST: Final = 0.6  # of the size asked for, before a line is cut
_ASCENT: Final = 0.78
_JOINED: Final = frozenset({"Mn", "Mc", "Me", "Cf", "Zs"})
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL"})
_STRONG: Final = _RIGHT_TO_LEFT | {"L"}


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A line.

    Attributes:
        mask: (rows, columns) of uint8, 255 where there is ink.
        unprintable: characters for which a box is drawn.
    """

    mask: npt.NDArray[np.uint8]
    unprintable: int


@dataclass(frozen=True, slots=True)
class _Run:
    text: str
    path: Path


def draw_line(text: str, *, rows: int, columns: int, size: int) -> Drawn:
    """Draw a line of text from its beginning edge: the left one, or the right one in Arabic.

    A line that is too long is made up to 40 % smaller, then cut.

    Args:
        text: one line; control characters are left out.
        rows: of the mask.
        columns: of the mask.
        size: of the letters, in pixels.

    Raises:
        FontsMissing: the fonts are not installed.
    """
    runs, unprintable = _runs(_cleaned(text))
    leftward = _leftward(text)
    fonts, widths = _measured(runs, size, leftward=leftward)
    if sum(widths) > columns:
        size = max(6, int(size * max(_LEAST, columns / sum(widths))))
        fonts, widths = _measured(runs, size, leftward=leftward)
        while sum(widths) > columns and runs:
            runs = _shortened(runs)
            fonts, widths = _measured(runs, size, leftward=leftward)
    image = Pillow.new("L", (columns, rows))
    draw = ImageDraw.Draw(image)
    baseline = (rows - size) // 2 + round(size * _ASCENT)
    direction = "rtl" if leftward else "ltr"
    edge = 0.0
    for run, chosen, width in zip(runs, fonts, widths, strict=True):
        left = columns - edge - width if leftward else edge
        draw.text((left, baseline), run.text, 255, chosen, anchor="ls", direction=direction)
        edge += width
    return Drawn(np.asarray(image), unprintable)


def _cleaned(text: str) -> str:
    kept = "".join(one if unicodedata.category(one) != "Cc" else " " for one in text)
    return unicodedata.normalize("NFC", kept)[:MAX_CHARACTERS]


def _leftward(text: str) -> bool:
    """Tell whether a line runs from right to left: by its first letter (UAX 9, P2 and P3)."""
    kinds = (unicodedata.bidirectional(one) for one in text)
    return next((kind for kind in kinds if kind in _STRONG), "L") in _RIGHT_TO_LEFT


def _runs(text: str) -> tuple[list[_Run], int]:
    """Cut a line into pieces of one font each; marks stay with what they mark."""
    runs: list[_Run] = []
    unprintable = 0
    for character in text:
        drawn, path = character, font_of(character)
        if path is None and unicodedata.category(character) == "Cf":
            continue
        if path is None:
            unprintable += 1
            drawn, path = _MISSING, font_files()[0]
        if runs and (runs[-1].path == path or unicodedata.category(drawn) in _JOINED):
            runs[-1] = _Run(runs[-1].text + drawn, runs[-1].path)
        else:
            runs.append(_Run(drawn, path))
    return runs, unprintable


def _shortened(runs: list[_Run]) -> list[_Run]:
    kept = runs[-1].text.rstrip(_ELLIPSIS)[:-1]
    if kept:
        return [*runs[:-1], _Run(kept + _ELLIPSIS, runs[-1].path)]
    return runs[:-1]


def _measured(
    runs: list[_Run], size: int, *, leftward: bool
) -> tuple[list[ImageFont.FreeTypeFont], list[float]]:
    language = _language("".join(run.text for run in runs))
    fonts = [font(run.path, size, language) for run in runs]
    direction = "rtl" if leftward else "ltr"
    return fonts, [
        one.getlength(run.text, direction=direction) for run, one in zip(runs, fonts, strict=True)
    ]


def _language(text: str) -> int:
    """Return whose forms Han characters take, by what is written beside them."""
    names = {unicodedata.name(one, "").partition(" ")[0] for one in text}
    if "HANGUL" in names:
        return 1
    return 0 if names & {"HIRAGANA", "KATAKANA"} else 2
