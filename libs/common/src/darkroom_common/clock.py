"""Time: the one place where it is taken, as functions and as a value that tests can own."""

import time
from datetime import UTC, datetime
from typing import Final, Protocol

monotonic: Final = time.monotonic
"""Seconds that never go back: for every duration, deadline and back-off."""

wall_seconds: Final = time.time
"""Seconds of the wall clock since 1970: to compare with what files and other programs say."""


def utc_now() -> datetime:
    """Return the wall clock in UTC: for records that people read."""
    return datetime.now(UTC)


class Clock(Protocol):
    """What the system needs to know about time."""

    def now(self) -> datetime:
        """Return the wall clock in UTC: for records that people read."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back: for every duration and back-off."""
        ...


class SystemClock:
    """The clock of the machine."""

    now = staticmethod(utc_now)
    monotonic = staticmethod(monotonic)


SYSTEM_CLOCK = SystemClock()
