"""A job while this process works on it."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.dimse.wire.command import Element, Value
from darkroom_common.jobs.attempt import Attempt, Ending, retry_or_fail
from darkroom_common.jobs.kind import Phases
from darkroom_common.specs.destinations import DestinationSpec
from darkroom_transmit.sending.outcome import Outcome
from darkroom_transmit.sending.sources import Item

PHASES: Final = Phases(
    waiting="PENDING",
    working=("SENDING",),
    retrying="RETRYING",
    ended_well=("SENT", "COMMITTED"),
    failed="FAILED",
    cancelled="CANCELLED",
)
BATCH: Final = 16
"""Instances that are sent before a job of higher priority may go first."""
BATCH_BYTES: Final = 32 << 20
RANK_SECONDS: Final = 600.0
"""Waiting that counts as much as one step of priority: the low ones come to their turn."""
DICOM_PRIORITY: Final[dict[str, int]] = {"high": 1, "medium": 0, "low": 2}


@dataclass(frozen=True)
class Result:
    """What became of one instance of a job."""

    job_id: str
    sop_instance_uid: str
    outcome: Outcome


@dataclass(eq=False)
class Claimed(Attempt):
    """A job whose instances are sent here, some at a time, by as many slots as the lane has.

    Attributes:
        items: what is left to send in this attempt.
        suspects: what is sent after them, each by itself; see `Suspicion`.
        halted: nothing more is sent in this attempt.
        finishing: somebody writes the end of the attempt.
    """

    items: deque[Item] = field(default_factory=deque)
    suspects: deque[Item] = field(default_factory=deque)
    in_flight: int = 0
    unrecorded: int = 0
    arrived: int = 0
    failed: int = 0
    fault: str = ""
    fault_is_permanent: bool = False
    exhausted: bool = False
    halted: bool = False
    finishing: bool = False

    def __post_init__(self) -> None:
        """Send no more when it is to stop."""
        self.when_stopped(lambda _: self.halt(""))

    @property
    def elements(self) -> dict[int, Value]:
        """Elements of each C-STORE: the priority, and whose C-MOVE it is, if it is one's."""
        found: dict[int, Value] = {Element.PRIORITY: DICOM_PRIORITY[self.row["priority"]]}
        if self.row["originator"]:
            found[Element.MOVE_ORIGINATOR] = str(self.row["originator"])
            found[Element.MOVE_ORIGINATOR_MESSAGE_ID] = int(self.row["originator_message_id"])
        return found

    @property
    def is_ready(self) -> bool:
        """Whether there is a batch to take."""
        return bool(self.items or (self.suspects and not self.in_flight))

    @property
    def over(self) -> bool:
        """Whether nothing more happens in this attempt."""
        idle = not self.in_flight and not self.unrecorded
        return idle and (self.halted or not (self.items or self.suspects))

    def take(self) -> list[Item]:
        """Take the next instances of one transfer syntax, or one that is sent by itself."""
        if not self.items:
            return [self.suspects.popleft()]
        batch: list[Item] = []
        size = 0
        while self.items and len(batch) < BATCH and size < BATCH_BYTES:
            if batch and self.items[0].transfer_syntax_uid != batch[0].transfer_syntax_uid:
                break
            item = self.items.popleft()
            batch.append(item)
            size += item.size
        return batch

    def halt(self, reason: str, *, permanent: bool = False, exhausted: bool = False) -> None:
        """Send nothing more in this attempt."""
        self.halted = True
        self.items.clear()
        self.suspects.clear()
        self.fault = self.fault or reason
        self.fault_is_permanent = self.fault_is_permanent or permanent
        self.exhausted = self.exhausted or exhausted


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
    if claimed.exhausted:  # it says nothing about the destination
        return Ending(PHASES.retrying, "PoolExhausted", wait=spec.backoff.initial_seconds)
    reason = claimed.fault or progress.reason
    if not reason:
        return Ending(PHASES.waiting)
    if claimed.fault_is_permanent:
        return Ending(PHASES.failed, reason, counts=True)
    return retry_or_fail(
        claimed, spec.backoff, reason, retrying=PHASES.retrying, failed=PHASES.failed, chance=chance
    )


def _all_answered(progress: Progress, spec: DestinationSpec) -> Ending:
    if not progress.total:
        return Ending(PHASES.failed, "ObjectsNotFound")
    if progress.failed:
        return Ending(PHASES.failed, progress.reason)
    committed = spec.commitment.enabled and spec.kind == "dimse"
    return Ending("SENT", columns={"commitment": "wanted" if committed else ""})
