"""Rendered images as DCMTK has them: every sample file that both can read."""

import io
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pynetdicom
import pytest
from PIL import Image as Pillow
from pydicom.dataset import Dataset

from darkroom_api.dicomweb.retrieving.fragments import NoPixels
from darkroom_api.rendering.appearance import PNG, Appearance, Viewport
from darkroom_api.rendering.drawing import draw
from darkroom_api.rendering.exchange import Picture
from darkroom_common.dicom.stored import stored_file
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.frame import FrameHeader
from darkroom_common.pixels.window import VoiFunction, Window
from tests.support.real_files import REAL_FILES

OTHERS = Path(pynetdicom.__file__).parent
SAMPLES = (*REAL_FILES, *(path for path in sorted(OTHERS.rglob("*.dcm")) if path.is_file()))
GREY = ("MONOCHROME1", "MONOCHROME2")
UNREADABLE = (Unrenderable, NoPixels, Unreadable, ValueError, AttributeError)
"""What is answered by 406: no picture, or an object that receiving would not have taken."""


@dataclass
class Compared:
    """The names of the files that are the same, and of those that are not."""

    same: list[str]
    other: list[tuple[str, float]]


def header_of(path: Path) -> Dataset:
    with path.open("rb") as file, stored_file(file) as (stored, _):
        return stored.data_set(stop_at=frozenset({0x7FE00010})).data_set


def ours(path: Path, appearance: Appearance, frame: int = 0) -> Any:
    with path.open("rb") as file, stored_file(file) as (stored, _):
        made = draw(stored, Picture((frame,), PNG, appearance))
    return np.asarray(Pillow.open(io.BytesIO(made))).astype(np.int64)


def theirs(path: Path, target: Path, *options: str) -> Any:
    """Return what DCMTK makes of a frame; None when it cannot read it."""
    command = ["dcmj2pnm", *options, "+op", str(path), str(target)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return None if done.returncode else np.asarray(Pillow.open(target)).astype(np.int64)


def rendered() -> Iterator[tuple[Path, Dataset]]:
    """Yield the samples that are images."""
    for path in SAMPLES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                header = header_of(path)
                ours(path, Appearance())
            except UNREADABLE:
                continue
        yield path, header


RENDERED = list(rendered())


def tolerance(header: Dataset, window: Window | None) -> float:
    """Return how many of 255 levels may lie between.

    DCMTK cuts what lies between two levels off; colours are rounded twice. It keeps the values of
    the modality LUT as whole numbers: with a slope that is none they are up to one unit of the
    window off.
    """
    step = 2.0 if str(header.get("PhotometricInterpretation")) in GREY else 3.0
    slope = FrameHeader(header, 1).numbers("RescaleSlope") or (1.0,)
    width = window.width if window else (FrameHeader(header, 1).numbers("WindowWidth") or (0,))[0]
    if not slope[0].is_integer() and width > 1:
        step += 255 / (width - 1)
    return step


def compare(
    target: Path,
    kinds: tuple[str, ...],
    appearance: Appearance,
    *options: str,
    fit: Any = lambda _: True,
) -> Compared:
    found = Compared([], [])
    for path, header in RENDERED:
        if str(header.get("PhotometricInterpretation")) not in kinds or not fit(header):
            continue
        reference = theirs(path, target, *options)
        if reference is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = ours(path, appearance)
        if reference.shape != made.shape:
            found.other.append((path.name, -1.0))
            continue
        off = float(np.abs(made - reference).max())
        if off < tolerance(header, appearance.window):
            found.same.append(path.name)
        else:
            found.other.append((path.name, off))
    return found


def not_padded(header: Dataset) -> bool:
    """Tell whether DCMTK and PS3.3 C.7.5.1.1.2 agree: it shows padding as if it were image."""
    return "PixelPaddingValue" not in header


@pytest.mark.parametrize("window", [(50.0, 400.0), (1000.0, 300.5), (-20.0, 55.0)])
@pytest.mark.parametrize("function", [VoiFunction.LINEAR, VoiFunction.SIGMOID])
def test_windows(tmp_path: Path, window: tuple[float, float], function: VoiFunction) -> None:
    sigmoid = ["+Wfs"] if function is VoiFunction.SIGMOID else []
    options = ("+Ww", *map(str, window), *sigmoid)
    asked = Appearance(Window(*window, function))
    found = compare(tmp_path / "a.pgm", GREY, asked, *options, fit=not_padded)
    assert found.other == []
    assert len(found.same) >= 60


def test_colours(tmp_path: Path) -> None:
    kinds = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
    found = compare(tmp_path / "a.ppm", kinds, Appearance())
    assert found.other == []
    assert len(found.same) >= 25


def test_what_the_header_says(tmp_path: Path) -> None:
    def has_window(header: Dataset) -> bool:
        return "WindowWidth" in header and "VOILUTSequence" not in header and not_padded(header)

    found = compare(tmp_path / "a.pgm", GREY, Appearance(), "+Wi", "1", fit=has_window)
    assert found.other == []
    assert len(found.same) >= 20


def test_voi_luts(tmp_path: Path) -> None:
    def has_table(header: Dataset) -> bool:
        return "VOILUTSequence" in header and not_padded(header)

    found = compare(tmp_path / "a.pgm", GREY, Appearance(), "+Wl", "1", fit=has_table)
    assert found.other == []
    assert len(found.same) >= 1


def test_parts_of_images(tmp_path: Path) -> None:
    window = Window(50.0, 400.0)

    def large(header: Dataset) -> bool:
        return header.Rows > 30 and header.Columns > 30 and not_padded(header)

    asked = Appearance(window, Viewport(20, 10, 5, 7, 20, 10))
    options = ("+Ww", "50", "400", "+C", "5", "7", "20", "10")
    found = compare(tmp_path / "a.pgm", GREY, asked, *options, fit=large)
    assert found.other == []
    assert len(found.same) >= 40
