"""Overlay planes (PS3.3 C.9.2)."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.overlays.numpy_handler import get_overlay_array

from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.samples import Samples

Mask = npt.NDArray[np.bool_]
_GROUPS: Final = range(0x6000, 0x6020, 2)


def overlay_mask(dataset: Dataset, frame: int, shape: tuple[int, int]) -> Mask | None:
    """Return where the overlays of a frame draw; None when it has none.

    Overlays within unused bits of the pixels (retired) are not drawn.

    Args:
        dataset: the image.
        frame: from 1.
        shape: rows and columns of the image.

    Raises:
        Unrenderable: an overlay is not what it says.
    """
    found = None
    for group in _GROUPS:
        if (group, 0x3000) not in dataset:
            continue
        mask: Mask = np.zeros(shape, np.bool_) if found is None else found
        try:
            for plane, top, left in _planes(dataset, group, frame):
                _paste(mask, plane, top, left)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise Unrenderable("an overlay of it cannot be drawn") from error
        found = mask
    return found


def _planes(dataset: Dataset, group: int, frame: int) -> Iterator[tuple[Samples, int, int]]:
    planes = np.asarray(get_overlay_array(dataset, group))
    planes = planes.reshape((-1, *planes.shape[-2:]))
    origin = _value(dataset, group, 0x0050)
    top, left = (int(value) - 1 for value in origin) if origin else (0, 0)
    first = int(_value(dataset, group, 0x0051) or 1)
    several = _value(dataset, group, 0x0015) is not None
    number = frame - first if several else 0
    if 0 <= number < len(planes):
        yield planes[number], top, left


def _value(dataset: Dataset, group: int, element: int) -> Any:
    return dataset[group, element].value if (group, element) in dataset else None


def _paste(mask: Mask, plane: Samples, top: int, left: int) -> None:
    """Draw a plane at its origin, which may be outside the image."""
    bottom, right = min(len(mask), top + len(plane)), min(len(mask[0]), left + len(plane[0]))
    up, start = max(0, top), max(0, left)
    if min(bottom - up, right - start) > 0:
        drawn = plane[up - top : bottom - top, start - left : right - left]
        mask[up:bottom, start:right] |= drawn > 0
