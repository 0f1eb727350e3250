"""Image Display Formats and the names of layouts (PS3.3 C.13.3)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from darkroom_common.errors import PermanentError

_COLUMNS_AND_ROWS: Final = 2  # of STANDARD\C,R
MAX_BOXES: Final = 400
_NAMES: Final = {"single": (1, 1), "contact": (4, 4)}
_TOLERANCE: Final = 1e-6
_COUNTS: Final = r"[1-9]\d{0,2}(?:,[1-9]\d{0,2})*"


class LayoutKind(StrEnum):
    """The kinds of Image Display Format (2010,0010)."""

    STANDARD = "STANDARD"
    ROW = "ROW"
    COL = "COL"
    SLIDE = "SLIDE"
    SUPERSLIDE = "SUPERSLIDE"
    CUSTOM = "CUSTOM"


@dataclass(frozen=True, slots=True)
class Area:
    """A box of a layout of one's own, in fractions of the film's width and height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    r"""A division that has been checked; `parse_layout` makes it.

    Attributes:
        image_display_format: what a printer is asked for; in SHEET mode it is STANDARD\1,1.
        counts: columns and rows of STANDARD; boxes of each row of ROW, of each column of COL.
        areas: of CUSTOM.
    """

    kind: LayoutKind
    image_display_format: str
    counts: tuple[int, ...] = ()
    areas: tuple[Area, ...] = ()


class InvalidLayout(PermanentError, ValueError):
    """A layout cannot be used. The text says why."""


def parse_layout(text: str, own: Mapping[str, Sequence[Area]] | None = None) -> Layout:
    r"""Return the layout of an Image Display Format or of a name.

    Args:
        text: `STANDARD\C,R`, `ROW\R1,R2`, `COL\C1,C2`, `SLIDE`, `SUPERSLIDE`, `CUSTOM\i`; or
            `single`, `contact`, `CxR` such as `2x2`, rows such as `1+3`, or a name of `own`.
        own: layouts of one's own; those of `CUSTOM\i` are called `i`.

    Raises:
        InvalidLayout: it is none of these, or its boxes leave the film or lie on one another.
    """
    own = own or {}
    if text in own:
        return _own(text, own[text])
    if text in _NAMES:
        return _standard(*_NAMES[text])
    if match := re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text):
        return _standard(int(match[1]), int(match[2]))
    if re.fullmatch(r"[1-9]\d?(?:\+[1-9]\d?)+", text):
        return _counted(LayoutKind.ROW, text.replace("+", ","))
    return _display_format(text, own)


def _display_format(text: str, own: Mapping[str, Sequence[Area]]) -> Layout:
    kind, _, rest = text.partition("\\")
    match kind:
        case "STANDARD" if len(counts := _numbers(rest)) == _COLUMNS_AND_ROWS:
            return _standard(*counts)
        case "ROW" | "COL" if _numbers(rest):
            return _counted(LayoutKind(kind), rest)
        case "SLIDE" | "SUPERSLIDE" if not rest:
            return Layout(LayoutKind(kind), kind)
        case "CUSTOM" if rest in own:
            return _own(rest, own[rest])
        case "CUSTOM":
            raise InvalidLayout("the printer has no such CUSTOM layout")
    raise InvalidLayout(
        "a layout is STANDARD\\C,R, ROW\\R1,R2.., COL\\C1,C2.., SLIDE, SUPERSLIDE,"
        " CUSTOM\\i, or a name such as single, 2x2, 1+3, 4x4"
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if re.fullmatch(_COUNTS, text) else ()


def _standard(columns: int, rows: int) -> Layout:
    _limit(columns * rows)
    counts = (columns, rows)
    return Layout(LayoutKind.STANDARD, f"STANDARD\\{columns},{rows}", counts)


def _counted(kind: LayoutKind, counts: str) -> Layout:
    numbers = _numbers(counts)
    _limit(sum(numbers))
    return Layout(kind, f"{kind}\\{counts}", numbers)


def _limit(boxes: int) -> None:
    if not 1 <= boxes <= MAX_BOXES:
        raise InvalidLayout(f"a film has 1 to {MAX_BOXES} image boxes")


def _own(name: str, areas: Sequence[Area]) -> Layout:
    _limit(len(areas))
    for area in areas:
        inside = (
            min(area.left, area.top) >= 0
            and min(area.width, area.height) > 0
            and max(area.left + area.width, area.top + area.height) <= 1 + _TOLERANCE
        )
        if not inside:
            raise InvalidLayout("a box of the layout is not within the film")
    for number, area in enumerate(areas):
        if any(_overlap(area, other) for other in areas[:number]):
            raise InvalidLayout("two boxes of the layout lie on one another")
    return Layout(LayoutKind.CUSTOM, f"CUSTOM\\{name}", areas=tuple(areas))


def _overlap(one: Area, two: Area) -> bool:
    return (
        min(one.left + one.width, two.left + two.width) - max(one.left, two.left) > _TOLERANCE
        and min(one.top + one.height, two.top + two.height) - max(one.top, two.top) > _TOLERANCE
    )
