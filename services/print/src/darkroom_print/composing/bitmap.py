"""What goes to a printer, and the film that it makes."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from darkroom_common.films.film import FilmPlan
from darkroom_common.films.image_box import ImageBox

Pixels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Bitmap:
    """The pixels of an image box, or of a film that is one.

    Attributes:
        position: Image Box Position (2020,0010).
        pixels: (rows, columns), or (rows, columns, 3) of RGB; uint8 when `bits` is 8, else uint16;
            0 is black.
        bits: Bits Stored.
    """

    position: int
    pixels: Pixels
    bits: int


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """A composed film.

    Attributes:
        sheet: all of it, as one bitmap.
        boxes: the image boxes in order of position, views of the sheet: what a printer gets in
            BOXES mode. Empty boxes are not among them.
        unprintable: characters that no font has; a box stands for each.
        warnings: what of the headers of its images could not be followed, in words.
    """

    plan: FilmPlan
    sheet: Bitmap
    places: tuple[ImageBox, ...]
    filled: tuple[int, ...]
    unprintable: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def boxes(self) -> tuple[Bitmap, ...]:
        """The bitmaps of the boxes that hold an image."""
        return tuple(
            Bitmap(
                box.position,
                self.sheet.pixels[box.top : box.top + box.rows, box.left : box.left + box.columns],
                self.sheet.bits,
            )
            for box in self.places
            if box.position in self.filled
        )
