"""How an attempt at a job ends, and what an operator may do with a job in each state."""

from typing import Any, Final

import pytest

from darkroom_common.jobs.attempt import Attempt, Ending, Stop, retry_or_fail
from darkroom_common.jobs.kind import JobKind, Phases, pausing, told, usual_actions
from darkroom_common.specs.destinations import Backoff

BACKOFF = Backoff(initial_seconds=10, multiplier=2, ceiling_seconds=100, max_attempts=3)
SAID: Final[tuple[Stop, ...]] = ("now", "stopping", "stopping", "lost")
PHASES = Phases(
    waiting="QUEUED",
    working=("CLAIMED", "WORKING"),
    retrying="RETRYING",
    ended_well=("DONE", "CONFIRMED"),
    failed="FAILED",
    cancelled="CANCELLED",
    doubtful="UNKNOWN",
)


def an_attempt(tries: int = 0, *, progressed: bool = False) -> Attempt:
    row: Any = {}
    made = Attempt("job", "lane", tries + 1, tries, 0.0, row)
    made.progressed = progressed
    return made


def ended(attempt: Attempt, **more: Any) -> Ending:
    return retry_or_fail(
        attempt, BACKOFF, "why", retrying="RETRYING", failed="FAILED", chance=0.5, **more
    )


@pytest.mark.parametrize(
    ("tries", "expected"),
    [
        (0, Ending("RETRYING", "why", wait=10.0, counts=True)),
        (1, Ending("RETRYING", "why", wait=20.0, counts=True)),
        (2, Ending("FAILED", "why", counts=True)),
        (9, Ending("FAILED", "why", counts=True)),
    ],
)
def test_a_job_is_tried_as_often_as_it_may_be_and_the_last_one_is_final(
    tries: int, expected: Ending
) -> None:
    assert ended(an_attempt(tries)) == expected
    with_columns = ended(an_attempt(tries), columns={"a": 1})
    assert with_columns.columns == {"a": 1}
    assert with_columns.state == expected.state


def test_an_attempt_that_has_brought_something_does_not_count() -> None:
    found = ended(an_attempt(9, progressed=True), columns={"a": 1})
    assert found == Ending("RETRYING", "why", wait=10.0, counts=False, columns={"a": 1})


def test_a_stop_is_told_once_and_whoever_asks_late_hears_of_it() -> None:
    attempt, early, late = an_attempt(), list[str](), list[str]()
    attempt.when_stopped(early.append)
    found: list[str] = []
    for why in SAID:
        attempt.stop(why)
        found.append(attempt.stopped)
    assert found == ["", "stopping", "stopping", "lost"]
    attempt.when_stopped(late.append)
    assert early == late == ["now", "stopping", "lost"]
    other = an_attempt()
    other.stop("lost")
    other.stop("stopping")
    assert str(other.stopped) == "lost", "what is lost is not given back"


def test_a_trace_is_that_of_who_asked() -> None:
    attempt = an_attempt()
    assert attempt.trace == {}
    assert attempt.progress() == {}
    attempt.traceparent = "00-a-b-01"
    assert attempt.trace == {"traceparent": "00-a-b-01"}


def test_the_phases_of_a_kind() -> None:
    assert PHASES.over == ("DONE", "CONFIRMED", "FAILED", "CANCELLED", "UNKNOWN")
    assert PHASES.forgotten == ("DONE", "CONFIRMED", "CANCELLED")
    assert PHASES.shown == ("QUEUED", "CLAIMED", "WORKING", "RETRYING", "UNKNOWN", "FAILED")
    plain = Phases("A", ("B",), "A", ("C",), "D")
    assert (plain.over, plain.forgotten, plain.shown) == (("C", "D"), ("C",), ("A", "B", "D"))


def test_an_operator_may_retry_what_rests_and_cancel_what_does_not() -> None:
    usual = usual_actions(PHASES)
    assert usual == {
        **{("retry", state): "QUEUED" for state in ("FAILED", "CANCELLED", "RETRYING")},
        **{
            ("cancel", state): "CANCELLED" for state in ("QUEUED", "RETRYING", "CLAIMED", "WORKING")
        },
    }
    assert pausing(PHASES, "PAUSED") == {
        **usual,
        **{("pause", state): "PAUSED" for state in ("QUEUED", "RETRYING", "CLAIMED", "WORKING")},
        ("resume", "PAUSED"): "QUEUED",
        ("cancel", "PAUSED"): "CANCELLED",
    }


def test_a_kind_ends_attempts_in_its_own_words() -> None:
    kind = JobKind(name="k", table="house.k", lane="l", phases=PHASES, attempt=Attempt)
    assert kind.schema == "house"
    assert kind.again(an_attempt(1), BACKOFF, "why", 0.5) == ended(an_attempt(1))
    assert kind.given_back() == Ending("QUEUED")
    assert not kind.alone
    assert kind.most == 0


def test_the_event_of_a_job_has_a_reason_that_fits() -> None:
    row: Any = {"id": "0" * 32, "to": "PACS", "state": "FAILED", "reason": "x" * 600}
    event = told("export", "to")(row)
    assert (event.lane, event.state, event.reason) == ("PACS", "FAILED", "x" * 500)
