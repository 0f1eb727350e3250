"""How an image is fitted into its box (PS3.3 C.13.5, Magnification Type)."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from darkroom_common.films.film import FilmPlan, Magnification
from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.image import Image
from darkroom_common.pixels.samples import is_colour

_ENLARGING: Final = {
    Magnification.NONE: Pillow.Resampling.BICUBIC,
    Magnification.REPLICATE: Pillow.Resampling.NEAREST,
    Magnification.BILINEAR: Pillow.Resampling.BILINEAR,
    Magnification.CUBIC: Pillow.Resampling.BICUBIC,
}
_REDUCING: Final = _ENLARGING | {Magnification.REPLICATE: Pillow.Resampling.BOX}
_TOLERANCE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Fit:
    """The pixels of film that an image gets, and how many millimetres of the object each is.

    Attributes:
        mm_per_pixel: across; None when the image has no spacing.
    """

    columns: int
    rows: int
    mm_per_pixel: float | None


def fit(image: Image, plan: FilmPlan, columns: int, rows: int) -> Fit:
    """Return the greatest size that keeps the aspect; with true size, that size.

    Args:
        image: what is fitted.
        plan: says how; its pixels need not be square.
        columns: of the room that there is.
        rows: of that room.

    Raises:
        Unrenderable: true size is asked for, and the spacing is not known or the box too small.
    """
    across, down = plan.pixels_per_mm
    # In units of an image's column, on square film pixels.
    height = image.pixels.shape[0] * image.aspect * down / across
    width = float(image.pixels.shape[1])
    scale = min(columns / width, rows / height)
    if plan.true_size:
        if image.spacing is None:
            raise Unrenderable("it says no pixel spacing, so it has no true size")
        true = image.spacing[1] * across
        if true > scale * (1 + _TOLERANCE) + 0.5 / width:
            raise Unrenderable("its box is too small for its true size")
        scale = true
    elif plan.magnification is Magnification.NONE:
        scale = min(scale, 1.0)
    fitted = (max(1, min(columns, round(width * scale))), max(1, min(rows, round(height * scale))))
    spacing = None if image.spacing is None else image.spacing[1] * width / fitted[0]
    return Fit(*fitted, spacing)


def scaled(image: Image, size: Fit, magnification: Magnification) -> npt.NDArray[np.float32]:
    """Return the image in the pixels of film, 0 to 1.

    Each direction that is made smaller is averaged over all of the image's pixels.
    """
    rows, columns = image.pixels.shape[:2]
    if (rows, columns) == (size.rows, size.columns):
        return image.pixels
    reduced = size.rows < rows or size.columns < columns
    method = (_REDUCING if reduced else _ENLARGING)[magnification]
    if not is_colour(image.pixels):
        return _resized(image.pixels, size, method)
    planes = [
        _resized(np.ascontiguousarray(image.pixels[..., sample]), size, method)
        for sample in range(image.pixels.shape[2])
    ]
    return np.stack(planes, axis=-1)


def _resized(
    plane: npt.NDArray[np.float32], size: Fit, method: Pillow.Resampling
) -> npt.NDArray[np.float32]:
    made = Pillow.fromarray(plane).resize((size.columns, size.rows), method)
    return np.clip(np.asarray(made, np.float32), 0.0, 1.0)
