"""Where the boxes of a film are."""

from dataclasses import dataclass


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
