"""Greyscale frames as they are stored are what pydicom makes of them."""

import random
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from darkroom_common.pixels.decoding import native_grey, stored_values

ROWS, COLUMNS = 5, 7


def an_image(**changes: Any) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    given: dict[str, Any] = {
        "Rows": ROWS,
        "Columns": COLUMNS,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
    }
    for keyword, value in (given | changes).items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(("allocated", "stored"), [(8, 8), (8, 5), (16, 16), (16, 12), (16, 1)])
def test_it_is_what_pydicom_makes(
    allocated: int, stored: int, signed: int, photometric: str
) -> None:
    dataset = an_image(
        BitsAllocated=allocated,
        BitsStored=stored,
        HighBit=stored - 1,
        PixelRepresentation=signed,
        PhotometricInterpretation=photometric,
    )
    frame = random.Random(stored).randbytes(ROWS * COLUMNS * allocated // 8)
    found = native_grey(frame, dataset)
    dataset.PixelData = frame + b"\0" * (len(frame) % 2)
    wanted, told = stored_values(dataset, 1)
    assert found is not None
    assert (found[1], found[0].dtype) == (told, wanted.dtype)
    assert np.array_equal(found[0], wanted)


@pytest.mark.parametrize(
    "changes",
    [
        {"SamplesPerPixel": 3},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"BitsAllocated": 1, "BitsStored": 1},
        {"BitsAllocated": 32, "BitsStored": 32},
        {"BitsStored": 17},
        {"BitsStored": 0},
        {"PixelRepresentation": 2},
        {"Rows": 0},
        {"Columns": COLUMNS + 1},
    ],
)
def test_all_else_is_left_to_pydicom(changes: dict[str, Any]) -> None:
    frame = bytes(ROWS * COLUMNS * 2)
    assert native_grey(frame, an_image()) is not None
    assert native_grey(frame, an_image(**changes)) is None
    for missing in changes:
        dataset = an_image()
        delattr(dataset, missing)
        assert native_grey(frame, dataset) is None
