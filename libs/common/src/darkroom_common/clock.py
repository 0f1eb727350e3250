"""Time, as a value that tests can own."""

import time
from datetime import UTC, datetime
from typing import Protocol


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

    def now(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


SYSTEM_CLOCK = SystemClock()
