"""Bytes a second of one destination, shared by the threads of its associations."""

import threading
from collections.abc import Callable
from typing import Final

from darkroom_common.clock import monotonic

PIECE: Final = 32 * 1024
"""Bytes sent at once under a throttle."""
_BURST_SECONDS: Final = 0.25


class Throttle:
    """A token bucket. `rate` None lets everything pass."""

    def __init__(self, rate: int | None, *, clock: Callable[[], float] = monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock()

    def reserve(self, size: int) -> float:
        """Take `size` bytes of the rate; return the seconds to wait before they may go."""
        if self.rate is None:
            return 0.0
        with self._lock:
            now = self._clock()
            begins = max(self._free_at, now - _BURST_SECONDS)
            self._free_at = begins + size / self.rate
            return max(0.0, begins - now)
