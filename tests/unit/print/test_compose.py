import random
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_common.films.film import (
    FILM_SIZES,
    Colour,
    Density,
    FilmPlan,
    Magnification,
    Mode,
    Polarity,
)
from darkroom_common.films.image_boxes import places
from darkroom_common.pixels.image import Image
from darkroom_common.specs.film_layouts import InvalidLayout, parse_layout
from darkroom_print.composing.compose import compose
from darkroom_print.composing.exchange import BoxTask, CannotCompose, PageTask
from darkroom_print.composing.scaling import fit, scaled
from darkroom_print.composing.worker import answer
from darkroom_print.images.picture import Picture
from tests.support.real_files import REAL_FILES
from tests.unit.print.images import a_file, a_ramp, an_image


def a_plan(layout: str = "2x2", **options: Any) -> FilmPlan:
    """Return a film of 400 by 500 pixels."""
    return FilmPlan(FILM_SIZES["8INX10IN"], parse_layout(layout), **({"dpi": 50.0} | options))


def plain(path: Path, level: int, **header: Any) -> Picture:
    """Return a picture that is one level of 255 all over."""
    return Picture(a_file(path, an_image(np.full((20, 20), level, np.uint8), bits=8, **header)))


@pytest.mark.req("PRN-02")
@pytest.mark.parametrize("mode", list(Mode))
def test_every_image_is_placed_once_in_its_box(tmp_path: Path, mode: Mode) -> None:
    levels = (10, 20, 30, 40)
    pictures = [plain(tmp_path / f"{level}.dcm", level) for level in levels]
    film = compose(a_plan(mode=mode), pictures)
    assert [box.position for box in film.boxes] == [1, 2, 3, 4]
    for box, level in zip(film.boxes, levels, strict=True):
        inside = box.pixels[25:225]  # 200 of 250 rows: it is square
        assert np.unique(inside).tolist() == [level]
        assert np.count_nonzero(film.sheet.pixels == level) == inside.size
        assert np.shares_memory(box.pixels, film.sheet.pixels)
    assert np.unique(film.sheet.pixels).tolist() == [0, *levels]


@pytest.mark.parametrize("mode", list(Mode))
def test_a_picture_that_fills_its_box_has_its_last_row_and_column(
    tmp_path: Path, mode: Mode
) -> None:
    pixels = np.full((25, 20), 90, np.uint8)  # as the boxes are: 200 by 250
    pictures = [Picture(a_file(tmp_path / f"{n}.dcm", an_image(pixels, bits=8))) for n in range(4)]
    film = compose(a_plan(mode=mode), pictures)
    assert [box.pixels.shape for box in film.boxes] == [(250, 200)] * 4
    assert np.unique(film.sheet.pixels).tolist() == [90]


def test_pictures_may_name_their_box_and_the_others_stay_empty(tmp_path: Path) -> None:
    first = plain(tmp_path / "a.dcm", 50)
    third = Picture(plain(tmp_path / "b.dcm", 60).path, position=1)
    film = compose(a_plan(empty_image_density=Density.WHITE), [first, third])
    assert film.filled == (2, 1)
    assert [np.unique(box.pixels[125]).tolist() for box in film.boxes] == [[60], [50]]
    empty = film.places[2]
    assert (film.sheet.pixels[empty.top :, : empty.columns] == 255).all()
    with pytest.raises(InvalidLayout):
        compose(a_plan(), [third, third])
    with pytest.raises(InvalidLayout):
        compose(a_plan(), [first] * 5)


@pytest.mark.req("PRN-08")
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_twelve_bits_stay_twelve_bits(tmp_path: Path, bits: int) -> None:
    levels = 1 << min(bits, 12)
    ramp = a_ramp(250, 200, levels)
    picture = Picture(a_file(tmp_path / "ramp.dcm", an_image(ramp, bits=12)))
    film = compose(a_plan("single", bits=bits, printable=(200, 250)), [picture])
    assert film.sheet.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert len(np.unique(film.sheet.pixels)) == levels
    assert film.sheet.pixels.max() == (1 << bits) - 1
    if levels == 1 << bits:
        assert np.array_equal(film.sheet.pixels, ramp)


@pytest.mark.req("PRN-02")
def test_reverse_polarity_turns_the_image_not_the_border(tmp_path: Path) -> None:
    film = compose(a_plan("single", polarity=Polarity.REVERSE), [plain(tmp_path / "a.dcm", 55)])
    assert np.unique(film.sheet.pixels).tolist() == [0, 200]
    white = compose(a_plan("single", border_density=Density.WHITE), [plain(tmp_path / "a.dcm", 55)])
    assert np.unique(white.sheet.pixels).tolist() == [55, 255]


@pytest.mark.req("PRN-02")
def test_trim_frames_each_box(tmp_path: Path) -> None:
    film = compose(a_plan(trim=True), [plain(tmp_path / "a.dcm", 55)])
    for box in film.places:
        part = film.sheet.pixels[box.top :, box.left :][: box.rows, : box.columns]
        assert all((edge == 255).all() for edge in (part[0], part[-1], part[:, 0], part[:, -1]))
        assert (part[1:-1, 1:-1] < 255).all()


