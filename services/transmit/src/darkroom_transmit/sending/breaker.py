"""The circuit breaker of one destination: while it is away, nobody waits for its time limits."""

from dataclasses import dataclass
from typing import Final, Literal

THRESHOLD: Final = 3
"""Failures in a row of the association, not of single instances."""
_UNREACHED: Final = frozenset(
    {"ConnectionRefused", "ConnectTimeout", "HostUnknown", "HostUnreachable"}
)
State = Literal["closed", "open", "half-open"]


@dataclass
class Breaker:
    """Closed: work passes. Open: none until a moment, then one piece of work as a probe.

    All moments are on the monotonic clock: a clock that is set moves none of them.
    """

    failures: int = 0
    reason: str = ""
    _until: float | None = None
    _probing: bool = False

    def state(self) -> State:
        """Return the state as people know it."""
        if self._until is None:
            return "closed"
        return "half-open" if self._probing else "open"

    def wait(self, now: float) -> float:
        """Return the seconds until work may pass; 0 when it may now, `inf` while a probe is on."""
        if self._until is None:
            return 0.0
        if self._probing:
            return float("inf")
        return max(0.0, self._until - now)

    def begin(self) -> bool:
        """Say that work passes; return whether it is a probe."""
        if self._until is None:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """Close."""
        self.failures = 0
        self.reason = ""
        self._until = None
        self._probing = False

    def nothing_learnt(self) -> None:
        """Say that the probe did not come to the peer at all."""
        self._probing = False

    def failed(self, reason: str, now: float, seconds: float) -> None:
        """Count a failure; from the threshold on, let nothing pass for some seconds."""
        self.failures += 1
        self.reason = reason
        self._probing = False
        if self.failures >= THRESHOLD:
            self._until = now + seconds

    def answered(self, now: float) -> None:
        """Hear that the peer has answered an echo: what could not reach it may try again now.

        It says nothing of a peer that can be reached and does not take what it is sent.
        """
        if self._until is not None and self.reason in _UNREACHED:
            self._until = min(self._until, now)

    def reset(self) -> None:
        """Forget what was learnt: the destination was changed, or an operator acts."""
        self.succeeded()
