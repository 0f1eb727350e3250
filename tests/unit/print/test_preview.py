import re
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from darkroom_common.films.film import FILM_SIZES, Colour, FilmPlan, Orientation
from darkroom_common.specs.film_layouts import parse_layout
from darkroom_print.composing.bitmap import Film
from darkroom_print.composing.compose import compose
from darkroom_print.images.picture import Picture
from darkroom_print.preview import pdf, png
from tests.unit.print.images import a_file, a_ramp, an_image


def a_film(
    tmp_path: Path, *, bits: int = 8, colour: Colour = Colour.MONOCHROME2, size: str = "14INX17IN"
) -> Film:
    picture = Picture(a_file(tmp_path / "ramp.dcm", an_image(a_ramp())))
    plan = FilmPlan(
        FILM_SIZES[size],
        parse_layout("2x1"),
        dpi=40,
        bits=bits,
        colour=colour,
        orientation=Orientation.LANDSCAPE,
        header="A film",
    )
    return compose(plan, [picture, picture])


@pytest.mark.req("PRN-06")
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_full_png_is_the_bitmap(tmp_path: Path, bits: int) -> None:
    film = a_film(tmp_path, bits=bits)
    shown = np.asarray(Pillow.open(BytesIO(png(film))))
    assert np.array_equal(shown >> (0 if bits == 8 else 16 - bits), film.sheet.pixels)
    assert shown.max() == (255 if bits == 8 else 65535)


@pytest.mark.req("PRN-06")
def test_a_colour_png_is_the_bitmap(tmp_path: Path) -> None:
    film = a_film(tmp_path, colour=Colour.RGB)
    assert np.array_equal(np.asarray(Pillow.open(BytesIO(png(film)))), film.sheet.pixels)


@pytest.mark.req("PRN-06")
def test_a_small_png_is_the_bitmap_averaged(tmp_path: Path) -> None:
    film = a_film(tmp_path, bits=12)
    rows, columns = film.sheet.pixels.shape
    shown = np.asarray(Pillow.open(BytesIO(png(film, columns // 4))))
    assert shown.shape == (round(rows / 4), columns // 4)
    assert shown.dtype == np.uint8
    blocks = film.sheet.pixels[: rows // 4 * 4].reshape(rows // 4, 4, columns // 4, 4)
    averaged = blocks.mean(axis=(1, 3)) * 255 / 4095
    assert np.abs(shown[: rows // 4] - averaged).max() < 1.5
    assert png(film, 10_000) == png(film)


@pytest.mark.req("PRN-06")
def test_png_and_pdf_know_the_size_of_the_film(tmp_path: Path) -> None:
    film = a_film(tmp_path)
    image = Pillow.open(BytesIO(png(film)))
    assert image.info["dpi"] == pytest.approx((40, 40), abs=0.02)
    assert b"/MediaBox [0 0 1224.000 1008.000]" in pdf([film])  # 17 by 14 inches
    box = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf([a_film(tmp_path, size="A4")]))
    assert box is not None
    assert [float(edge) / 72 * 25.4 for edge in box.groups()] == pytest.approx(
        [297, 210], abs=0.001
    )


def pages_of(document: bytes) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Read the images back: the rows of PNG with their filters, as PDF's predictor 15 has them."""
    found = []
    pattern = rb"/Width (\d+) /Height (\d+) /ColorSpace /Device(\w+) .*?/Length (\d+) >>\nstream\n"
    for match in re.finditer(pattern, document):
        columns, rows, length = int(match[1]), int(match[2]), int(match[4])
        samples = 1 if match[3] == b"Gray" else 3
        data = zlib.decompress(document[match.end() : match.end() + length])
        lines = np.frombuffer(data, np.uint8).reshape(rows, 1 + columns * samples)
        found.append(unfiltered(lines, samples).reshape(rows, columns, samples).squeeze())
    return found


def unfiltered(
    lines: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], step: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Undo the filters None, Sub and Up by sums; others one by one (PNG, section 9)."""
    made = np.zeros((len(lines) + 1, lines.shape[1] - 1 + step), np.int64)
    for number, line in enumerate(lines):
        kind, above, row = line[0], made[number], made[number + 1]
        for column in range(step, made.shape[1]):
            left, up, corner = (
                int(row[column - step]),
                int(above[column]),
                int(above[column - step]),
            )
            paeth = min((left, up, corner), key=lambda one: abs(left + up - corner - one))
            guess = (0, left, up, (left + up) // 2, paeth)[kind]
            row[column] = (int(line[1 + column - step]) + guess) & 0xFF
    return made[1:, step:].astype(np.uint8)


@pytest.mark.req("PRN-06")
def test_a_pdf_holds_each_film_without_loss(tmp_path: Path) -> None:
    films = [
        a_film(tmp_path, size="8INX10IN"),
        a_film(tmp_path, size="8INX10IN", colour=Colour.RGB),
        a_film(tmp_path, size="8INX10IN", bits=12),
    ]
    document = pdf(films)
    grey, colour, twelve = pages_of(document)
    assert np.array_equal(grey, films[0].sheet.pixels)
    assert np.array_equal(colour, films[1].sheet.pixels)
    assert np.array_equal(twelve, np.rint(films[2].sheet.pixels * (255 / 4095)))
    offsets = [
        int(found[1]) for found in re.finditer(rb"^(\d{10}) 00000 n", document, re.MULTILINE)
    ]
    for number, offset in enumerate(offsets, 1):
        assert document[offset:].startswith(b"%d 0 obj" % number)
    assert len(offsets) == 2 + 3 * len(films)
    with pytest.raises(ValueError, match="one page"):
        pdf([])
