"""What becomes of a delivery whose handler failed: decided without I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from darkroom_common.errors import DarkroomError, PermanentError
from darkroom_common.topology import CRASH_LIMIT, WorkQueue

ATTEMPT: Final = "x-darkroom-attempt"
REASON: Final = "x-darkroom-reason"
QUEUE: Final = "x-darkroom-queue"
DEAD_AT: Final = "x-darkroom-dead-at"
DELIVERY_COUNT: Final = "x-delivery-count"
TRACE_HEADERS: Final = ("traceparent", "tracestate")


@dataclass(frozen=True)
class Retry:
    """Wait in a tier, then come back to the same queue."""

    tier: str
    attempt: int


@dataclass(frozen=True)
class Dead:
    """Give up; an operator looks at it."""

    reason: str


def reason_of(error: BaseException) -> str:
    """Return words for operators. Only our own errors speak: a library's text may hold PHI."""
    if isinstance(error, DarkroomError):
        return f"{type(error).__name__}: {error}"[:500]
    return type(error).__name__


def decide(queue: WorkQueue, *, failed_before: int, error: Exception) -> Retry | Dead:
    """Return what to do with a message after one more failure."""
    if isinstance(error, PermanentError):
        return Dead(reason_of(error))
    attempt = failed_before + 1
    tier = queue.tier(attempt)
    if tier is None:
        return Dead(f"gave up after {attempt} attempts: {reason_of(error)}")
    return Retry(tier, attempt)


def crashed_too_often(crashes: int) -> Dead | None:
    """Return `Dead` for a message that consumers keep dying on."""
    if crashes < CRASH_LIMIT:
        return None
    return Dead(f"consumer died {crashes} times while it held this message")


def attempts_in(headers: Mapping[str, object]) -> int:
    """Return how many attempts have failed before."""
    value = headers.get(ATTEMPT, 0)
    return value if isinstance(value, int) and value >= 0 else 0


def crashes_in(headers: Mapping[str, object]) -> int:
    """Return how often the broker got the message back without a word."""
    value = headers.get(DELIVERY_COUNT, 0)
    return value if isinstance(value, int) and value >= 0 else 0
