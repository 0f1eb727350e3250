"""How far a C-GET or C-MOVE has come, and what it is answered with (PS3.4 C.4.2.1 and C.4.3.1)."""

from dataclasses import dataclass, field
from typing import Final

from pydicom.dataset import Dataset

from darkroom_common.dimse.serving import Answer
from darkroom_common.dimse.statuses import (
    CANCELLED,
    PENDING_MATCH,
    SUB_OPERATIONS_FAILED,
    SUCCESS,
    UNABLE_TO_SEND,
)
from darkroom_common.dimse.wire.command import Element, Value

MOST: Final = 65_535
"""Sub-operations of one retrieval: their counts are numbers of two bytes."""


@dataclass
class Progress:
    """Counts of sub-operations.

    Attributes:
        named: SOP instance UIDs of what has failed, as far as they are known yet.
    """

    remaining: int
    completed: int = 0
    warned: int = 0
    failed: int = 0
    named: list[str] = field(default_factory=list)

    def fail(self, *uids: str) -> None:
        """Count instances that remained as failed."""
        self.named += uids
        self.failed += len(uids)
        self.remaining -= len(uids)

    def pending(self) -> Answer:
        """Return an answer that others follow."""
        return Answer(PENDING_MATCH, elements=self._counts(remaining=True))

    def last(self, *, cancelled: bool = False) -> Answer:
        """Return the last answer: it names what has failed."""
        status = self._status(cancelled=cancelled)
        identifier = None
        if self.named:
            identifier = Dataset()
            identifier.FailedSOPInstanceUIDList = self.named
        return Answer(status, identifier, self._counts(remaining=cancelled))

    def _status(self, *, cancelled: bool) -> int:
        if cancelled:
            return CANCELLED
        if not self.failed and not self.warned:
            return SUCCESS
        return SUB_OPERATIONS_FAILED if self.completed or self.warned else UNABLE_TO_SEND

    def _counts(self, *, remaining: bool) -> dict[int, Value]:
        found: dict[int, Value] = {Element.REMAINING: self.remaining} if remaining else {}
        return found | {
            Element.COMPLETED: self.completed,
            Element.FAILED: self.failed,
            Element.WARNED: self.warned,
        }
