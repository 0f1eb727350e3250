"""Greyscale by a table of the values that occur: wherever their range lies."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from darkroom_common.pixels.frame import FrameHeader
from darkroom_common.pixels.grayscale import displayed
from darkroom_common.pixels.window import Window


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [
        (0, 255, "u1"),
        (0, 4095, "u2"),
        (1000, 1010, "u2"),
        (65000, 65535, "u2"),
        (-10, -8, "i2"),
        (-1024, 3000, "i2"),
        (-32768, 32767, "i2"),
        (5, 9, "i2"),
        (-3, 0, "i1"),
        (7, 7, "i2"),
    ],
)
def test_every_value_is_shown_as_the_window_says(low: int, high: int, kind: str) -> None:
    values = np.linspace(low, high, 24).astype(kind).reshape(4, 6)
    header = Dataset()
    header.BitsStored = 8 * values.dtype.itemsize
    header.PixelRepresentation = int(kind.startswith("i"))
    header.PhotometricInterpretation = "MONOCHROME2"
    center, width = (low + high) / 2 + 0.5, max(2.0, float(high - low))
    shown = displayed(values, FrameHeader(header, 1), Window(center, width))
    expected = np.clip((values - center + 0.5) / (width - 1) + 0.5, 0.0, 1.0)
    assert shown == pytest.approx(expected, abs=1e-6)
