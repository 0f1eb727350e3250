"""What an answer to a C-STORE means for the instance, and for the job (PS3.4 annex B.2.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

SUCCESS: Final = 0x0000
DUPLICATE: Final = 0x0111
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116, DUPLICATE})
_RETRIED: Final = {
    0x0110: "ProcessingFailure",
    0x0210: "DuplicateInvocation",
    0x0213: "ResourceLimitation",
}
_REFUSED: Final = {
    0x0117: "InvalidSopInstance",
    0x0122: "SopClassNotSupported",
    0x0124: "NotAuthorised",
}
_MOST_TAGS: Final = 8
_WARNING_CLASS: Final = 0xB  # Bxxx
_CANNOT_UNDERSTAND_CLASS: Final = 0xC  # Cxxx
_OUT_OF_RESOURCES: Final = 0xA7  # A7xx
_BY_CLASS: Final = {_OUT_OF_RESOURCES: "OutOfResources", 0xA9: "DataSetDoesNotMatch"}


class Verdict(Enum):
    """What becomes of an instance."""

    SENT = "sent"
    WARNED = "warned"
    """Sent; the destination had something to say about it, which is kept and shown."""
    RETRY = "retry"
    SUSPECT = "suspect"
    """The association ended while it was under way; it is sent again by itself."""
    FAILED = "failed"
    """Sending it again as it is cannot help."""


@dataclass(frozen=True)
class Outcome:
    """What became of one instance. `reason` is empty when all is well."""

    verdict: Verdict
    reason: str = ""
    status: int | None = None
    transfer_syntax_uid: str = ""

    @property
    def arrived(self) -> bool:
        """Whether the destination has it."""
        return self.verdict in (Verdict.SENT, Verdict.WARNED)


def without(outcome: Outcome, left_out: Sequence[str]) -> Outcome:
    """Return what became of an instance that was sent without some elements."""
    if not left_out or outcome.verdict is not Verdict.SENT:
        return outcome
    tags = " ".join(left_out[:_MOST_TAGS])
    return replace(outcome, verdict=Verdict.WARNED, reason=f"ElementsLeftOut {tags}")


def classify(status: int, transfer_syntax_uid: str) -> Outcome:
    """Return what the status of a C-STORE response means."""
    if status == SUCCESS:
        return Outcome(Verdict.SENT, "", status, transfer_syntax_uid)
    high = status >> 8
    if status in _WARNINGS or high >> 4 == _WARNING_CLASS:
        word = "AlreadyThere" if status == DUPLICATE else f"Warning{status:04X}"
        return Outcome(Verdict.WARNED, word, status, transfer_syntax_uid)
    if high == _OUT_OF_RESOURCES:
        return Outcome(Verdict.RETRY, _BY_CLASS[high], status)
    if status in _RETRIED:
        return Outcome(Verdict.RETRY, _RETRIED[status], status)
    if high >> 4 == _CANNOT_UNDERSTAND_CLASS:
        return Outcome(Verdict.FAILED, "CannotUnderstand", status)
    word = _REFUSED.get(status) or _BY_CLASS.get(high) or f"Refused{status:04X}"
    return Outcome(Verdict.FAILED, word, status)
