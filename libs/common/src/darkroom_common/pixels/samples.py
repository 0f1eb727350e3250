"""Arrays of samples: what decoders give, and what is shown."""

from typing import Any, Final

import numpy.typing as npt

Samples = npt.NDArray[Any]
"""(rows, columns), or (rows, columns, samples)."""
OCTET: Final = 8
"""Bits of a sample that is one byte; every other sample takes two."""
_SAMPLES_AXIS: Final = 3


def is_colour(samples: Samples) -> bool:
    """Tell (rows, columns, samples) from (rows, columns)."""
    return samples.ndim == _SAMPLES_AXIS
