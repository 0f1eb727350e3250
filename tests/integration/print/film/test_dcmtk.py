"""Frames as DCMTK shows them: every real file that both can read."""

import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.frame import FrameHeader
from darkroom_common.pixels.window import Window
from darkroom_print.composing.bitmap import Pixels
from darkroom_print.images.image import read_dataset, render
from darkroom_print.images.picture import Picture
from tests.support.real_files import REAL_FILES


def theirs(path: Path, target: Path, *options: str) -> Pixels | None:
    """Return what DCMTK makes of the first frame; None when it cannot read it."""
    done = subprocess.run(
        ["dcmj2pnm", "-O", *options, str(path), str(target)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    return None if done.returncode else np.asarray(Pillow.open(target)).astype(np.int64)


def compared(
    target: Path, photometric: tuple[str, ...], options: tuple[str, ...], window: Window | None
) -> tuple[list[str], list[str]]:
    """Return the names of the files that are the same, and of those that are not.

    DCMTK cuts what lies between two levels off, and so at most one level is between it and the
    exact value; colours are rounded twice. It keeps the values of the modality LUT as whole
    numbers: where the slope is none, they are up to one unit of the window off.
    """
    same: list[str] = []
    other: list[str] = []
    for path in REAL_FILES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                picture = Picture(path, 1, window)
                dataset = read_dataset(picture)
                found = str(dataset.get("PhotometricInterpretation"))
                if found not in photometric or "PixelPaddingValue" in dataset:
                    continue
                ours = render(dataset, picture, overlays=False).pixels
            except Unrenderable:
                continue
        reference = theirs(path, target, *options)
        if reference is None or reference.shape != ours.shape:
            continue
        step = 2.0 if ours.ndim == 2 else 3.0
        slope = FrameHeader(dataset, 1).numbers("RescaleSlope") or (1.0,)
        if window and not slope[0].is_integer():
            step += 255 / (window.width - 1)
        near = np.abs(ours.astype(np.float64) * 255 - reference).max() < step
        (same if near else other).append(path.name)
    return same, other


@pytest.mark.parametrize("window", [(50.0, 400.0), (1000.0, 300.5), (-20.0, 55.0)])
def test_windows_are_dcmtks(tmp_path: Path, window: tuple[float, float]) -> None:
    options = ("+Ww", *map(str, window), "+op")
    kinds = ("MONOCHROME1", "MONOCHROME2")
    same, other = compared(tmp_path / "frame.pgm", kinds, options, Window(*window))
    assert other == []
    assert len(same) >= 60


def test_colours_are_dcmtks(tmp_path: Path) -> None:
    kinds = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
    same, other = compared(tmp_path / "frame.ppm", kinds, ("+op",), None)
    assert other == []
    assert len(same) >= 25


def test_the_headers_first_window_is_dcmtks_in_16_bits(tmp_path: Path) -> None:
    compared_files = 0
    for path in REAL_FILES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = read_dataset(Picture(path))
                header = FrameHeader(dataset, 1)
                wanted = (
                    header.numbers("WindowWidth")
                    and "WindowWidth" in dataset
                    and "VOILUTSequence" not in dataset
                    and "PixelPaddingValue" not in dataset
                    and str(dataset.get("PhotometricInterpretation")).startswith("MONO")
                )
                if not wanted:
                    continue
                ours = render(dataset, Picture(path), overlays=False).pixels
            except Unrenderable:
                continue
        reference = theirs(path, tmp_path / "frame.png", "+Wi", "1", "+on2")
        if reference is None or reference.shape != ours.shape:
            continue
        worst = np.abs(ours.astype(np.float64) * 65535 - reference).max()
        slope = header.numbers("RescaleSlope") or (1.0,)
        whole = slope[0].is_integer()
        step = 2 if whole else 2 + 65535 / (header.numbers("WindowWidth")[0] - 1)
        assert worst < step, path.name
        compared_files += 1
    assert compared_files >= 20
