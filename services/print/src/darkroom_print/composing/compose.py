"""Composes films: pictures into boxes, boxes onto a sheet."""

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from darkroom_common.films.film import Density, FilmPlan, Mode
from darkroom_common.films.image_box import ImageBox
from darkroom_common.films.image_boxes import LINE_SPACING, line_rows, places, strip_rows
from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.image import Image
from darkroom_common.pixels.samples import is_colour
from darkroom_common.pixels.template import filled
from darkroom_common.pixels.text import draw_line
from darkroom_print.composing.bitmap import Bitmap, Film, Pixels
from darkroom_print.composing.density import level, printed
from darkroom_print.composing.exchange import CannotCompose, Drawn, in_words
from darkroom_print.composing.scale_bar import draw_bar, scale_bar
from darkroom_print.composing.scaling import Fit, fit, scaled
from darkroom_print.composing.sheet import arrange, sheet_shape, sheet_type
from darkroom_print.images.image import read_dataset, render
from darkroom_print.images.picture import Picture


def compose(plan: FilmPlan, pictures: Sequence[Picture]) -> Film:
    """Return a film, composed in this process: for images that are trusted, and for tests.

    Raises:
        CannotCompose: an image cannot be shown as the plan wants.
        InvalidLayout: the film has no room for its boxes, or too few for the pictures.
        OSError: a file cannot be read.
    """
    positions = arrange(plan, pictures)
    sheet = np.empty(sheet_shape(plan), sheet_type(plan))
    page = draw_page(plan, sheet, pictures[0] if pictures else None, positions)
    boxes: list[Drawn] = []
    for index, (picture, position) in enumerate(zip(pictures, positions, strict=True)):
        try:
            boxes.append(draw_box(plan, sheet, picture, position))
        except Unrenderable as error:
            raise CannotCompose(str(error), index) from error
    unprintable = page + sum(box.unprintable for box in boxes)
    bitmap = Bitmap(1, sheet, plan.bits)
    return Film(plan, bitmap, places(plan), positions, unprintable, in_words(boxes))


def draw_page(
    plan: FilmPlan, sheet: Pixels, first: Picture | None, positions: tuple[int, ...]
) -> int:
    """Draw all of a sheet but the pictures; return how many characters no font has.

    Args:
        plan: the film.
        sheet: its samples, which are overwritten.
        first: the picture of which header and footer speak.
        positions: of the boxes that get a picture; the others are empty.

    Raises:
        Unrenderable: the first picture cannot be read.
        OSError: its file cannot be read.
    """
    border = level(plan.border_density, plan)
    sheet[:] = border
    empty = level(plan.empty_image_density, plan)
    for box in places(plan):
        if box.position not in positions and empty != border:
            _inside(sheet, box)[:] = empty
        if plan.trim and plan.mode is Mode.SHEET:
            _frame(_inside(sheet, box), _ink(plan))
    if plan.mode is Mode.BOXES or not (plan.header or plan.footer):
        return 0
    dataset = read_dataset(first) if first else None
    above, below = strip_rows(plan, plan.header), strip_rows(plan, plan.footer)
    unprintable = _write(plan, sheet[:above], filled(plan.header, dataset))
    return unprintable + _write(plan, sheet[plan.rows - below :], filled(plan.footer, dataset))


def draw_box(plan: FilmPlan, sheet: Pixels, picture: Picture, position: int) -> Drawn:
    """Draw a picture into its box of a sheet; return what there is to say of it.

    Raises:
        Unrenderable: it cannot be shown as the plan wants.
        OSError: its file cannot be read.
    """
    box = next(one for one in places(plan) if one.position == position)
    dataset = read_dataset(picture)
    image = render(dataset, picture, overlays=plan.overlays)
    area = _inside(sheet, box)
    if plan.trim and plan.mode is Mode.SHEET:
        area = area[1:-1, 1:-1]
    room, unprintable = _annotate(plan, area, dataset)
    bar_rows = line_rows(plan) if plan.scale_bar else 0
    room, strip = room[: len(room) - bar_rows], room[len(room) - bar_rows :]
    if min(room.shape[:2]) < 1:
        raise Unrenderable("its box has no room beside its text")
    size = fit(image, plan, room.shape[1], room.shape[0])
    top, left = (room.shape[0] - size.rows) // 2, (room.shape[1] - size.columns) // 2
    room[top : top + size.rows, left : left + size.columns] = printed(
        scaled(image, size, plan.magnification), plan
    )
    if bar_rows:
        unprintable += _scale(plan, strip[:, left:], image, size)
    return Drawn(unprintable, image.warnings)


def _annotate(plan: FilmPlan, area: Pixels, dataset: Dataset) -> tuple[Pixels, int]:
    """Write the lines of a box above and below its image; return what is left between them."""
    below = [plan.patient_box]
    above = ""
    if plan.mode is Mode.BOXES:
        above = plan.header
        below.append(plan.footer)
    top = strip_rows(plan, above)
    bottom = sum(strip_rows(plan, text) for text in below)
    if top + bottom >= len(area):
        raise Unrenderable("its box has no room beside its text")
    unprintable = _write(plan, area[:top], filled(above, dataset))
    start = len(area) - bottom
    for text in below:
        rows = strip_rows(plan, text)
        unprintable += _write(plan, area[start : start + rows], filled(text, dataset))
        start += rows
    return area[top : len(area) - bottom], unprintable


def _write(plan: FilmPlan, strip: Pixels, lines: Sequence[str]) -> int:
    """Write lines into a strip, one below the other."""
    rows = line_rows(plan)
    margin = rows // 4
    unprintable = 0
    for number, line in enumerate(lines):
        part = strip[margin + number * rows :][:rows]
        part = part[:, margin : part.shape[1] - margin]
        if line and min(part.shape[:2]) > 0:
            unprintable += _draw(plan, part, line)
    return unprintable


def _draw(plan: FilmPlan, part: Pixels, line: str) -> int:
    size = max(6, int(line_rows(plan) / LINE_SPACING))
    drawn = draw_line(line, rows=part.shape[0], columns=part.shape[1], size=size)
    mask = drawn.mask.astype(np.int64)
    if is_colour(part):
        mask = mask[..., np.newaxis]
    below = part.astype(np.int64)
    part[:] = (below * (255 - mask) + _ink(plan) * mask + 127) // 255
    return drawn.unprintable


def _scale(plan: FilmPlan, strip: Pixels, image: Image, size: Fit) -> int:
    if size.mm_per_pixel is None:
        return 0
    bar = scale_bar(size.mm_per_pixel, size.columns, detector=image.detector)
    if bar is None:
        return 0
    draw_bar(bar, strip, _ink(plan))
    label = strip[:, bar.columns + line_rows(plan) // 2 :]
    return _draw(plan, label, bar.label) if label.shape[1] > 0 else 0


def _inside(sheet: Pixels, box: ImageBox) -> Pixels:
    return sheet[box.top : box.top + box.rows, box.left : box.left + box.columns]


def _frame(area: Pixels, ink: int) -> None:
    area[[0, -1]] = ink
    area[:, [0, -1]] = ink


def _ink(plan: FilmPlan) -> int:
    """Return the sample that is seen on the border."""
    return plan.white if plan.border_density is Density.BLACK else 0
