"""Images to print."""

from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from tests.support.builders import a_data_set, new_uid


def an_image(number: int = 1, *, rows: int = 64, columns: int = 80, **changes: Any) -> Dataset:
    """Return a 12-bit image with a gradient that tells its number."""
    y, x = np.mgrid[0:rows, 0:columns]
    pixels = ((x * 37 + y * 11 + number * 501) % 4096).astype("<u2")
    given: dict[str, Any] = {
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelSpacing": [0.5, 0.5],
        "WindowCenter": 2048,
        "WindowWidth": 4096,
        "InstanceNumber": number,
        "PixelData": pixels.tobytes(),
    }
    return a_data_set(**(given | changes))


def a_series(count: int, **changes: Any) -> list[Dataset]:
    """Return the images of one series."""
    study, series = new_uid(), new_uid()
    return [
        an_image(number, StudyInstanceUID=study, SeriesInstanceUID=series, **changes)
        for number in range(1, count + 1)
    ]


def samples(item: Dataset) -> np.ndarray[Any, Any]:
    """Return the pixels of an image item or hardcopy image: (rows, columns[, 3])."""
    kind = "<u2" if item.BitsAllocated == 16 else "u1"
    shape = (item.Rows, item.Columns)
    flat = np.frombuffer(item.PixelData, kind)
    if item.SamplesPerPixel == 3:
        return np.moveaxis(flat[: 3 * shape[0] * shape[1]].reshape(3, *shape), 0, 2)
    return flat[: shape[0] * shape[1]].reshape(shape)
