"""How a film is divided into image boxes (Image Display Format, PS3.3 C.13.3)."""

from dataclasses import dataclass
from enum import StrEnum


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
    r"""A division that has been checked; `darkroom_print.planning.formats.parse_layout` makes it.

    Attributes:
        image_display_format: what a printer is asked for; in SHEET mode it is STANDARD\1,1.
        counts: columns and rows of STANDARD; boxes of each row of ROW, of each column of COL.
        areas: of CUSTOM.
    """

    kind: LayoutKind
    image_display_format: str
    counts: tuple[int, ...] = ()
    areas: tuple[Area, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageBox:
    """Where a box is on its film.

    Attributes:
        position: Image Box Position (2020,0010), from 1 (C.13.5.1).
        left, top, columns, rows: in pixels.
        left_mm, top_mm, width_mm, height_mm: the same in millimetres.
    """

    position: int
    left: int
    top: int
    columns: int
    rows: int
    left_mm: float
    top_mm: float
    width_mm: float
    height_mm: float
