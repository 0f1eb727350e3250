"""What went into an object comes out of it: read by pydicom and by DCMTK, shown by both."""

import io
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydantic import ValidationError
from pydicom.uid import JPEGLosslessSV1, JPEGLSLossless

from darkroom_api.objects.exchange import Kind, MakeTask, Reference
from darkroom_api.objects.identity import said
from darkroom_api.objects.making import make
from darkroom_api.objects.pictures import NoPicture
from tests.integration.api.rendering.test_states_against_dcmtk import compared
from tests.support.builders import CT, a_data_set
from tests.support.stow import a_file
from tests.unit.api.making.kinds import REFERENCES, STUDY, gray, made

RADIOGRAPH: dict[str, Any] = {
    "body_part": "CHEST",
    "patient_orientation": ("L", "F"),
    "imager_pixel_spacing": (0.139, 0.14),
}
EVENT: dict[str, Any] = {
    "started": "2026-11-27T10:00:00",
    "body_part": "CHEST",
    "dose_area_product": 1.1e-5,
    "dose": 0.001,
    "kvp": 121.5,
    "image": "2.25.11",
}
DECODERS = {JPEGLosslessSV1: "dcmdjpeg", JPEGLSLossless: "dcmdjpls"}
ITEM = re.compile(r'<[a-z ]+ ([A-Z]+):\((\w+),\w+,"[^"]*"\)="([^"]*)"(?: \(([^,]*),UCUM)?')
DEVICE = {"manufacturer": "Acme", "model": "X1", "serial": "77"}


def read(file: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(file))


def pixels(found: pydicom.Dataset, path: Path) -> Any:
    """The pixels as DCMTK decodes those of JPEG and JPEG-LS, and as pydicom the others."""
    tool = DECODERS.get(found.file_meta.TransferSyntaxUID)
    if tool is None:
        return found.pixel_array
    found.save_as(path)
    subprocess.run([tool, path, path], check=True, capture_output=True, timeout=60)
    return pydicom.dcmread(path).pixel_array


@pytest.mark.parametrize("compression", ["none", "jpeg-lossless", "jpeg-ls", "jpeg2000", "rle"])
def test_pixels_of_a_radiograph(compression: str, tmp_path: Path) -> None:
    values = {**RADIOGRAPH, "bits_stored": 12, "compression": compression, "laterality": "R"}
    found = read(made(Kind.DX, values, gray(12)))
    wanted = read(made(Kind.DX, {**RADIOGRAPH, "bits_stored": 12}, gray(12)))
    assert found.file_meta.TransferSyntaxUID.is_compressed is (compression != "none")
    assert np.array_equal(pixels(found, tmp_path / "pixels.dcm"), wanted.pixel_array)
    assert (found.BitsAllocated, found.BitsStored, found.HighBit) == (16, 12, 11)
    assert found.AnatomicRegionSequence[0].CodeMeaning == "Chest"
    assert (found.ImageLaterality, found.PatientOrientation) == ("R", ["L", "F"])
    assert found.ImagerPixelSpacing == [0.139, 0.14]
    assert "LossyImageCompressionRatio" not in found


@pytest.mark.parametrize(
    ("values", "body", "word"),
    [
        ({"bits_stored": 8}, gray(12), "more than 8 bits"),
        ({"bits_stored": 11}, gray(12), "more than 11 bits"),
        ({}, b"none", "no picture"),
    ],
)
def test_pixels_that_make_no_radiograph(values: dict[str, Any], body: bytes, word: str) -> None:
    with pytest.raises(NoPicture, match=word):
        made(Kind.DX, {**RADIOGRAPH, **values}, body)


