"""Films on DCMTK's print SCP: what it stored is our bitmap, pixel for pixel."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from tests.integration.print.desk import PrintDesk
from tests.integration.print.pictures import a_series, samples
from tests.integration.print.printers import dcmprscp

CASES = [
    ("STANDARD\\1,1", "8INX10IN", "PORTRAIT", 8),
    ("STANDARD\\1,1", "14INX17IN", "LANDSCAPE", 12),
    ("STANDARD\\2,2", "14INX17IN", "PORTRAIT", 12),
    ("2x2", "8INX10IN", "LANDSCAPE", 8),
    ("STANDARD\\1,2", "8INX10IN", "PORTRAIT", 12),
    ("STANDARD\\2,1", "14INX17IN", "LANDSCAPE", 8),
    ("STANDARD\\3,3", "14INX17IN", "PORTRAIT", 8),
    ("4x4", "14INX17IN", "PORTRAIT", 12),
    ("4x4", "8INX10IN", "LANDSCAPE", 8),
    ("1+3", "8INX10IN", "PORTRAIT", 12),
    ("ROW\\2,3", "14INX17IN", "PORTRAIT", 8),
    ("COL\\1,2", "8INX10IN", "LANDSCAPE", 12),
]


@pytest.mark.req("PRN-01")
@pytest.mark.req("PRN-02")
@pytest.mark.req("PRN-06")
@pytest.mark.req("PRN-07")
@pytest.mark.req("PRN-08")
async def test_every_layout_arrives_pixel_for_pixel(desk: PrintDesk, tmp_path: Path) -> None:
    images = await desk.store(*a_series(17))
    async with dcmprscp(tmp_path / "printer") as printer:
        await desk.printer(printer.port, profile="dcmprscp", dpi=40)
        for number, (layout, size, orientation, bits) in enumerate(CASES):
            order = {"layout": layout, "film_size": size, "orientation": orientation, "bits": bits}
            job_id = await desk.print(images, **order)
            job = await desk.until(job_id, "DONE", "FAILED", "RETRYING")
            assert job["state"] == "DONE", (layout, job["reason"], printer.log())
            films = printer.stored()[-job["films"] :]
            for page, stored in enumerate(films, 1):
                await _equal(desk, printer.bitmaps(stored), job_id, page, bits, layout)
            box = films[0].FilmBoxContentSequence[0]
            assert box.FilmSizeID == size
            assert box.FilmOrientation == orientation
            assert (number, job["warnings"]) == (number, [])


async def _equal(
    desk: PrintDesk, boxes: dict[int, Dataset], job_id: str, page: int, bits: int, layout: str
) -> None:
    png, said = await desk.draw(job_id=job_id, film=page)
    assert said["as_printed"] is True
    shown = np.asarray(Image.open(io.BytesIO(png)))
    sheet = shown >> (16 - bits) if bits > 8 else shown
    assert boxes
    for position, hardcopy in boxes.items():
        assert hardcopy.BitsStored == bits
        got = samples(hardcopy)
        if len(boxes) == 1 and got.shape == sheet.shape:
            assert np.array_equal(got, sheet), (layout, page)
        else:
            assert _is_in(got, sheet), (layout, page, position)
        assert len(np.unique(got)) > (256 if bits == 12 and got.size > 5000 else 1)


def _is_in(box: np.ndarray[Any, Any], sheet: np.ndarray[Any, Any]) -> bool:
    """Tell whether a box's pixels stand somewhere in the sheet."""
    rows, columns = box.shape
    middle = box[rows // 2]
    windows = np.lib.stride_tricks.sliding_window_view(sheet, columns, axis=1)
    found = np.argwhere((windows == middle).all(axis=2))
    return any(
        np.array_equal(sheet[top - rows // 2 : top - rows // 2 + rows, left : left + columns], box)
        for top, left in found
        if top >= rows // 2
    )


@pytest.mark.req("PRN-03")
async def test_presentation_lut_and_polarity_are_as_asked(desk: PrintDesk, tmp_path: Path) -> None:
    images = await desk.store(*a_series(1))
    async with dcmprscp(tmp_path / "printer") as printer:
        await desk.printer(printer.port, profile="dcmprscp", dpi=40)
        for asked in (
            {"shape": "IDENTITY"},
            {"shape": "LIN OD"},
            {"shape": "TABLE", "table": [n * n // 4095 for n in range(4096)], "bits": 12},
        ):
            job = await desk.until(
                await desk.print(images, presentation_lut=asked), "DONE", "FAILED", "RETRYING"
            )
            assert job["state"] == "DONE", (job["reason"], printer.log())
            stored = printer.stored()[-1]
            lut = stored.PresentationLUTContentSequence[0]
            if asked["shape"] == "TABLE":
                data = lut.PresentationLUTSequence[0].LUTData
                table = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.array(data)
                assert table.tolist() == asked["table"]
            else:
                assert lut.PresentationLUTShape == asked["shape"]


@pytest.mark.req("PRN-02")
async def test_the_session_is_as_asked(desk: PrintDesk, tmp_path: Path) -> None:
    images = await desk.store(*a_series(1))
    async with dcmprscp(tmp_path / "printer") as printer:
        await desk.printer(printer.port, profile="dcmprscp", dpi=40, media=["BLUE FILM"])
        order = {
            "copies": 3,
            "medium": "BLUE FILM",
            "film_destination": "BIN_1",
            "print_priority": "HIGH",
            "trim": True,
            "magnification": "REPLICATE",
            "border_density": "WHITE",
        }
        job = await desk.until(await desk.print(images, **order), "DONE", "FAILED", "RETRYING")
        assert job["state"] == "DONE", (job["reason"], printer.log())
        stored = printer.stored()[-1]
    box = stored.FilmBoxContentSequence[0]
    assert (box.Trim, box.MagnificationType, box.BorderDensity) == ("YES", "REPLICATE", "WHITE")
    bad = await desk.print(images, medium="PAPER")
    assert (await desk.until(bad, "FAILED"))["reason"] == "medium: the printer has BLUE FILM"


@pytest.mark.req("PRN-07")
async def test_a_strict_printer_needs_no_profile(desk: PrintDesk, tmp_path: Path) -> None:
    images = await desk.store(*a_series(9))
    async with dcmprscp(tmp_path / "printer", strict=True) as printer:
        await desk.printer(printer.port, dpi=40)
        for layout, boxes in (("single", 1), ("2x2", 4), ("4x4", 16)):
            job_id = await desk.print(images[:boxes], layout=layout)
            job = await desk.until(job_id, "DONE", "FAILED", "RETRYING")
            assert (job["state"], job["warnings"]) == ("DONE", []), (layout, job["reason"])
        job_id = await desk.print(images, layout="3x4")  # of no format that it knows
        job = await desk.until(job_id, "DONE", "FAILED", "RETRYING")
        assert job["state"] == "DONE", (job["reason"], printer.log())
        assert len(job["warnings"]) == 1
        assert job["warnings"][0].endswith(": each film is sent as one bitmap")
        await _equal(desk, printer.bitmaps(printer.stored()[-1]), job_id, 1, 8, "3x4")
        job_id = await desk.print(images, layout="3x4", arrange="printer")
        assert (await desk.until(job_id, "FAILED", "DONE"))["reason"].startswith("film box: 0106")
        job_id = await desk.print(images[:1], border_density="WHITE")
        job = await desk.until(job_id, "FAILED", "DONE")
        assert "BorderDensity" in job["reason"]