def a_dot(size: int) -> Image:
    pixels = np.zeros((size, size), np.float32)
    pixels[size // 2, size // 2] = 1
    return Image(pixels, None, detector=False, aspect=1.0)


@pytest.mark.req("PRN-02")
def test_magnification_types_enlarge_as_they_say() -> None:
    dot = a_dot(5)
    sizes = {}
    for kind in Magnification:
        plan = a_plan("single", magnification=kind)
        size = fit(dot, plan, 50, 50)
        made = scaled(dot, size, kind)
        sizes[kind] = (made.shape[0], len(np.unique(made)), float(made.max()))
    assert sizes[Magnification.NONE] == (5, 2, 1.0)
    assert sizes[Magnification.REPLICATE] == (50, 2, 1.0)
    assert sizes[Magnification.BILINEAR][0] == 50
    assert sizes[Magnification.BILINEAR][1] > 10
    assert sizes[Magnification.CUBIC][1] > 10


@pytest.mark.parametrize("kind", list(Magnification))
def test_making_smaller_loses_no_pixel(kind: Magnification) -> None:
    """A single bright pixel keeps its share of light, wherever it is."""
    for offset in range(4):
        pixels = np.zeros((64, 64), np.float32)
        pixels[32 + offset, 32 + offset] = 1
        image = Image(pixels, None, detector=False, aspect=1.0)
        made = scaled(image, fit(image, a_plan("single"), 16, 16), kind)
        assert made.shape == (16, 16)
        assert 0.8 / 16 < made.sum() < 1.4 / 16


SHAPES = st.tuples(st.integers(1, 300), st.integers(1, 300), st.floats(0.2, 5))


@pytest.mark.req("PRN-02")
@given(
    SHAPES,
    st.tuples(st.integers(20, 800), st.integers(20, 800)),
    st.sampled_from([(400, 500), (800, 500), (400, 900)]),
)
def test_the_aspect_is_kept_and_the_box_filled(
    shape: tuple[int, int, float], room: tuple[int, int], printable: tuple[int, int]
) -> None:
    rows, columns, aspect = shape
    image = Image(np.zeros((rows, columns), np.float32), None, detector=False, aspect=aspect)
    plan = a_plan("single", printable=printable)
    size = fit(image, plan, *room)
    assert 1 <= size.columns <= room[0]
    assert 1 <= size.rows <= room[1]
    assert size.columns == room[0] or size.rows == room[1]
    across, down = plan.pixels_per_mm
    ratio = rows * aspect * down / (columns * across)
    rounding = 0.5 + 0.5 * ratio + 1e-6  # half a pixel each way
    assert abs(size.rows - size.columns * ratio) <= rounding or 1 in (size.rows, size.columns)


@pytest.mark.req("PRN-02")
def test_true_size_is_millimetre_for_millimetre(tmp_path: Path) -> None:
    ds = an_image(np.full((100, 200), 90, np.uint8), bits=8, PixelSpacing=[0.5, 0.5])
    picture = Picture(a_file(tmp_path / "a.dcm", ds))
    film = compose(a_plan("single", true_size=True, dpi=254), [picture])  # 10 pixels a millimetre
    where = np.argwhere(film.sheet.pixels == 90)
    assert (where.max(0) - where.min(0) + 1).tolist() == [500, 1000]
    with pytest.raises(CannotCompose, match="image 1: its box is too small"):
        compose(a_plan("4x4", true_size=True, dpi=254), [picture])
    with pytest.raises(CannotCompose, match="no pixel spacing"):
        compose(a_plan("single", true_size=True), [plain(tmp_path / "b.dcm", 1)])


@pytest.mark.req("PRN-02")
def test_colour_films_and_colour_images(tmp_path: Path) -> None:
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 0] = 255
    pictures = [
        Picture(a_file(tmp_path / "red.dcm", an_image(red))),
        plain(tmp_path / "grey.dcm", 99),
    ]
    film = compose(a_plan("2x1", colour=Colour.RGB), pictures)
    assert film.sheet.pixels.shape == (500, 400, 3)
    assert film.boxes[0].pixels[250, 100].tolist() == [255, 0, 0]
    assert film.boxes[1].pixels[250, 100].tolist() == [99, 99, 99]
    grey = compose(a_plan("2x1", bits=12), pictures)
    assert grey.boxes[0].pixels[250, 100] == round(0.299 * 4095)