@pytest.mark.parametrize(
    "values",
    [
        {"window_center": 5},
        {"body_part": "SOUL"},
        {"bits_stored": 17},
        {"patient_orientation": None},
        {"kvp": -1},
        {"kvp": float("nan")},
        {"nobody_knows": 1},
    ],
)
def test_values_that_make_no_radiograph(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        made(Kind.DX, {**RADIOGRAPH, **values}, gray(8))


def test_a_radiograph_for_processing_has_no_window() -> None:
    given = {**RADIOGRAPH, "intent": "processing", "photometric_interpretation": "MONOCHROME1"}
    found = read(made(Kind.DX, given, gray(8)))
    assert "WindowCenter" not in found
    assert found.PresentationLUTShape == "INVERSE"
    assert read(made(Kind.DX, RADIOGRAPH, gray(8))).WindowCenter is not None


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_a_state_is_shown_as_dcmtk_shows_it(tmp_path: Path, rotation: int, flipped: bool) -> None:
    image = a_data_set(Rows=40, Columns=30, BitsAllocated=16, BitsStored=12, HighBit=11)
    image.PixelData = np.arange(1200, dtype="<u2").tobytes()
    path, state = tmp_path / "image.dcm", tmp_path / "state.dcm"
    path.write_bytes(a_file(image))
    values = {
        "study": "A1",
        "images": [str(image.SOPInstanceUID)],
        "window": {"center": 500, "width": 700},
        "inverted": flipped,
        "rotation": rotation,
        "flipped": flipped,
    }
    one = Reference(CT, str(image.SOPInstanceUID), str(image.SeriesInstanceUID), 40, 30, 1)
    given = said({**STUDY, "StudyInstanceUID": str(image.StudyInstanceUID), "Modality": "PR"})
    state.write_bytes(make(MakeTask(Kind.PRESENTATION_STATE, given, 0, values, (one,)), b""))
    ours, theirs = compared(path, state, tmp_path / "seen.pgm")
    assert ours.shape == theirs.shape == ((40, 30) if rotation in (0, 180) else (30, 40))
    assert np.abs(ours - theirs).max() <= 2
    assert len(np.unique(ours)) > 100


@pytest.mark.filterwarnings("ignore")
def test_a_window_is_in_the_units_of_the_image(tmp_path: Path) -> None:
    image = a_data_set(Rows=40, Columns=30, BitsAllocated=16, BitsStored=12, HighBit=11)
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "-1024", "2", "HU"
    values = np.arange(1200, dtype="<u2").reshape(40, 30)
    image.PixelData = values.tobytes()
    path, state = tmp_path / "image.dcm", tmp_path / "state.dcm"
    path.write_bytes(a_file(image))
    uid, series = str(image.SOPInstanceUID), str(image.SeriesInstanceUID)
    one = Reference(CT, uid, series, 40, 30, 1, rescale=(2.0, -1024.0, "HU"))
    asked = {"study": "A1", "images": [uid], "window": {"center": 40, "width": 400}}
    given = said({**STUDY, "StudyInstanceUID": str(image.StudyInstanceUID), "Modality": "PR"})
    state.write_bytes(make(MakeTask(Kind.PRESENTATION_STATE, given, 0, asked, (one,)), b""))
    ours, theirs = compared(path, state, tmp_path / "seen.pgm")
    hounsfield = values.astype(float) * 2 - 1024
    wanted = np.clip((hounsfield - 39.5) / 399 + 0.5, 0, 1) * 255
    assert np.abs(ours - wanted).max() <= 1
    assert np.abs(theirs - wanted).max() <= 2


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"rows": 0}, "no pixels"),
        ({"samples": 3}, "grey values"),
        ({"columns": 150}, "not within"),
        ({"rescale": None}, "What pixel values mean"),
    ],
)
def test_an_image_that_no_state_is_for(change: dict[str, Any], word: str) -> None:
    sizes: dict[str, Any] = {"rows": 200, "columns": 200, "samples": 1, **change}
    values = {
        "study": "A1",
        "images": ["2.25.11"],
        "shutter": {"left": 1, "right": 200, "upper": 1, "lower": 200},
    }
    one = Reference(CT, "2.25.11", "2.25.4", **sizes)
    task = MakeTask(Kind.PRESENTATION_STATE, said({**STUDY, "Modality": "PR"}), 0, values, (one,))
    with pytest.raises(NoPicture, match=word):
        make(task, b"")


