"""How far a retrieval has come, as PS3.4 tables C.4-2 and C.4-3 have it."""

import pytest
from pydicom.dataset import Dataset

from darkroom_common.dimse.statuses import (
    CANCELLED,
    PENDING_MATCH,
    SUB_OPERATIONS_FAILED,
    SUCCESS,
    UNABLE_TO_SEND,
)
from darkroom_common.dimse.wire.command import Element
from darkroom_ingest.answering.progress import Progress


@pytest.mark.parametrize(
    ("completed", "warned", "failed", "status"),
    [
        (0, 0, 0, SUCCESS),
        (2, 0, 0, SUCCESS),
        (2, 0, 1, SUB_OPERATIONS_FAILED),
        (2, 1, 0, SUB_OPERATIONS_FAILED),
        (0, 1, 0, SUB_OPERATIONS_FAILED),
        (0, 1, 1, SUB_OPERATIONS_FAILED),
        (0, 0, 1, UNABLE_TO_SEND),
    ],
)
def test_the_last_answer_says_how_it_went(
    completed: int, warned: int, failed: int, status: int
) -> None:
    progress = Progress(0, completed, warned, failed)
    last = progress.last()
    assert last.status == status
    assert last.elements == {
        Element.COMPLETED: completed,
        Element.FAILED: failed,
        Element.WARNED: warned,
    }
    assert progress.last(cancelled=True).status == CANCELLED


def test_what_remains_is_told_until_the_end_and_of_what_was_cancelled() -> None:
    progress = Progress(5, completed=1)
    assert progress.pending().status == PENDING_MATCH
    assert progress.pending().elements[Element.REMAINING] == 5
    assert progress.last(cancelled=True).elements[Element.REMAINING] == 5
    assert Element.REMAINING not in progress.last().elements


def test_what_has_failed_is_counted_once_and_named_at_the_end_alone() -> None:
    progress = Progress(5)
    assert progress.last().data_set is None
    assert set(progress.last().elements.values()) == {0}
    progress.fail("1.2", "1.3")
    progress.fail("1.4")
    assert (progress.remaining, progress.failed) == (2, 3)
    assert progress.pending().data_set is None
    identifier = progress.last().data_set
    assert isinstance(identifier, Dataset)
    assert list(identifier.FailedSOPInstanceUIDList) == ["1.2", "1.3", "1.4"]
