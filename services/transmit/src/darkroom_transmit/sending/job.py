"""A job while this process works on it."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from opentelemetry.trace import Link

from darkroom_common.backoff import delay
from darkroom_common.specs.destinations import DestinationSpec
from darkroom_transmit.sending.outcome import Outcome
from darkroom_transmit.sending.sources import Item

BATCH: Final = 16
"""Instances that are sent before a job of higher priority may go first."""
BATCH_BYTES: Final = 32 << 20
Priority = Literal["low", "medium", "high"]
RANKS: Final[dict[str, int]] = {"high": 0, "medium": 1, "low": 2}
RANK_SECONDS: Final = 600.0
"""Waiting that counts as much as one step of priority: the low ones come to their turn."""
DICOM_PRIORITY: Final[dict[str, int]] = {"high": 1, "medium": 0, "low": 2}


@dataclass(frozen=True)
class Result:
    """What became of one instance of a job."""

    job_id: str
    sop_instance_uid: str
    outcome: Outcome


@dataclass
class Claimed:
    """A job that this process has claimed.

    Attributes:
        number: of this attempt, from 1.
        tries: attempts before this one that count for the back-off.
        origin: link to the association that brought the study of the first instance.
    """

    id: str
    destination: str
    priority: str
    number: int
    tries: int
    created_at: datetime
    traceparent: str
    rank: float
    items: deque[Item] = field(default_factory=deque)
    origin: list[Link] = field(default_factory=list)
    in_flight: int = 0
    unrecorded: int = 0
    arrived: int = 0
    failed: int = 0
    fault: str = ""
    fault_is_permanent: bool = False
    exhausted: bool = False
    stopped: bool = False

    @property
    def trace(self) -> dict[str, str]:
        """The trace headers of whoever asked for the job."""
        return {"traceparent": self.traceparent} if self.traceparent else {}

    @property
    def over(self) -> bool:
        """Whether nothing more happens in this attempt."""
        idle = not self.in_flight and not self.unrecorded
        return idle and (self.stopped or not self.items)

    def take(self) -> list[Item]:
        """Take the next instances of one transfer syntax."""
        batch: list[Item] = []
        size = 0
        while self.items and len(batch) < BATCH and size < BATCH_BYTES:
            if batch and self.items[0].transfer_syntax_uid != batch[0].transfer_syntax_uid:
                break
            item = self.items.popleft()
            batch.append(item)
            size += item.size
        return batch

    def stop(self, reason: str, *, permanent: bool = False, exhausted: bool = False) -> None:
        """Send nothing more in this attempt."""
        self.stopped = True
        self.items.clear()
        self.fault = self.fault or reason
        self.fault_is_permanent = self.fault_is_permanent or permanent
        self.exhausted = self.exhausted or exhausted


@dataclass(frozen=True)
class Ending:
    """How an attempt has ended.

    Attributes:
        state: of the job from now on.
        outcome: of the attempt.
        wait: seconds to the next attempt, for a job that waits.
        counts: whether it counts as a failed attempt for the back-off.
        commitment: whether the destination is to be asked to confirm what was sent.
    """

    state: Literal["SENT", "FAILED", "RETRYING", "PENDING"]
    outcome: Literal["sent", "failed", "retry", "interrupted"]
    reason: str = ""
    wait: float = 0.0
    counts: bool = False
    commitment: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a job is: instances in all, that wait, that have failed; the commonest reason."""

    total: int
    pending: int
    failed: int
    reason: str


def conclude(claimed: Claimed, progress: Progress, spec: DestinationSpec, chance: float) -> Ending:
    """Return how an attempt has ended that sends nothing more.

    Args:
        claimed: the job.
        progress: of all its instances.
        spec: of the destination.
        chance: from 0 to 1, for the jitter.
    """
    if not progress.pending:
        return _all_answered(progress, spec)
    backoff = spec.backoff
    if claimed.exhausted:  # it says nothing about the destination
        return Ending("RETRYING", "retry", "PoolExhausted", wait=backoff.initial_seconds)
    reason = claimed.fault or progress.reason
    if not reason:
        return Ending("PENDING", "interrupted")
    if claimed.fault_is_permanent or claimed.tries + 1 >= backoff.max_attempts:
        return Ending("FAILED", "failed", reason, counts=True)
    wait = delay(backoff, claimed.tries, chance)
    return Ending("RETRYING", "retry", reason, wait=wait, counts=True)


def _all_answered(progress: Progress, spec: DestinationSpec) -> Ending:
    if not progress.total:
        return Ending("FAILED", "failed", "ObjectsNotFound")
    if progress.failed:
        return Ending("FAILED", "failed", progress.reason)
    commitment = spec.commitment.enabled and spec.kind == "dimse"
    return Ending("SENT", "sent", commitment=commitment)