def test_a_state_names_areas_by_size_and_images_by_series() -> None:
    found = read(made(Kind.PRESENTATION_STATE, {"images": ["2.25.11", "2.25.12", "2.25.13"]}))
    areas = {
        tuple(one.DisplayedAreaBottomRightHandCorner): len(one.ReferencedImageSequence)
        for one in found.DisplayedAreaSelectionSequence
    }
    assert areas == {(512, 512): 2, (300, 256): 1}
    series = [one.SeriesInstanceUID for one in found.ReferencedSeriesSequence]
    assert series == ["2.25.4", "2.25.5"]


def content_of(file: bytes, path: Path) -> list[tuple[str, str, str]]:
    """Kind, code of its name, and value with its unit, of each content item as DCMTK reads it."""
    path.write_bytes(file)
    command = ["dsrdump", "-q", "+Pc", "+Pl", str(path)]
    ended = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return [
        (kind, code, f"{value} {unit}".strip())
        for kind, code, value, unit in ITEM.findall(ended.stdout.decode())
    ]


def test_doses_come_out_as_they_went_in(tmp_path: Path) -> None:
    values = {"device": DEVICE, "events": [EVENT, {**EVENT, "kvp": 60, "dose": 0.0025}]}
    found = content_of(made(Kind.DOSE_REPORT, values), tmp_path / "dose.dcm")
    numbers = [(code, value) for kind, code, value in found if kind == "NUM"]
    assert numbers == [
        ("113722", "2.2e-05 Gy.m2"),
        ("113725", "0.0035 Gy"),
        ("113731", "2 1"),
        ("122130", "1.1e-05 Gy.m2"),
        ("113738", "0.001 Gy"),
        ("113733", "121.5 kV"),
        ("122130", "1.1e-05 Gy.m2"),
        ("113738", "0.0025 Gy"),
        ("113733", "60 kV"),
    ]


def test_fluoroscopy_is_summed_up_apart(tmp_path: Path) -> None:
    seen = {**EVENT, "kind": "fluoroscopy", "exposure_time": 1500, "dose": None}
    values = {"device": DEVICE, "events": [EVENT, seen]}
    found = content_of(made(Kind.DOSE_REPORT, values), tmp_path / "dose.dcm")
    numbers = {code: value for kind, code, value in found[:40] if kind == "NUM"}
    assert numbers["113726"] == "1.1e-05 Gy.m2"
    assert numbers["113730"] == "1.5 s"
    assert numbers["113729"] == "0.001 Gy"
    assert "113725" not in numbers  # that of the fluoroscopy is not known
    assert numbers["113731"] == "1 1"


def test_key_objects_and_words(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "images": ["2.25.12", "2.25.11"],
        "title": "for-surgery",
        "description": "Both <sides>",
    }
    selection = made(Kind.KEY_OBJECTS, values)
    found = read(selection)
    assert found.ConceptNameCodeSequence[0].CodeMeaning == "For Surgery"
    assert [
        one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in found.ContentSequence[1:]
    ] == ["2.25.12", "2.25.11"]
    (evidence,) = found.CurrentRequestedProcedureEvidenceSequence
    assert [one.SeriesInstanceUID for one in evidence.ReferencedSeriesSequence] == [
        "2.25.4",
        "2.25.5",
    ]
    words = "Kein Befund.\n山田"
    report = made(
        Kind.TEXT_REPORT,
        {"sections": [{"heading": "findings", "text": words}], "author": "Müller^Jörg"},
    )
    text = {code: value for _, code, value in content_of(report, tmp_path / "report.dcm")}
    assert text["121071"] == words.replace("\n", "\\n")  # as it prints them
    assert {one.sop_instance_uid for one in REFERENCES} >= {"2.25.11"}
