"""Display shutters (PS3.3 C.7.6.11, C.7.6.15). Runs in workers."""

from typing import Any, Final

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw
from pydicom.dataset import Dataset

from darkroom_common.pixels.frame import FrameHeader
from darkroom_common.pixels.overlay import overlay_mask

_MOST: Final = 65535.0
_LEAST_CORNERS: Final = 3


def close(state: Dataset, pixels: Any) -> None:
    """Cover what is outside of the shutters of a presentation state, each of which covers more.

    Args:
        state: the presentation state.
        pixels: of the image as stored, 0 to 1; they are changed.
    """
    header = FrameHeader(state, 1)
    shapes = state.get("ShutterShape") or ()
    names = [shapes] if isinstance(shapes, str) else [str(one) for one in shapes]
    rows, columns = pixels.shape[:2]
    open_ = np.ones((rows, columns), np.bool_)
    row, column = np.ogrid[1 : rows + 1, 1 : columns + 1]
    for name in (one.strip().upper() for one in names):
        if name == "RECTANGULAR":
            left = (header.numbers("ShutterLeftVerticalEdge") or (1,))[0]
            right = (header.numbers("ShutterRightVerticalEdge") or (columns,))[0]
            upper = (header.numbers("ShutterUpperHorizontalEdge") or (1,))[0]
            lower = (header.numbers("ShutterLowerHorizontalEdge") or (rows,))[0]
            open_ &= (column >= left) & (column <= right) & (row >= upper) & (row <= lower)
        elif name == "CIRCULAR":
            center = header.numbers("CenterOfCircularShutter")
            radius = header.numbers("RadiusOfCircularShutter")
            if len(center) > 1 and radius:  # row, column
                away = (row - center[0]) ** 2 + (column - center[1]) ** 2
                open_ &= away <= radius[0] ** 2
        elif name == "POLYGONAL":
            open_ &= _polygon(header.numbers("VerticesOfThePolygonalShutter"), rows, columns)
        elif name == "BITMAP":
            open_ &= ~_bitmap(state, (rows, columns))
    value = (header.numbers("ShutterPresentationValue") or (0.0,))[0] / _MOST
    pixels[~open_] = np.float32(min(max(value, 0.0), 1.0))


def _polygon(vertices: tuple[float, ...], rows: int, columns: int) -> Any:
    points = [
        (column - 1, row - 1) for row, column in zip(vertices[::2], vertices[1::2], strict=False)
    ]
    if len(points) < _LEAST_CORNERS:
        return np.ones((rows, columns), np.bool_)
    mask = Pillow.new("1", (columns, rows))
    ImageDraw.Draw(mask).polygon(points, fill=1, outline=1)
    return np.asarray(mask, np.bool_)


def _bitmap(state: Dataset, shape: tuple[int, int]) -> Any:
    group = int(state.get("ShutterOverlayGroup") or 0)
    overlay = state.group_dataset(group)
    mask = overlay_mask(overlay, 1, shape)
    return np.zeros(shape, np.bool_) if mask is None else mask
