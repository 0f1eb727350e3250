"""Presentation states as DCMTK applies them (`dcmp2pgm`), to sample files."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from darkroom_api.rendering.appearance import PNG, Appearance
from darkroom_api.rendering.drawing import draw
from darkroom_api.rendering.exchange import Picture
from darkroom_common.dicom.stored import stored_file

FILES = ("CT_small.dcm", "MR_small.dcm", "emri_small.dcm", "RG1_UNCR.dcm", "693_UNCI.dcm")


def as_made(_: Dataset) -> None:
    """Leave what `dcmpsmk` has made of the image."""


def with_window(state: Dataset) -> None:
    item = Dataset()
    item.WindowCenter, item.WindowWidth = "900", "500"
    state.SoftcopyVOILUTSequence = [item]


def inverted(state: Dataset) -> None:
    state.PresentationLUTShape = "INVERSE"


def turned(degrees: int, flip: str) -> Callable[[Dataset], None]:
    def turn(state: Dataset) -> None:
        state.ImageRotation, state.ImageHorizontalFlip = degrees, flip

    return turn


CHANGES = (
    as_made,
    with_window,
    inverted,
    *(turned(degrees, flip) for degrees in (0, 90, 180, 270) for flip in "NY"),
)


def files() -> list[Path]:
    found = (get_testdata_file(name, download=False) for name in FILES)
    paths = [Path(one) for one in found if isinstance(one, str)]
    # DCMTK shows padding as if it were image, against PS3.3 C.7.5.1.1.2.
    return [one for one in paths if "PixelPaddingValue" not in dcmread(one)]


def compared(image: Path, state: Path, target: Path) -> Any:
    """Return ours and theirs."""
    command = ["dcmp2pgm", "-p", str(state), str(image), str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    theirs = np.asarray(Pillow.open(target)).astype(int)
    with (
        image.open("rb") as file,
        stored_file(file) as (stored, _),
        state.open("rb") as other,
        stored_file(other) as (stored_state, _),
    ):
        made = draw(stored, Picture((0,), PNG, Appearance()), stored_state)
    return np.asarray(Pillow.open(io.BytesIO(made))).astype(int), theirs


@pytest.mark.filterwarnings("ignore")
def test_states_are_applied_as_dcmtk_applies_them(tmp_path: Path) -> None:
    tried = 0
    for image in files():
        state, target = tmp_path / "state.dcm", tmp_path / "seen.pgm"
        made = subprocess.run(
            ["dcmpsmk", str(image), str(state)], check=False, capture_output=True, timeout=60
        )
        if made.returncode:
            continue
        for number, change in enumerate(CHANGES):
            changed = dcmread(state)
            change(changed)
            changed.save_as(tmp_path / "changed.dcm")
            ours, theirs = compared(image, tmp_path / "changed.dcm", target)
            assert ours.shape == theirs.shape, (image.name, number)
            assert np.abs(ours - theirs).max() <= 2, (image.name, number)
            tried += 1
    assert tried >= 2 * len(CHANGES)
