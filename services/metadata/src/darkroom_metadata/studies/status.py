"""The states of a study, and who may take it from one to another (MET-04).

    receiving → complete → verified → archived → deleted

An instance that arrives takes a study back to `receiving` from any state: nothing that is received
may stay hidden. Quiet time completes it; reading all of it back well verifies it, and damage takes
that back. Everything else is asked for by a person or a program.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class StudyStatus(StrEnum):
    """Where a study is in its life."""

    RECEIVING = "receiving"
    COMPLETE = "complete"
    VERIFIED = "verified"
    ARCHIVED = "archived"
    DELETED = "deleted"


BY_COMMAND: Final[Mapping[StudyStatus, frozenset[StudyStatus]]] = {
    StudyStatus.COMPLETE: frozenset(
        {StudyStatus.VERIFIED, StudyStatus.ARCHIVED, StudyStatus.DELETED}
    ),
    StudyStatus.VERIFIED: frozenset({StudyStatus.COMPLETE}),
    StudyStatus.ARCHIVED: frozenset({StudyStatus.COMPLETE, StudyStatus.VERIFIED}),
    StudyStatus.DELETED: frozenset(
        {StudyStatus.RECEIVING, StudyStatus.COMPLETE, StudyStatus.VERIFIED, StudyStatus.ARCHIVED}
    ),
}
"""From which states a command may take a study to each; what is not here no command may do."""


def may_change(old: StudyStatus, new: StudyStatus) -> bool:
    """Tell whether a command may take a study from one state to another."""
    return old in BY_COMMAND.get(new, frozenset())
