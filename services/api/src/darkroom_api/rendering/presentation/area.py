"""Which part of an image is displayed, how large, and which way it is turned. Runs in workers."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from pydicom.dataset import Dataset

from darkroom_api.rendering.appearance import MOST_PIXELS, Viewport
from darkroom_api.rendering.scaling import scaled
from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.frame import FrameHeader
from darkroom_common.pixels.image import Image

_RIGHT: Final = 90
_TURNS: Final = (0, 90, 180, 270)
_MAX_ASPECT: Final = 100.0
Point = tuple[float, float]


@dataclass(frozen=True)
class Area:
    """The displayed area (PS3.3 C.10.4), in pixels of the image as it is stored.

    Attributes:
        left, top: of its first pixel, from 0.
        width, height: of it, which may go beyond the image.
        aspect: height of a pixel by its width.
        magnification: pixels of the display for one of the image; 0 when it is to fit.
    """

    left: float
    top: float
    width: float
    height: float
    aspect: float = 1.0
    magnification: float = 0.0

    @classmethod
    def of(cls, item: Dataset, shape: tuple[int, int]) -> Self:
        """Return the area of an item of Displayed Area Selection Sequence; all when it is empty.

        Raises:
            Unrenderable: it makes no sense.
        """
        header = FrameHeader(item, 1)
        corner = header.numbers("DisplayedAreaTopLeftHandCorner") or (1.0, 1.0)
        other = header.numbers("DisplayedAreaBottomRightHandCorner") or (shape[1], shape[0])
        spacing = header.numbers("PresentationPixelSpacing")
        ratio = spacing or header.numbers("PresentationPixelAspectRatio") or (1.0, 1.0)
        if len(corner) != len(other) or len(corner) != len(("column", "row")):
            raise Unrenderable("the displayed area of its presentation state makes no sense")
        if min(ratio) <= 0 or not 1 / _MAX_ASPECT <= ratio[0] / ratio[1] <= _MAX_ASPECT:
            raise Unrenderable("the pixels of its presentation state have no sensible shape")
        # The corners are those of the turned image, told in columns and rows of the stored one.
        left, right = sorted((corner[0], float(other[0])))
        top, bottom = sorted((corner[1], float(other[1])))
        magnified = header.word("PresentationSizeMode") == "MAGNIFY"
        times = (header.numbers("PresentationPixelMagnificationRatio") or (1.0,))[0]
        return cls(
            left - 1,
            top - 1,
            right - left + 1,
            bottom - top + 1,
            ratio[0] / ratio[1],
            times if magnified else 0.0,
        )


@dataclass(frozen=True)
class Turn:
    """A spatial transformation (PS3.3 C.10.6): clockwise, and then from left to right."""

    degrees: int = 0
    flipped: bool = False

    @classmethod
    def of(cls, state: Dataset) -> Self:
        """Return the turn of a presentation state.

        Raises:
            Unrenderable: it is not by right angles.
        """
        degrees = int(state.get("ImageRotation") or 0) % 360
        if degrees not in _TURNS:
            raise Unrenderable("its presentation state turns it by another angle than a right one")
        return cls(degrees, str(state.get("ImageHorizontalFlip") or "N").strip().upper() == "Y")

    @property
    def swaps(self) -> bool:
        """Whether rows become columns."""
        return self.degrees in _TURNS[1::2]

    def apply(self, pixels: Any) -> Any:
        """Return an image that is turned."""
        turned = np.rot90(pixels, -(self.degrees // _RIGHT))
        return np.ascontiguousarray(turned[:, ::-1] if self.flipped else turned)

    def moved(self, point: Point) -> Point:
        """Return where a point of an image comes to; both from 0 to 1."""
        x, y = point
        for _ in range(self.degrees // _RIGHT):
            x, y = 1.0 - y, x
        return (1.0 - x if self.flipped else x, y)


def fitted(image: Image, area: Area, turn: Turn, viewport: Viewport | None) -> Any:
    """Return the displayed area in the size that is asked for, and turned; beyond it is black.

    Raises:
        Unrenderable: it would be too large, or the area has nothing of the image.
    """
    width, height = area.width, area.height * area.aspect
    if viewport is None:
        scale = area.magnification or 1.0
    else:
        across, down = (height, width) if turn.swaps else (width, height)
        scale = min(viewport.columns / across, viewport.rows / down)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if max(size) > MOST_PIXELS:
        raise Unrenderable("it would be larger than images are made here")
    return turn.apply(_cut(image, area, size))


def _cut(image: Image, area: Area, size: tuple[int, int]) -> Any:
    """Return an area of an image scaled to a size."""
    rows, columns = image.pixels.shape[:2]
    left, top = max(0.0, area.left), max(0.0, area.top)
    right = min(float(columns), area.left + area.width)
    bottom = min(float(rows), area.top + area.height)
    if right - left <= 0 or bottom - top <= 0:
        raise Unrenderable("the displayed area of its presentation state is beside the image")
    across, down = size[0] / area.width, size[1] / area.height
    begin = (round((left - area.left) * across), round((top - area.top) * down))
    part = (max(1, round((right - left) * across)), max(1, round((bottom - top) * down)))
    part = (min(part[0], size[0] - begin[0]), min(part[1], size[1] - begin[1]))
    made = scaled(image.pixels, part, (left, top, right, bottom))
    if part == size:
        return made
    shown = np.zeros((size[1], size[0], *image.pixels.shape[2:]), np.float32)
    shown[begin[1] : begin[1] + part[1], begin[0] : begin[0] + part[0]] = made
    return shown
