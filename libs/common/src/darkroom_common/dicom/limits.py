"""Bounds on what is read, so that a hostile data set costs no more than its size."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadLimits:
    """Bounds of one data set."""

    depth: int = 64
    """Sequences within sequences."""
    elements: int = 500_000
    """Elements and items, at all levels."""
    inflated_bytes: int = 4 << 30
    """What a deflated data set may grow to while it is checked; only a window is held."""


DEFAULT_LIMITS = ReadLimits()