@pytest.mark.req("PRN-03")
def test_header_and_footer_are_beside_the_boxes_of_a_sheet(tmp_path: Path) -> None:
    picture = plain(tmp_path / "a.dcm", 55, PatientName="Doe^Jane")
    plan = a_plan(header="{PatientName}\nsecond", footer="foot", dpi=100)
    film = compose(plan, [picture])
    top, bottom = film.places[0].top, film.places[-1].top + film.places[-1].rows
    assert film.sheet.pixels[:top].max() == 255
    assert film.sheet.pixels[bottom:].max() == 255
    assert film.sheet.pixels[top:bottom].max() == 55
    other = compose(plan, [plain(tmp_path / "b.dcm", 55, PatientName="Roe^Richard")])
    assert not np.array_equal(film.sheet.pixels[:top], other.sheet.pixels[:top])
    assert np.array_equal(film.sheet.pixels[bottom:], other.sheet.pixels[bottom:])


@pytest.mark.req("PRN-03")
def test_header_and_footer_are_within_each_box_when_the_printer_arranges(tmp_path: Path) -> None:
    pictures = [plain(tmp_path / f"{n}.dcm", 55, InstanceNumber=n) for n in (1, 2)]
    plan = a_plan(header="head", footer="foot", patient_box="{InstanceNumber}", mode=Mode.BOXES)
    film = compose(plan, pictures)
    assert places(plan) == places(a_plan(mode=Mode.BOXES))
    one, two = (box.pixels for box in film.boxes)
    image = np.argwhere(one == 55)
    top, bottom = image[:, 0].min(), image[:, 0].max() + 1
    assert one[:top].max() == one[bottom:].max() == 255
    assert np.array_equal(one[:bottom], two[:bottom])
    assert not np.array_equal(one[bottom:], two[bottom:])


@pytest.mark.req("PRN-03")
def test_text_never_covers_the_image(tmp_path: Path) -> None:
    ds = an_image(np.full((100, 100), 90, np.uint8), bits=8, PixelSpacing=[1, 1])
    picture = Picture(a_file(tmp_path / "a.dcm", ds))
    plan = a_plan("single", patient_box="{PatientID} text\nmore", scale_bar=True, dpi=100)
    film = compose(plan, [picture])
    where = np.argwhere(film.sheet.pixels == 90)
    first, last = where.min(0), where.max(0) + 1
    inside = film.sheet.pixels[first[0] : last[0], first[1] : last[1]]
    assert (inside == 90).all()
    assert film.sheet.pixels[last[0] :].max() == 255


@pytest.mark.req("PRN-03")
def test_a_scale_bar_is_as_long_as_it_says(tmp_path: Path) -> None:
    ds = an_image(np.full((100, 100), 90, np.uint8), bits=8, PixelSpacing=[1, 1])
    picture = Picture(a_file(tmp_path / "a.dcm", ds))
    film = compose(a_plan("single", scale_bar=True, dpi=100), [picture])
    where = np.argwhere(film.sheet.pixels == 90)
    width = where[:, 1].max() - where[:, 1].min() + 1
    below = film.sheet.pixels[where[:, 0].max() + 1 :]
    longest = max((row == 255).argmin() for row in below if (row == 255)[0])
    assert longest == pytest.approx(width * 20 / 100, abs=1)  # 20 mm of 100
    unknown = compose(a_plan("single", scale_bar=True), [plain(tmp_path / "b.dcm", 90)])
    assert np.unique(unknown.sheet.pixels).tolist() == [0, 90]


def test_a_box_too_small_for_its_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotCompose, match="no room"):
        compose(a_plan("9x9", patient_box="a\n" * 20), [plain(tmp_path / "a.dcm", 5)])
    with pytest.raises(InvalidLayout):
        compose(a_plan("single", header="a\n" * 200), [plain(tmp_path / "a.dcm", 5)])


def test_what_is_no_image_is_told_without_its_values(tmp_path: Path) -> None:
    path = tmp_path / "text.dcm"
    path.write_bytes(b"Doe^Jane" * 40)
    with pytest.raises(CannotCompose) as told:
        compose(a_plan(), [plain(tmp_path / "a.dcm", 5), Picture(path)])
    assert told.value.picture == 1
    assert "Doe" not in str(told.value)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(plain(tmp_path / "a.dcm", 5).path.read_bytes()[:-100])
    with pytest.raises(CannotCompose):
        compose(a_plan(), [Picture(cut)])


def test_no_mutant_of_a_real_file_raises_what_is_not_expected() -> None:
    """A cut file is the image's fault: pydicom's OSError for it has no number."""
    files = [path for path in REAL_FILES if path.stat().st_size < 100_000]
    dice = random.Random(1)
    told = 0
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(directory, "mutant.dcm")
        sheet = Path(directory, "sheet")
        answer(PageTask(a_plan("single"), sheet, None, (1,)))
        for _ in range(150):
            data = bytearray(dice.choice(files).read_bytes())
            for _ in range(dice.choice((1, 5, 30))):
                data[dice.randrange(min(len(data), 4000))] = dice.randrange(256)
            path.write_bytes(data[: dice.choice((len(data), dice.randrange(len(data))))])
            drawn = answer(BoxTask(a_plan("single"), sheet, Picture(path), 1))
            told += drawn.error.startswith("it")
            assert not drawn.transient
    assert told > 50
