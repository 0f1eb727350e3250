"""Where the image boxes of a film are (PS3.3 C.13.3, C.13.5.1)."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from darkroom_common.films.film import FilmPlan, Mode
from darkroom_common.films.image_box import ImageBox
from darkroom_common.specs.film_layouts import InvalidLayout, LayoutKind

_MOUNT_MM: Final = 50.0
_PICTURE_MM: Final = {LayoutKind.SLIDE: 35.0, LayoutKind.SUPERSLIDE: 40.0}


def pages(images: int, boxes: int) -> int:
    """Return how many films `images` need."""
    return -(-images // boxes)


LINE_SPACING: Final = 1.3


def line_rows(plan: FilmPlan) -> int:
    """Return the rows of pixels of one line of text."""
    return max(8, round(plan.text_mm * LINE_SPACING * plan.pixels_per_mm[1]))


def strip_rows(plan: FilmPlan, text: str) -> int:
    """Return the rows of pixels of a template's lines; none when it is empty."""
    lines = len(text.splitlines())
    return line_rows(plan) * lines + line_rows(plan) // 2 if lines else 0


def places(plan: FilmPlan) -> tuple[ImageBox, ...]:
    """Return the image boxes of a film, below its header and above its footer.

    Raises:
        InvalidLayout: there is no room for them.
    """
    if plan.mode is Mode.BOXES:
        return place_boxes(plan)
    return place_boxes(
        plan, above=strip_rows(plan, plan.header), below=strip_rows(plan, plan.footer)
    )


_Frame = tuple[int, int, int, int]
"""Left, top, columns and rows."""


def place_boxes(plan: FilmPlan, *, above: int = 0, below: int = 0) -> tuple[ImageBox, ...]:
    """Return the boxes of a film in order of position.

    Boxes that the standard calls equal have the same pixels; what does not divide evenly is left
    at the edges. SLIDE and SUPERSLIDE are squares of 35 and 40 mm, 50 mm apart, as many as fit.

    Args:
        plan: the film.
        above: rows at the top that are not for boxes.
        below: rows at the bottom that are not.

    Raises:
        InvalidLayout: there is no room for the boxes.
    """
    height = plan.rows - above - below
    if height < 1:
        raise InvalidLayout("the film has no room for these image boxes")
    if plan.mode is Mode.BOXES and plan.box_pixels and plan.layout.kind is LayoutKind.STANDARD:
        frames = _stated(plan)
    else:
        frames = list(_frames(plan, height))
    gap = _gap(plan)
    across, down = plan.pixels_per_mm
    boxes = []
    for position, (left, top, columns, rows) in enumerate(frames, 1):
        inner = (left + gap[0], top + above + gap[1], columns - 2 * gap[0], rows - 2 * gap[1])
        if min(inner[2:]) < 1:
            raise InvalidLayout("the film has no room for these image boxes")
        boxes.append(
            ImageBox(
                position,
                *inner,
                inner[0] / across,
                inner[1] / down,
                inner[2] / across,
                inner[3] / down,
            )
        )
    if not boxes:
        raise InvalidLayout("the film has no room for these image boxes")
    return tuple(boxes)


def _gap(plan: FilmPlan) -> tuple[int, int]:
    if plan.mode is Mode.BOXES:
        return (0, 0)
    across, down = plan.pixels_per_mm
    return (round(plan.gap_mm * across / 2), round(plan.gap_mm * down / 2))


def _stated(plan: FilmPlan) -> list[_Frame]:
    columns, rows = plan.box_pixels or (0, 0)
    across, down = plan.layout.counts
    if columns * across > plan.columns or rows * down > plan.rows:
        raise InvalidLayout("the stated image boxes are greater than the film")
    left, top = (plan.columns - columns * across) // 2, (plan.rows - rows * down) // 2
    return [
        (left + column * columns, top + row * rows, columns, rows)
        for row in range(down)
        for column in range(across)
    ]


def _frames(plan: FilmPlan, height: int) -> Iterator[_Frame]:
    layout, width = plan.layout, plan.columns
    match layout.kind:
        case LayoutKind.STANDARD:
            columns, rows = layout.counts
            yield from _lines(width, height, (columns,) * rows)
        case LayoutKind.ROW:
            yield from _lines(width, height, layout.counts)
        case LayoutKind.COL:
            for left, top, columns, rows in _lines(height, width, layout.counts):
                yield (top, left, rows, columns)
        case LayoutKind.SLIDE | LayoutKind.SUPERSLIDE:
            yield from _slides(plan, height)
        case LayoutKind.CUSTOM:
            for area in layout.areas:
                left, right = (round(edge * width) for edge in (area.left, area.left + area.width))
                top, bottom = (round(edge * height) for edge in (area.top, area.top + area.height))
                yield (left, top, min(right, width) - left, min(bottom, height) - top)


def _lines(width: int, height: int, counts: tuple[int, ...]) -> Iterator[_Frame]:
    for (top, bottom), count in zip(_cut(height, len(counts)), counts, strict=True):
        for left, right in _cut(width, count):
            yield (left, top, right - left, bottom - top)


def _cut(length: int, parts: int) -> list[tuple[int, int]]:
    """Cut a length into equal parts, the remainder at both ends."""
    size = length // parts
    start = (length - size * parts) // 2
    if not size:
        raise InvalidLayout("the film has no room for these image boxes")
    return list(pairwise(range(start, start + size * parts + 1, size)))


def _slides(plan: FilmPlan, height: int) -> Iterator[_Frame]:
    across, down = plan.pixels_per_mm
    picture = _PICTURE_MM[plan.layout.kind]
    size = (round(picture * across), round(picture * down))
    pitch = (_MOUNT_MM * across, _MOUNT_MM * down)
    counts = (int(plan.columns / pitch[0]), int(height / pitch[1]))
    start = [
        (length - count * step) / 2 + (step - side) / 2
        for length, count, step, side in zip(
            (plan.columns, height), counts, pitch, size, strict=True
        )
    ]
    for row in range(counts[1]):
        for column in range(counts[0]):
            left, top = round(start[0] + column * pitch[0]), round(start[1] + row * pitch[1])
            yield (left, top, *size)
