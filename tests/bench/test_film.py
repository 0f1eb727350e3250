"""P12 of the targets: how soon a film of 16 images is composed, and looked at."""

import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from darkroom_common.films.film import FilmPlan, film_size
from darkroom_common.pixels.window import Window
from darkroom_common.specs.film_layouts import parse_layout
from darkroom_print.composing.composer import open_composers
from darkroom_print.images.image import read_dataset, render
from darkroom_print.images.picture import Picture
from darkroom_print.preview import pdf, png
from tests.bench import report
from tests.bench.report import QUICK, ROUNDS, Table
from tests.unit.print.images import a_file, an_image

EDGE = 512 if QUICK else 2048
WINDOW = Window(2048, 3000)
PLAN = FilmPlan(
    film_size("14INX17IN"),
    parse_layout("4x4"),
    dpi=320,
    bits=12,
    gap_mm=2,
    trim=True,
    header="{PatientName} {PatientID}\n{StudyDate}",
    patient_box="{InstanceNumber}",
    scale_bar=True,
)
TABLES: list[Table] = []
NOTE = (
    f"16 images of {EDGE} x {EDGE}, 12 bits, uncompressed, onto 14 x 17 inches of"
    f" {PLAN.columns} x {PLAN.rows} pixels of 12 bits, with text and scale bars; workers warm,"
    " which takes them about a second once. There is no peer that composes films of files:"
    " DCMTK's dcmj2pnm is measured for the rendering of one image alone, unscaled, to 8 bits;"
    " it is a process of its own for each, and so starts and writes, which the row beside it"
    " does not."
)


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    """Write the section when all is measured."""
    yield
    report.write("Film", NOTE, TABLES)


def table(title: str) -> Table:
    made = Table(title, "ms")
    TABLES.append(made)
    return made


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    directory = tmp_path_factory.mktemp("film")
    found = []
    for number in range(16):
        noise = np.random.default_rng(number).integers(0, 200, (EDGE, EDGE))
        ramp = np.linspace(0, 3895, EDGE)
        ds = an_image(
            (ramp + noise).astype(np.uint16),
            InstanceNumber=number,
            PatientName="Bench^Film",
            PatientID="1",
            StudyDate="20240101",
            PixelSpacing=[0.1, 0.1],
            WindowCenter=WINDOW.center,
            WindowWidth=WINDOW.width,
        )
        found.append(Picture(a_file(directory / f"{number}.dcm", ds)))
    return found


async def test_p12_a_film_of_16_images(tmp_path: Path, pictures: list[Picture]) -> None:
    made = table("P12: a film (target 2000), its preview of 2048 pixels (target 500)")
    for workers in (1, 2):
        who = f"{workers} worker{'s'[: workers - 1]}"
        async with open_composers(tmp_path / "scratch", processes=workers) as composers:
            async with composers.compose(PLAN, pictures):
                pass
            for _ in range(ROUNDS):
                started = time.perf_counter()
                async with composers.compose(PLAN, pictures) as film:
                    made.add(who, "composed", 1000 * (time.perf_counter() - started))
                    encoders: dict[str, Callable[[], bytes]] = {
                        "preview": partial(png, film, 2048),
                        "full PNG": partial(png, film),
                        "PDF": partial(pdf, [film]),
                    }
                    for what, encode in encoders.items():
                        started = time.perf_counter()
                        assert len(encode()) > 10_000
                        made.add(who, what, 1000 * (time.perf_counter() - started))
                    assert len(film.boxes) == len(pictures)


def test_one_image_beside_dcmtk(tmp_path: Path, pictures: list[Picture]) -> None:
    made = table("One image, read and rendered, unscaled")
    target = tmp_path / "frame.pgm"
    window = ("+Ww", str(WINDOW.center), str(WINDOW.width))
    for picture in pictures[:ROUNDS]:
        started = time.perf_counter()
        shown = render(read_dataset(picture), picture)
        made.add("darkroom", "rendered", 1000 * (time.perf_counter() - started))
        started = time.perf_counter()
        subprocess.run(["dcmj2pnm", *window, "+op", str(picture.path), str(target)], check=True)
        made.add("dcmj2pnm", "rendered", 1000 * (time.perf_counter() - started))
        assert shown.pixels.shape == (EDGE, EDGE)
        assert target.stat().st_size > EDGE * EDGE
