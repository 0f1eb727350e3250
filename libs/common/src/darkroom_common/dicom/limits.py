"""Bounds on what is read, so that a hostile data set costs no more than its size."""

import sys
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class ReadLimits:
    """Bounds of one data set."""

    depth: int = 64
    """Sequences within sequences."""
    elements: int = 500_000
    """Elements and items, at all levels."""
    inflated_bytes: int = 4 << 30
    """What a deflated data set may grow to while it is checked; only a window is held."""


DEFAULT_LIMITS: Final = ReadLimits()
NO_LIMITS: Final = ReadLimits(sys.maxsize, sys.maxsize, sys.maxsize)
"""For what was checked when it was received: a limit that is lowered later must not lose it."""
