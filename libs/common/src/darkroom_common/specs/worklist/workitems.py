"""Workitems: unified procedure steps (PS3.3 annex B.26, PS3.4 annex CC, PS3.18 section 11).

An entry of the modality worklist is seen as a workitem, too: its UID is made of its id.
"""

import re
import uuid
from enum import IntEnum
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from darkroom_common.specs.base import Spec

State = Literal["SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"]
"""(0074,1000), PS3.4 section CC.1.1."""
FINAL: Final[frozenset[str]] = frozenset({"COMPLETED", "CANCELED"})
PUSH: Final = "1.2.840.10008.5.1.4.34.6.1"
"""SOP class of every workitem, whichever service it is worked with by (PS3.4 section CC.1)."""
EVENT: Final = "1.2.840.10008.5.1.4.34.6.4"
"""SOP class of the reports."""
WORKLIST: Final = "1.2.840.10008.5.1.4.34.5"
"""Who subscribes to it is told of all workitems."""
FILTERED_WORKLIST: Final = "1.2.840.10008.5.1.4.34.5.1"
"""Who subscribes to it is told of those that a filter names."""
WORKITEM_PURPOSE: Final = "workitem"
"""What workitems are sealed for where they are kept."""
FILTER_PURPOSE: Final = "workitem filter"
"""What the filters of subscriptions are sealed for."""
REPORT_PURPOSE: Final = "workitem report"
"""What is sealed for that a report says beyond states."""
PAYLOAD_LIMIT: Final = 256 * 1024
"""Bytes of a data set that is sent."""
MAX_KEYS: Final = 50
NO_TRANSACTION: Final = "the transaction UID is missing"
STATE_REPORT, CANCEL_REQUESTED, PROGRESS_REPORT, SCP_STATUS, ASSIGNED = range(1, 6)
GOING_DOWN: Final = "GOING DOWN"
"""Event types (PS3.4 table CC.2.4-1)."""


class UpsStatus(IntEnum):
    """What came of what was asked (PS3.4 section CC.2, PS3.7 annex C)."""

    SUCCESS = 0x0000
    INVALID_ATTRIBUTE_VALUE = 0x0106
    DUPLICATE_SOP_INSTANCE = 0x0111
    MISSING_ATTRIBUTE = 0x0120
    MISSING_ATTRIBUTE_VALUE = 0x0121
    NOT_AUTHORISED = 0x0124  # an entry of the modality worklist: modalities say what becomes of it
    RESOURCE_LIMITATION = 0x0213
    MODIFIED = 0xB300  # created or updated with modifications
    NO_DELETION_LOCK = 0xB301
    ALREADY_CANCELED = 0xB304
    ALREADY_COMPLETED = 0xB306
    FINAL = 0xC300  # it may no longer be updated
    WRONG_TRANSACTION = 0xC301
    ALREADY_IN_PROGRESS = 0xC302
    NEVER_SCHEDULED_AGAIN = 0xC303
    FINAL_STATE_NOT_MET = 0xC304
    NOT_THERE = 0xC307
    GONE = 0xC3F7  # ours: NOT_THERE any more (PS3.18 410)
    NOT_SCHEDULED = 0xC309  # as which it has to begin
    NOT_IN_PROGRESS = 0xC310
    COMPLETED = 0xC311  # it cannot be canceled any more

    @property
    def failed(self) -> bool:
        """Whether nothing was done."""
        return self not in (0, 0xB300, 0xB301, 0xB304, 0xB306)


_OF_ENTRY: Final = re.compile(r"2\.25\.(0|[1-9][0-9]{0,38})")


class Payload(Spec):
    """A data set as it was sent; it is read where it is kept.

    Attributes:
        content: DICOM JSON or an XML document of the Native DICOM Model.
        transaction_uid: the lock, where the address has it (PS3.18 section 11.6).
    """

    form: Literal["json", "xml"] = "json"
    content: str = ""
    transaction_uid: str = ""


Key = Annotated[str, StringConstraints(max_length=300)]


class Keys(Spec):
    """Matching keys by the tags of their paths, as `00404041` or `0040A370.00080050`."""

    values: dict[Key, Annotated[str, StringConstraints(max_length=4096)]] = Field(
        default={}, max_length=MAX_KEYS
    )


def uid_of_entry(entry_id: str) -> str:
    """Return the UID that an entry of the modality worklist has as a workitem (PS3.5 annex B.2)."""
    return f"2.25.{int(entry_id, 16)}"


def entry_of_uid(uid: str) -> str | None:
    """Return the id of the entry that a UID may be of; None: of none."""
    found = _OF_ENTRY.fullmatch(uid)
    number = int(found[1]) if found else -1
    return uuid.UUID(int=number).hex if 0 <= number < 1 << 128 else None
