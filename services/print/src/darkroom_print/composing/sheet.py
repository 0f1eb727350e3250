"""The bitmap of a whole film, in memory or in a file, and which box gets which picture."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from darkroom_common.films.film import Colour, FilmPlan
from darkroom_common.films.image_boxes import places
from darkroom_common.pixels.samples import OCTET
from darkroom_common.specs.film_layouts import InvalidLayout
from darkroom_print.composing.bitmap import Bitmap, Film, Pixels
from darkroom_print.images.picture import Picture


def arrange(plan: FilmPlan, pictures: Sequence[Picture]) -> tuple[int, ...]:
    """Return the position of each picture; those without one get the next that is free.

    Raises:
        InvalidLayout: there are more pictures than boxes, or two for one box.
    """
    boxes = {box.position for box in places(plan)}
    if len(pictures) > len(boxes):
        raise InvalidLayout(f"a film of this layout holds {len(boxes)} images")
    asked = [picture.position for picture in pictures if picture.position is not None]
    if len(set(asked)) < len(asked) or not boxes.issuperset(asked):
        raise InvalidLayout(f"positions of images are 1 to {len(boxes)}, each once")
    free = iter(sorted(boxes.difference(asked)))
    return tuple(
        next(free) if picture.position is None else picture.position for picture in pictures
    )


def sheet_shape(plan: FilmPlan) -> tuple[int, ...]:
    """Return the shape of a sheet's array."""
    shape = (plan.rows, plan.columns)
    return shape if plan.colour is Colour.MONOCHROME2 else (*shape, 3)


def sheet_type(plan: FilmPlan) -> str:
    """Return the type of a sheet's samples."""
    return "u1" if plan.bits == OCTET else "<u2"


def create_sheet(plan: FilmPlan, path: Path) -> Pixels:
    """Make a file for a sheet, with all the room that it needs, and map it.

    Raises:
        OSError: it cannot be made: there is no space.
    """
    size = math.prod(sheet_shape(plan)) * np.dtype(sheet_type(plan)).itemsize
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)  # else writing to a full disk is a SIGBUS
    finally:
        os.close(descriptor)
    return open_sheet(plan, path)


def open_sheet(plan: FilmPlan, path: Path) -> Pixels:
    """Map the file of a sheet, to write.

    Raises:
        OSError: it is not there.
    """
    return np.memmap(path, sheet_type(plan), "r+", shape=sheet_shape(plan))


def open_film(plan: FilmPlan, path: Path, filled: tuple[int, ...]) -> Film:
    """Map the file of a composed sheet, to read.

    Raises:
        OSError: it is not there.
    """
    pixels = np.memmap(path, sheet_type(plan), "r", shape=sheet_shape(plan))
    return Film(plan, Bitmap(1, pixels, plan.bits), places(plan), filled)
