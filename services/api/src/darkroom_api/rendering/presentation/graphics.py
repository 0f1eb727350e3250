"""Graphic annotations burned into an image (PS3.3 C.10.5, C.10.7). Runs in workers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw
from pydicom.dataset import Dataset

from darkroom_api.rendering.legend import write_lines
from darkroom_api.rendering.presentation.area import Area, Point, Turn
from darkroom_common.pixels.frame import FrameHeader

Octets = npt.NDArray[np.uint8]
_DISPLAY: Final = "DISPLAY"
_WHITE: Final = 255
_MOST: Final = 65535
_STEPS: Final = 96
"""Straight pieces of a circle, and of a curve between two points, together with the next, of"""
_BETWEEN: Final = 12
_LINE: Final = 512
"""Rows of a picture for each pixel of a line's width."""
_LETTER: Final = 32
_SMALLEST: Final = 10
_SPACED: Final = 1.3
_PAIR: Final = 2
_AXES: Final = 4


@dataclass(frozen=True)
class _Sheet:
    """A picture, and where on it points of an annotation are."""

    picture: Octets
    area: Area
    turn: Turn

    def at(self, point: Point, units: str) -> Point:
        """Return the place of a point, in pixels of the picture."""
        rows, columns = self.picture.shape[:2]
        x, y = point
        if units != _DISPLAY:
            area = self.area
            x, y = self.turn.moved(((x - area.left) / area.width, (y - area.top) / area.height))
        return x * columns, y * rows


def draw_graphics(
    picture: Octets,
    annotations: Sequence[Dataset],
    layers: Sequence[Dataset],
    area: Area,
    turn: Turn,
) -> None:
    """Draw annotations on a picture, one layer over the other.

    Args:
        picture: is changed.
        annotations: items of the Graphic Annotation Sequence.
        layers: items of the Graphic Layer Sequence.
        area: that the picture shows.
        turn: how it is turned.
    """
    by_name = {str(one.get("GraphicLayer") or "").strip(): one for one in layers}
    sheet = _Sheet(picture, area, turn)

    def layer_of(item: Dataset) -> Dataset:
        return by_name.get(str(item.get("GraphicLayer") or "").strip(), Dataset())

    for item in sorted(
        annotations, key=lambda one: int(layer_of(one).get("GraphicLayerOrder") or 0)
    ):
        grey = layer_of(item).get("GraphicLayerRecommendedDisplayGrayscaleValue")
        ink = _WHITE if grey is None else round(int(grey) / _MOST * _WHITE)
        for graphic in item.get("GraphicObjectSequence") or []:
            _graphic(sheet, graphic, ink)
        for text in item.get("TextObjectSequence") or []:
            _text(sheet, text)


def _graphic(sheet: _Sheet, item: Dataset, ink: int) -> None:
    header = FrameHeader(item, 1)
    numbers = header.numbers("GraphicData")
    points = list(zip(numbers[::2], numbers[1::2], strict=False))
    if not points:
        return
    units, kind = header.word("GraphicAnnotationUnits"), header.word("GraphicType")
    line = [sheet.at(point, units) for point in _outline(kind, points)]
    filled = header.word("GraphicFilled") == "Y"
    image = Pillow.fromarray(sheet.picture)
    pen = ImageDraw.Draw(image)
    colour: Any = ink if image.mode == "L" else (ink, ink, ink)
    width = max(1, sheet.picture.shape[0] // _LINE)
    if kind == "POINT":
        x, y = line[0]
        pen.ellipse((x - width, y - width, x + width, y + width), fill=colour)
    elif filled and len(line) > _PAIR:
        pen.polygon(line, fill=colour)
    else:
        pen.line(line, fill=colour, width=width)
    sheet.picture[...] = np.asarray(image)


def _outline(kind: str, points: list[Point]) -> Iterable[Point]:
    """Return the points of a line that looks like a graphic (C.10.5.2)."""
    if kind == "CIRCLE" and len(points) >= _PAIR:
        (x, y), (other_x, other_y) = points[:_PAIR]
        radius = math.hypot(other_x - x, other_y - y)
        return _round((x, y), (radius, 0.0), (0.0, radius))
    if kind == "ELLIPSE" and len(points) >= _AXES:
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = points[:_AXES]
        center = ((ax + bx) / 2, (ay + by) / 2)
        return _round(center, ((bx - ax) / 2, (by - ay) / 2), ((dx - cx) / 2, (dy - cy) / 2))
    if kind == "INTERPOLATED" and len(points) > _PAIR:
        return _curve(points)
    return points


def _round(center: Point, one: Point, other: Point) -> list[Point]:
    """Return an ellipse by the halves of its axes."""
    angles = [2 * math.pi * step / _STEPS for step in range(_STEPS + 1)]
    return [
        (
            center[0] + one[0] * math.cos(angle) + other[0] * math.sin(angle),
            center[1] + one[1] * math.cos(angle) + other[1] * math.sin(angle),
        )
        for angle in angles
    ]


def _curve(points: list[Point]) -> list[Point]:
    """Return a smooth line through points (Catmull and Rom)."""
    closed = points[0] == points[-1]
    before = points[-2] if closed else points[0]
    behind = points[1] if closed else points[-1]
    given = np.array([before, *points, behind], np.float64)
    found: list[Point] = [points[0]]
    for a, b, c, d in zip(given, given[1:], given[2:], given[3:], strict=False):
        for step in range(1, _BETWEEN + 1):
            t = step / _BETWEEN
            square, cube = 2 * a - 5 * b + 4 * c - d, 3 * b - a - 3 * c + d
            x, y = 0.5 * (2 * b + (c - a) * t + square * t**2 + cube * t**3)
            found.append((float(x), float(y)))
    return found


def _text(sheet: _Sheet, item: Dataset) -> None:
    header = FrameHeader(item, 1)
    lines = str(item.get("UnformattedTextValue") or "").replace("\r\n", "\n").splitlines()
    corners = [
        header.numbers(name)
        for name in ("BoundingBoxTopLeftHandCorner", "BoundingBoxBottomRightHandCorner")
    ]
    anchor = header.numbers("AnchorPoint")
    if not lines:
        return
    rows = sheet.picture.shape[0]
    size = max(_SMALLEST, rows // _LETTER)
    if all(len(one) >= _PAIR for one in corners):
        units = header.word("BoundingBoxAnnotationUnits")
        places = [sheet.at((one[0], one[1]), units) for one in corners]
        left, top = min(x for x, _ in places), min(y for _, y in places)
        room = abs(places[0][1] - places[1][1]) / len(lines) / _SPACED
        size = max(_SMALLEST, min(size, round(room))) if room >= 1 else size
    elif len(anchor) >= _PAIR:
        left, top = sheet.at((anchor[0], anchor[1]), header.word("AnchorPointAnnotationUnits"))
    else:
        return
    write_lines(sheet.picture, lines, size, top=round(top), left=max(0, round(left)))
