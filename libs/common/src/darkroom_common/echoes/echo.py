"""What an echo says of a node, and when the next one is due: decided without asking anybody."""

from dataclasses import dataclass
from typing import Final, Literal

State = Literal["", "UP", "DOWN"]
"""Empty: not known yet, or not asked."""

FAILURES: Final = 2
"""In a row, until a node is DOWN: one may be a blink of the network."""
CONFIRM_SECONDS: Final = 15.0
"""After a failure that is the first in a row."""
PUT_OFF_SECONDS: Final = 30.0
"""When all its associations were in use."""
_JITTER: Final = 0.2


@dataclass(frozen=True)
class Echo:
    """What became of one.

    Attributes:
        reason: a word of docs/transmit.md or docs/print.md; empty when it was answered.
        seconds: from the call to the answer.
    """

    reason: str
    seconds: float


@dataclass(frozen=True)
class Standing:
    """What is known of a node.

    Attributes:
        failures: in a row.
    """

    state: State = ""
    failures: int = 0

    def after(self, echo: Echo) -> "Standing":
        """Return what is known after one more."""
        if not echo.reason:
            return Standing("UP")
        failures = self.failures + 1
        return Standing("DOWN" if failures >= FAILURES else self.state, failures)

    def due(self, every: float, chance: float) -> float:
        """Return the seconds until the next one.

        Args:
            every: as it is set.
            chance: from 0 to 1, so that nodes that began together do not stay so.
        """
        soon = 0 < self.failures < FAILURES
        return (min(every, CONFIRM_SECONDS) if soon else every) * (1 + _JITTER * (chance - 0.5))
