"""Parts of images in another size. Runs in workers."""

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from darkroom_common.pixels.samples import is_colour

Shown = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part, in pixels."""


def scaled(pixels: Shown, size: tuple[int, int], box: Box) -> Shown:
    """Return a part of an image in a size of columns and rows."""
    planes = pixels if is_colour(pixels) else pixels[..., np.newaxis]
    made = [_resized(planes[..., sample], size, box) for sample in range(planes.shape[2])]
    return made[0] if len(made) == 1 else np.stack(made, axis=-1)


def _resized(plane: Shown, size: tuple[int, int], box: Box) -> Shown:
    whole = box == (0.0, 0.0, float(plane.shape[1]), float(plane.shape[0]))
    if whole and size == (plane.shape[1], plane.shape[0]):
        return plane
    source = Pillow.fromarray(np.ascontiguousarray(plane))
    made = source.resize(size, Pillow.Resampling.BILINEAR, box=box)
    return np.clip(np.asarray(made, np.float32), 0.0, 1.0)
