"""A count that slides, decided without I/O."""

from dataclasses import dataclass
from math import ceil, floor
from typing import Final

_ROUNDING: Final = 1e-6


@dataclass(frozen=True)
class Window:
    """What is counted for somebody in a period that slides.

    Attributes:
        limit: in a period.
        seconds: of a period. Periods begin at multiples of it since 1970.
        previous: that were counted in the period before.
        current: that were counted in this one.
        elapsed: of this one, 0 to 1.
    """

    limit: int
    seconds: int
    previous: int
    current: int
    elapsed: float

    @property
    def used(self) -> int:
        """What counts now: of the period before what lies within a period's length."""
        return floor(self.previous * (1 - self.elapsed)) + self.current

    @property
    def left(self) -> int:
        """How many more may come now."""
        return max(0, self.limit - self.used)

    @property
    def ends_in(self) -> int:
        """Seconds until the next period begins."""
        return max(1, ceil((1 - self.elapsed) * self.seconds))

    @property
    def free_in(self) -> int:
        """Seconds until one more may come, if nothing else comes meanwhile; at least 1."""
        # `previous * (1 - elapsed)` has to fall below `room`.
        room = self.limit - self.current
        if room > 0:
            share = 1 - room / self.previous if self.previous else self.elapsed
            wait = share - self.elapsed
        else:
            wait = 1 - self.elapsed + max(0.0, 1 - self.limit / self.current)
        return max(1, floor(wait * self.seconds + _ROUNDING) + 1)
