"""What is in force, from what is remembered and the time."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_licensing import decision
from darkroom_licensing.calendar import WorkingDays
from darkroom_licensing.decision import GRACE, Memory, Source, Standing
from darkroom_licensing.document import Document
from tests.support.licences import WORKING, ZONE

MONDAY = datetime(2026, 11, 30, 9, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
_MOMENTS = st.integers(0, 40 * 366 * 86400).map(lambda one: MONDAY + timedelta(seconds=one))


def a_document(until: timedelta | None = 365 * DAY, issued: datetime = MONDAY) -> Document:
    end = None if until is None else MONDAY + until
    return Document(licence_id="L", issued_at=issued, valid_from=MONDAY - DAY, valid_until=end)


def in_force(
    memory: Memory,
    document: Document | None,
    now: datetime,
    *,
    source: Source = "odoo",
    working: WorkingDays = WORKING,
) -> Standing:
    memory = decision.observed(memory, document, source, now)
    return decision.decide(memory, document, source, now, working)


def remembered(document: Document) -> Memory:
    return decision.confirmed(Memory(), "signed", document, MONDAY, "odoo")


def test_without_a_licence_server_and_file_it_is_the_community_edition_and_says_so() -> None:
    found = in_force(Memory(), None, MONDAY, source="none")
    assert (found.state, found.read_only, found.document) == ("unconfigured", False, None)
    assert "community edition" in found.reason


def test_a_confirmed_licence_is_valid_and_nobody_is_troubled() -> None:
    found = in_force(remembered(a_document()), a_document(), MONDAY)
    assert (found.state, found.reason, found.notice, found.stage) == ("valid", "", "nobody", "")


@pytest.mark.parametrize(
    ("away", "state", "notice", "read_only"),
    [
        (HOUR, "grace", "administrator", False),
        (13 * HOUR, "grace", "administrator", False),
        (71 * HOUR, "grace", "users", False),
        (72 * HOUR, "grace", "users", False),
        (80 * HOUR - timedelta(seconds=1), "grace", "users", False),
        (80 * HOUR, "expired", "users", True),
        (1000 * HOUR, "expired", "users", True),
    ],
)
def test_72_hours_without_odoo_then_read_only_at_the_end_of_that_working_day(
    away: timedelta, state: str, notice: str, *, read_only: bool
) -> None:
    memory = decision.failed(remembered(a_document()), "no route to host", MONDAY + HOUR)
    memory = decision.observed(memory, a_document(), "odoo", MONDAY + min(away, GRACE))
    found = in_force(memory, a_document(), MONDAY + away)
    assert (found.state, found.notice, found.read_only) == (state, notice, read_only)
    assert "no route to host" in found.reason
    assert found.read_only_from == datetime(2026, 12, 3, 17, tzinfo=UTC)  # Thursday, 18:00 there


def test_back_again_all_is_as_it_was() -> None:
    memory = decision.failed(remembered(a_document()), "away", MONDAY)
    memory = decision.observed(memory, a_document(), "odoo", MONDAY + 5 * DAY)
    now = MONDAY + 10 * DAY
    memory = decision.confirmed(memory, "signed", a_document(issued=now), now, "odoo")
    assert in_force(memory, a_document(), now).state == "valid"


@pytest.mark.parametrize(
    ("left", "state", "notice", "stage"),
    [
        (31 * DAY, "valid", "nobody", ""),
        (29 * DAY, "valid", "administrator", "ended: last month"),
        (6 * DAY, "valid", "users", "ended: last week"),
        (HOUR, "valid", "users", "ended: last day"),
        (-HOUR, "grace", "users", "ended: last day"),
        (-10 * HOUR, "expired", "users", "ended: read-only"),
    ],
)
def test_an_end_is_told_long_before_and_takes_effect_in_the_evening(
    left: timedelta, state: str, notice: str, stage: str
) -> None:
    now = MONDAY + 200 * DAY - left
    document = a_document(200 * DAY, issued=now)  # until a Friday, 11:00 there
    memory = decision.confirmed(Memory(), "signed", document, now, "odoo")
    memory = memory.model_copy(
        update={"overdue": {"ended": MONDAY + 200 * DAY}} if now > MONDAY + 200 * DAY else {}
    )
    found = in_force(memory, document, now)
    assert (found.state, found.notice, found.stage) == (state, notice, stage)


def test_a_licence_without_an_end_does_not_end() -> None:
    memory = decision.confirmed(Memory(), "signed", a_document(None), MONDAY, "file")
    found = in_force(memory, a_document(None), MONDAY + 20000 * DAY, source="file")
    assert (found.state, found.read_only_from) == ("valid", None)


def test_a_refusal_is_said_at_once_and_takes_effect_in_the_evening() -> None:
    memory = decision.refused(remembered(a_document()), "the contract was cancelled.", MONDAY)
    found = in_force(memory, a_document(), MONDAY)
    assert (found.state, found.notice, found.read_only) == ("invalid", "users", False)
    assert "The licence server says: the contract was cancelled. Administration" in found.reason
    assert in_force(memory, a_document(), MONDAY + 8 * HOUR).read_only
    again = decision.refused(memory, "still", MONDAY + DAY)
    assert again.refused_at == MONDAY  # the same refusal, it does not begin anew


def test_what_was_never_licensed_has_the_same_72_hours() -> None:
    memory = decision.failed(Memory(), "its certificate is not trusted", MONDAY)
    found = in_force(memory, None, MONDAY)
    assert (found.state, found.read_only) == ("grace", False)
    assert "There is no licence yet: its certificate is not trusted." in found.reason
    memory = decision.observed(memory, None, "odoo", MONDAY)
    later = in_force(
        decision.observed(memory, None, "odoo", MONDAY + GRACE), None, MONDAY + 4 * DAY
    )
    assert (later.state, later.read_only) == ("invalid", True)


def test_a_deadline_that_passed_while_nobody_looked_takes_effect_this_evening() -> None:
    """The machine was off from Friday to Tuesday, six in the morning."""
    friday, tuesday = MONDAY + 4 * DAY, MONDAY + 8 * DAY - 4 * HOUR
    document = a_document(5 * DAY)
    memory = decision.observed(remembered(document), document, "odoo", friday)
    found = in_force(memory, document, tuesday)
    assert not found.read_only
    assert found.read_only_from == datetime(2026, 12, 8, 17, tzinfo=UTC)


def test_setting_the_clock_back_wins_nothing_and_is_said() -> None:
    document = a_document(10 * DAY)
    memory = remembered(document)
    for passed in (9 * DAY, 11 * DAY, 12 * DAY):
        memory = decision.observed(memory, document, "odoo", MONDAY + passed)
    found = in_force(memory, document, MONDAY)
    assert (found.state, found.read_only) == ("expired", True)
    assert "The clock of the machine has gone back" in found.reason


def test_a_clock_that_was_ahead_is_forgiven_by_the_next_document() -> None:
    ahead = MONDAY + 3650 * DAY
    memory = decision.failed(remembered(a_document()), "away", ahead)
    memory = decision.observed(memory, a_document(), "odoo", ahead)
    assert not in_force(memory, a_document(), ahead).read_only  # not before this evening
    now = MONDAY + HOUR
    memory = decision.confirmed(memory, "signed", a_document(issued=now), now, "odoo")
    assert in_force(memory, a_document(), now) == Standing(
        "valid", read_only_from=datetime(2027, 11, 30, 17, tzinfo=UTC), document=a_document()
    )


def test_while_odoo_answers_its_time_counts_whatever_the_machine_says() -> None:
    for off in (3650 * DAY, -3650 * DAY):
        document = a_document()
        memory = decision.confirmed(Memory(), "signed", document, MONDAY + off, "odoo")
        found = in_force(memory, document, MONDAY + off + HOUR)
        assert (found.state, found.read_only, found.stage) == ("valid", False, "clock")
        assert "differs from the licence server's" in found.reason


def test_minutes_are_no_matter() -> None:
    now = MONDAY + 5 * timedelta(minutes=1)
    memory = decision.confirmed(Memory(), "signed", a_document(), now, "odoo")
    assert memory.skew_seconds == 0
    assert in_force(memory, a_document(), now).reason == ""


@given(
    moment=_MOMENTS,
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati"]),
    ends=st.times(time(15), time(22)),
    days=st.sets(st.integers(1, 7), min_size=1),
)
def test_a_working_day_ends_in_the_evening_of_the_clinic_and_never_before(
    moment: datetime, zone: str, ends: time, days: set[int]
) -> None:
    end = WorkingDays(ZoneInfo(zone), ends, days).end_of_day(moment)
    there = end.astimezone(ZoneInfo(zone))
    assert moment <= end <= moment + 8 * DAY
    assert (there.time(), there.isoweekday() in days) == (ends, True)


@given(begun=_MOMENTS, hours=st.integers(0, 400))
def test_read_only_begins_when_a_working_day_ends(begun: datetime, hours: int) -> None:
    document = Document(licence_id="L", issued_at=begun, valid_from=begun, valid_until=None)
    memory = decision.confirmed(Memory(), "signed", document, begun, "odoo")
    memory = decision.failed(memory, "away", begun)
    found = in_force(memory, document, begun + hours * HOUR)
    assert found.read_only_from is not None
    there = found.read_only_from.astimezone(ZONE)
    assert (there.time(), there.isoweekday() < 6) == (time(18), True)
    assert found.read_only_from >= begun + GRACE
