"""Status codes, in one place (PS3.4 annexes B.2.3, C.4 and F, PS3.7 annex C)."""

from enum import IntEnum
from typing import Final


class StoreStatus(IntEnum):
    """Answers to a C-STORE, and to a part of STOW (PS3.18 section 10.5.3)."""

    SUCCESS = 0x0000
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    """The command names a SOP class that is no storage SOP class that is accepted here."""
    REFUSED_NOT_AUTHORISED = 0x0124
    """This AE may not store this."""
    REFUSED_OUT_OF_RESOURCES = 0xA700
    """No room, a failed sync, anything unexpected: the sender keeps its copy and tries again."""
    DATA_SET_DOES_NOT_MATCH = 0xA900
    """SOP class or instance UID of the command differ from the data set."""
    OTHER_STUDY = 0xA901
    """STOW: it is not of the study that the path names."""
    CANNOT_UNDERSTAND = 0xC000
    """The data set is not whole, or over a limit."""
    TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122
    """STOW: bulk data are in a format that no object can hold, or contradict their label."""

    def __str__(self) -> str:
        """Return the four hexadecimal digits that the standard writes."""
        return f"{self.value:04X}"


SUCCESS: Final = 0x0000
CANCELLED: Final = 0xFE00
PENDING_MATCH: Final = 0xFF00
PENDING_PARTLY: Final = 0xFF01
"""A match; some optional key of the query is not known, or not matched."""
PENDING: Final = frozenset({PENDING_MATCH, PENDING_PARTLY})
ATTRIBUTES_NOT_TAKEN: Final = 0x0107
"""Done, but for some attributes that may not be set."""
INVALID_ATTRIBUTE_VALUE: Final = 0x0106
NO_SUCH_SOP_INSTANCE: Final = 0x0112
MISSING_ATTRIBUTE: Final = 0x0120
MISSING_ATTRIBUTE_VALUE: Final = 0x0121
RESOURCE_LIMITATION: Final = 0x0213
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_SOP_INSTANCE: Final = 0x0111
INVALID_ARGUMENT: Final = 0x0115
INVALID_SOP_INSTANCE: Final = 0x0117
NO_SUCH_SOP_CLASS: Final = 0x0118
CLASS_INSTANCE_CONFLICT: Final = 0x0119
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
NOT_AUTHORISED: Final = 0x0124
NO_SUCH_ACTION: Final = 0x0123
DUPLICATE_TRANSACTION: Final = 0x0131
"""Of storage commitment: the transaction UID stands for another request."""
UNRECOGNISED_OPERATION: Final = 0x0211
OUT_OF_RESOURCES: Final = 0xA700
UNABLE_TO_COUNT: Final = 0xA701
"""Of a retrieval: how much it would be cannot be told."""
UNABLE_TO_SEND: Final = 0xA702
"""Of a retrieval: no sub-operation was done."""
MOVE_DESTINATION_UNKNOWN: Final = 0xA801
IDENTIFIER_DOES_NOT_MATCH: Final = 0xA900
UNABLE_TO_PROCESS: Final = 0xC000
SUB_OPERATIONS_FAILED: Final = 0xB000
"""One or more C-STOREs of a C-MOVE or C-GET have failed or warned."""
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})
_WARNING_CLASS: Final = 0xB

_MEANINGS: Final = {
    0x0105: "no such attribute",
    0x0106: "an attribute has a value that is not allowed",
    0x0107: "some attributes were not taken",
    0x0110: "processing failure",
    0x0111: "there is such a SOP instance already",
    0x0112: "there is no such SOP instance",
    0x0115: "an argument is not allowed",
    0x0116: "an attribute value is out of its range",
    0x0117: "the SOP instance UID is not allowed",
    0x0118: "no such SOP class",
    0x0119: "the SOP instance is of another class",
    0x0120: "an attribute is missing",
    0x0121: "an attribute has no value",
    0x0122: "the SOP class is not supported",
    0x0123: "no such action",
    0x0124: "not authorised",
    0x0131: "the transaction UID stands for another request",
    0x0210: "the invocation is a duplicate",
    0x0211: "the operation is not known",
    0x0212: "an argument has another type than expected",
    0x0213: "resource limitation",
    0xA700: "out of resources",
    0xA701: "out of resources: the matches cannot be counted",
    0xA702: "out of resources: the sub-operations cannot be done",
    0xA801: "the move destination is not known there",
    0xA900: "the identifier does not fit the SOP class",
    0xFE00: "cancelled",
}


def is_pending(status: int) -> bool:
    """Tell whether more responses follow."""
    return status in PENDING


def is_failure(status: int) -> bool:
    """Tell whether what was asked was not done, not even with a warning (PS3.7 annex C)."""
    warned = status in _WARNINGS or status >> 12 == _WARNING_CLASS
    return not (status in {SUCCESS, CANCELLED, *PENDING} or warned)


def meaning(status: int) -> str:
    """Return what a status of another node says, in words."""
    known = _MEANINGS.get(status)
    if known is not None:
        return known
    if status & 0xF000 == 0xC000:  # noqa: PLR2004 - the class of statuses
        return "unable to process"
    if status & 0xFF00 == 0xA700:  # noqa: PLR2004
        return "out of resources"
    return "a warning" if status & 0xF000 == 0xB000 else "refused"  # noqa: PLR2004
