"""Plain images look as the general way has them, and what is not plain is left to that."""

import io
import random
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from darkroom_common.dicom.charset import NOTHING_ASSUMED
from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dicom.stored import StoredObject, stored_file
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.pixels.decoding import stored_values
from darkroom_common.pixels.faults import Unrenderable
from darkroom_common.pixels.grayscale import Octets
from darkroom_common.pixels.image import prepared, render_octets, render_plain
from darkroom_common.pixels.plain import plain_image
from darkroom_common.pixels.window import VoiFunction, Window
from tests.support.builders import CT, a_data_set, encode
from tests.support.real_files import REAL_FILES

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
ROWS, COLUMNS = 9, 7
Shown = Octets | str


def an_image(**changes: Any) -> Dataset:
    given: dict[str, Any] = {
        "Rows": ROWS,
        "Columns": COLUMNS,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
    }
    one = a_data_set(**given | changes)
    size = ROWS * COLUMNS * one.BitsAllocated // 8 * int(one.get("NumberOfFrames") or 1)
    one.PixelData = random.Random(size).randbytes(size + size % 2)
    one["PixelData"].VR = "OW"
    return one


def a_file(one: Dataset, syntax: str = EXPLICIT) -> bytes:
    return encode_head(FileMeta(CT, str(one.SOPInstanceUID), syntax)) + encode(one, syntax)


def general(stored: StoredObject, frame: int, window: Window | None) -> Shown:
    found = stored.data_set()
    try:
        dataset = prepared(found, NOTHING_ASSUMED)
        return render_octets(stored_values(dataset, frame + 1), dataset, frame + 1, window)
    except Unrenderable as error:
        return str(error)


def plainly(stored: StoredObject, frame: int, window: Window | None) -> Shown | None:
    plain = plain_image(stored)
    if plain is None:
        return None
    try:
        return render_plain(plain, frame, window)
    except Unrenderable as error:
        return str(error)


def alike(one: Shown | None, other: Shown) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and one == other
    return one is not None and one.shape == other.shape and np.array_equal(one, other)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"WindowCenter": 40, "WindowWidth": 400, "RescaleIntercept": -1024, "RescaleSlope": 1},
        {"WindowCenter": [40, 300], "WindowWidth": [400, 1500], "RescaleSlope": "0.37"},
        {"WindowCenter": 40, "WindowWidth": 80, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 40, "WindowWidth": "0.5"},
        {"WindowCenter": 40, "VOILUTFunction": "ANOTHER"},
        {"RescaleSlope": "1e308", "RescaleIntercept": "1e308"},
        {"PhotometricInterpretation": "MONOCHROME1", "PixelSpacing": [0.5, 0.25]},
        {"PresentationLUTShape": "INVERSE", "PixelAspectRatio": [1, 2]},
        {"PixelSpacing": [1, 4000]},
        {"ImagerPixelSpacing": [1, 2], "EstimatedRadiographicMagnificationFactor": 2},
        {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
        {"BitsAllocated": 8, "BitsStored": 5, "HighBit": 4, "NumberOfFrames": 3},
        {"BitsStored": 16, "HighBit": 15},
        {"BitsStored": 1, "HighBit": 0},
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_it_looks_as_the_general_way_has_it(
    changes: dict[str, Any], signed: int, syntax: str
) -> None:
    one = an_image(PixelRepresentation=signed, **changes)
    frames = int(one.get("NumberOfFrames") or 1)
    with stored_file(io.BytesIO(a_file(one, syntax))) as (stored, _):
        for frame in range(frames):
            for window in (None, Window(900, 500), Window(9, 70, VoiFunction.SIGMOID)):
                assert alike(plainly(stored, frame, window), general(stored, frame, window))


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("where", ["least", "greatest", "both", "within", "beside"])
def test_padding_is_black_and_of_no_account(where: str, signed: int, syntax: str) -> None:
    one = an_image(PixelRepresentation=signed)
    values = np.frombuffer(one.PixelData, "<u2") % 1000 + 500
    least, greatest = int(values.min()), int(values.max())
    ends = {
        "least": (least, least + 200),
        "greatest": (greatest - 200, greatest),
        "both": (least, greatest),
        "within": (least + 1, greatest - 1),
        "beside": (greatest + 1, greatest + 9),
    }[where]
    one.PixelData = values.astype("<u2").tobytes()
    vr = "SS" if signed else "US"
    one.add_new(0x00280120, vr, ends[0])
    one.add_new(0x00280121, vr, ends[1])
    with stored_file(io.BytesIO(a_file(one, syntax))) as (stored, _):
        shown = plainly(stored, 0, None)
        assert alike(shown, general(stored, 0, None))
    assert isinstance(shown, np.ndarray)
    grid = values.reshape(ROWS, COLUMNS)
    padded = (grid >= ends[0]) & (grid <= ends[1])
    assert not shown[padded].any()
    rest = grid[~padded]
    if rest.size and where != "within":
        assert shown[grid == rest.max()].min() == 255
        assert shown[(grid == rest.min())].max() == 0


def items(**values: Any) -> list[Dataset]:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return [made]


@pytest.mark.parametrize(
    "changes",
    [
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"ModalityLUTSequence": items(RescaleType="HU")},
        {"VOILUTSequence": items(LUTExplanation="x")},
        {"MaskSubtractionSequence": items(MaskOperation="AVG_SUB")},
        {"SharedFunctionalGroupsSequence": items(StudyID="1")},
        {"RepresentativeFrameNumber": 2, "NumberOfFrames": 3},
        {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31},
        {"Rows": 0},
        {"Rows": ROWS + 9},
    ],
)
def test_what_is_not_plain(changes: dict[str, Any]) -> None:
    one = an_image(**changes)
    with stored_file(io.BytesIO(a_file(one))) as (stored, _):
        assert plain_image(stored) is None


def test_what_is_cut_long_or_out_of_order_is_not_plain() -> None:
    one = an_image()
    whole = a_file(one)
    with stored_file(io.BytesIO(whole)) as (stored, _):
        assert plain_image(stored) is not None
    overlay = an_image()
    overlay.add_new(0x60003000, "OW", bytes(16))
    swapped = whole.replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x01US")
    no_vr = whole.replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00UL")
    comment = an_image(OtherPatientNames=["x" * 60] * 800)
    for content in (whole[:-1], whole[:600], a_file(overlay), swapped, no_vr, a_file(comment)):
        with stored_file(io.BytesIO(content)) as (stored, _):
            assert plain_image(stored) is None
    for syntax in ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.70", "1.2.3"):
        assert plain_image(StoredObject(io.BytesIO(whole), syntax, 0, len(whole))) is None


@pytest.mark.filterwarnings("ignore")
def test_real_files_look_alike_both_ways() -> None:
    tried = 0
    for path in REAL_FILES:
        if path.stat().st_size > 1 << 20:
            continue
        try:
            with stored_file(io.BytesIO(path.read_bytes())) as (stored, _):
                shown = plainly(stored, 0, None)
                if shown is not None:
                    assert alike(shown, general(stored, 0, None)), path.name
                    tried += 1
        except Unreadable:
            continue
    assert tried > 10
