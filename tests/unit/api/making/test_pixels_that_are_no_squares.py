"""A presentation state says of what form the pixels of its images are, and is shown so."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom import dcmread

from darkroom_api.objects.exchange import Kind, MakeTask, Reference
from darkroom_api.objects.identity import said
from darkroom_api.objects.making import make
from darkroom_api.objects.references import Pixels, pixels_of
from darkroom_api.rendering.appearance import PNG, Appearance
from darkroom_api.rendering.drawing import draw
from darkroom_api.rendering.exchange import Picture
from darkroom_common.dicom.stored import stored_file
from tests.support.builders import CT, a_data_set
from tests.support.dciodvfy import dciodvfy
from tests.support.stow import a_file
from tests.unit.api.making.kinds import STUDY


def of_frames(slope: float) -> dict[str, object]:
    """An item of functional groups that says what pixel values mean."""
    return {"00289145": {"vr": "SQ", "Value": [{"00281053": {"vr": "DS", "Value": [slope]}}]}}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"00280002": [1], "00280030": ["0.5", "0.25"]}, Pixels(1, (2, 1), (0.5, 0.25))),
        ({"00280002": [1], "00181164": [0.3, 0.45]}, Pixels(1, (2, 3), (0.3, 0.45))),
        ({"00280002": [1], "00280034": ["5", "4"]}, Pixels(1, (5, 4))),
        ({"00280002": [3], "00280030": ["0", "x"], "00280034": [7, 7]}, Pixels(3)),
        ({"00280030": [1e-9, 1e9]}, Pixels()),
        ({}, Pixels()),
        ({"00281053": ["2"], "00281052": [-1024]}, Pixels(rescale=(2.0, -1024.0, ""))),
        ({"00281052": [-1000], "00281054": ["HU"]}, Pixels(rescale=(1.0, -1000.0, "HU"))),
        ({"00283000": [{}]}, Pixels(rescale=None)),
        ({"52009229": [of_frames(3)]}, Pixels(rescale=(3.0, 0.0, ""))),
        ({"52009230": [of_frames(3), of_frames(2)]}, Pixels(rescale=None)),
    ],
)
def test_their_form_is_read_from_the_header(
    header: dict[str, list[object]], expected: Pixels
) -> None:
    told = {tag: {"vr": "DS", "Value": values} for tag, values in header.items()}
    assert pixels_of(json.dumps(told).encode()) == expected


def test_they_are_shown_as_they_are(tmp_path: Path) -> None:
    image = a_data_set(Rows=40, Columns=30, BitsAllocated=16, BitsStored=12, HighBit=11)
    image.PixelData = np.arange(1200, dtype="<u2").tobytes()
    uid, series = str(image.SOPInstanceUID), str(image.SeriesInstanceUID)
    others = (Reference(CT, "2.25.8", series, 40, 30, 1),)
    one = Reference(CT, uid, series, 40, 30, 1, (2, 1))
    values = {"study": "A1", "images": [uid, "2.25.8"]}
    given = said({**STUDY, "StudyInstanceUID": str(image.StudyInstanceUID), "Modality": "PR"})
    made = make(MakeTask(Kind.PRESENTATION_STATE, given, 0, values, (one, *others)), b"")
    path = tmp_path / "state.dcm"
    path.write_bytes(made)
    assert dciodvfy(path) == []
    areas = {
        area.ReferencedImageSequence[0].ReferencedSOPInstanceUID: area.PresentationPixelAspectRatio
        for area in dcmread(path).DisplayedAreaSelectionSequence
    }
    assert areas == {uid: [2, 1], "2.25.8": [1, 1]}
    with (
        stored_file(io.BytesIO(a_file(image))) as (stored, _),
        stored_file(io.BytesIO(made)) as (state, _),
    ):
        shown = draw(stored, Picture((0,), PNG, Appearance()), state)
    assert Pillow.open(io.BytesIO(shown)).size == (30, 80)
