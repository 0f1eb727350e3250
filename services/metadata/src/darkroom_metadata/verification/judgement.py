"""Is an object as it was received? Decided from what the index expects and what was seen."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from darkroom_common.dicom.part10 import FileMeta

LOOK_BYTES: Final = 4096
"""What looking at an object without reading it costs against the limit of bytes a second."""


class FindingKind(StrEnum):
    """What can be wrong with an object."""

    MISSING = "missing-object"
    ALTERED = "altered-object"
    WRONG_SIZE = "wrong-size"
    ORPHAN = "orphan-object"
    UNREADABLE = "unreadable"
    REPLICA = "replica-damaged"
    """The second store has not what was copied there."""


class Check(StrEnum):
    """The passes of verification."""

    CONTENTS = "contents"
    """Every object is read back; where there are two stores, every one of the fast store."""
    SLOW = "slow"
    """Every object of the slow store of two is read back."""
    ROWS = "rows"
    """Every row's object is there and has its size; nothing is read."""
    OBJECTS = "objects"
    """Every object of the store has a row."""
    REPLICA = "replica"
    """Every object of the second store is read back."""


@dataclass(frozen=True)
class Expected:
    """What a row (of an instance, or of a conflict) says of its object."""

    row_id: int
    is_conflict: bool
    instance_id: int
    object_key: str
    sha256: str
    size: int
    data_set_offset: int | None
    """None in rows of conflicts that an older release has written."""
    receipt: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str | None
    transfer_syntax_uid: str | None
    """None for a conflict: its row does not hold them."""
    head_sha256: str | None = None
    """Of the bytes before the data set; None in rows that an older release has written."""
    in_slow: bool = False
    """Whether it was seen in the slow store of two, and not in the fast one, the last time."""


@dataclass(frozen=True)
class Seen:
    """What the store has under a key. `whole_size` is None when there is nothing."""

    whole_size: int | None
    readable: bool = True
    head: FileMeta | None = None
    data_set_offset: int | None = None
    """Where the data set starts as the head has it; None when the head says nothing sound."""
    sha256: str | None = None
    """Of the data set; None when it was not read."""
    head_sha256: str | None = None


@dataclass(frozen=True)
class Finding:
    """Something wrong with one object."""

    kind: FindingKind
    object_key: str
    whole_size: int | None = None
    sha256: str | None = None
    expected: Expected | None = None
    """None for an object that no row names."""

    @property
    def receipt(self) -> str | None:
        """The receipt by which the log knows the object."""
        return self.expected.receipt if self.expected else None


def judge_size(expected: Expected, whole_size: int | None) -> FindingKind | None:
    """Decide by the size of the whole object alone; None is its absence."""
    if whole_size is None:
        return FindingKind.MISSING
    if expected.data_set_offset is None:
        return None if whole_size >= expected.size else FindingKind.WRONG_SIZE
    if whole_size != expected.data_set_offset + expected.size:
        return FindingKind.WRONG_SIZE
    return None


def judge(expected: Expected, seen: Seen) -> FindingKind | None:
    """Decide what is wrong with an object that was read back; None when it is well.

    The head is not under the data set's digest. Where the row has none of its own, what it repeats
    of the head is compared: a flipped bit in the transfer syntax would make every byte that
    follows mean something else.
    """
    if not seen.readable:
        return FindingKind.UNREADABLE
    by_size = judge_size(expected, seen.whole_size)
    if by_size is not None:
        return by_size
    sound = _head_is_sound(expected, seen) and seen.sha256 == expected.sha256
    return None if sound else FindingKind.ALTERED


def _head_is_sound(expected: Expected, seen: Seen) -> bool:
    head = seen.head
    if head is None or expected.head_sha256 not in (None, seen.head_sha256):
        return False
    if expected.data_set_offset not in (None, seen.data_set_offset):
        return False
    return (
        head.sop_instance_uid == expected.sop_instance_uid
        and expected.sop_class_uid in (None, head.sop_class_uid)
        and expected.transfer_syntax_uid in (None, head.transfer_syntax_uid)
    )


def judge_orphan(object_key: str, sha256: str) -> FindingKind:
    """Decide about an object without a row that was read: a key names the digest of its bytes."""
    return FindingKind.ORPHAN if sha256[:16] in object_key else FindingKind.ALTERED


def is_settled(modified: datetime, now: datetime, grace: timedelta) -> bool:
    """Tell whether an object is old enough that its row ought to be there."""
    return now - modified >= grace


def reconciled_receipt(object_key: str) -> str:
    """Return the receipt of an object that is published again: always the same for a key.

    The indexer's inbox knows it as the id of the message, so that a repair that is repeated, or
    done by two at once, takes effect once.
    """
    return hashlib.sha256(f"reconciled\x1f{object_key}".encode()).hexdigest()[:32]


@dataclass
class Pace:
    """Keeps a rate: never more than `rate` bytes a second on the whole, without bursts."""

    rate: int
    """Bytes a second; 0 is no limit."""
    _free_at: float = float("-inf")

    def spend(self, amount: int, now: float) -> float:
        """Return how many seconds to wait after `amount` bytes that were taken at `now`.

        Idle time is not saved up.
        """
        if self.rate == 0:
            return 0.0
        self._free_at = max(self._free_at, now) + amount / self.rate
        return self._free_at - now
