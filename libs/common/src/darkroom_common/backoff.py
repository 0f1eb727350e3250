"""When a job or a destination is tried again (TRX-03)."""

from typing import Final

from darkroom_common.specs.destinations import Backoff

JITTER: Final = 0.1
"""Share of the delay by which it may be shorter or longer: jobs of one outage spread."""


def delay(backoff: Backoff, attempt: int, chance: float) -> float:
    """Return the seconds from the last attempt to the next.

    Args:
        backoff: of the destination.
        attempt: 0 after the first failure.
        chance: from 0 to 1, the jitter's.
    """
    try:
        plain = backoff.initial_seconds * backoff.multiplier**attempt
    except OverflowError:
        plain = backoff.ceiling_seconds
    spread = 1 - JITTER + 2 * JITTER * chance
    return min(backoff.ceiling_seconds, min(plain, backoff.ceiling_seconds) * spread)
