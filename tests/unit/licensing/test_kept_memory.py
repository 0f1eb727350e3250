"""What of a licence's memory is worth writing, and what operators see of it."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from darkroom_common.telemetry.metrics import licensing as metrics
from darkroom_licensing.decision import Memory, confirmed
from darkroom_licensing.licence import _SEEN_KEPT, _changed, show

NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
SEEN = Memory(document="signed", seen_at=NOW)


@pytest.mark.parametrize(
    ("before", "after", "written"),
    [
        (SEEN, SEEN, False),
        (SEEN, SEEN.model_copy(update={"seen_at": NOW + _SEEN_KEPT / 2}), False),
        (SEEN, SEEN.model_copy(update={"seen_at": NOW + _SEEN_KEPT}), True),
        (SEEN, SEEN.model_copy(update={"seen_at": NOW - _SEEN_KEPT}), True),
        (SEEN, SEEN.model_copy(update={"failure": "no connection"}), True),
        (SEEN, SEEN.model_copy(update={"failure": "x", "seen_at": NOW + _SEEN_KEPT / 2}), True),
        (Memory(), Memory(), False),
        (Memory(), SEEN, True),
    ],
)
def test_what_tells_more_than_the_time_is_written_at_once(
    before: Memory, after: Memory, *, written: bool
) -> None:
    assert _changed(before, after) is written


def test_the_first_question_is_remembered_through_every_answer() -> None:
    document: Any = SimpleNamespace(issued_at=NOW)
    first = confirmed(Memory(), "signed", document, NOW, "odoo")
    assert first.asked_at == NOW
    asked = Memory(asked_at=NOW - timedelta(days=9))
    assert confirmed(asked, "signed", document, NOW, "odoo").asked_at == asked.asked_at


def test_operators_see_when_it_becomes_read_only_and_when_it_ends() -> None:
    ends = NOW + timedelta(days=30)
    standing: Any = SimpleNamespace(
        state="grace",
        read_only=False,
        read_only_from=NOW,
        document=SimpleNamespace(valid_until=ends),
    )
    show(standing)
    assert metrics.LICENCE_READ_ONLY_FROM._value.get() == NOW.timestamp()
    assert metrics.LICENCE_ENDS._value.get() == ends.timestamp()
    assert metrics.LICENCE_STATE.labels("grace")._value.get() == 1
    show(SimpleNamespace(state="valid", read_only=True, read_only_from=None, document=None))  # type: ignore[arg-type]
    assert metrics.LICENCE_READ_ONLY_FROM._value.get() == 0
    assert metrics.LICENCE_ENDS._value.get() == 0
    assert metrics.LICENCE_READ_ONLY._value.get() == 1
    assert metrics.LICENCE_STATE.labels("grace")._value.get() == 0
