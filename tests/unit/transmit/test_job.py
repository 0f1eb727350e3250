"""A job in hand: how much of it goes at once, when it is over, and what its attempt has come to."""

from types import SimpleNamespace
from typing import Any

import pytest

from darkroom_common.dimse.wire.command import Element
from darkroom_common.jobs.attempt import Ending
from darkroom_common.specs.destinations import Backoff
from darkroom_transmit.sending.breaker import Breaker
from darkroom_transmit.sending.job import (
    BATCH,
    BATCH_BYTES,
    DICOM_PRIORITY,
    Claimed,
    Progress,
    conclude,
)
from darkroom_transmit.sending.lane import Lane
from darkroom_transmit.sending.sources import Item
from tests.unit.transmit.test_delivery import SPEC, a_job

BACKOFF = Backoff(initial_seconds=10, multiplier=2, ceiling_seconds=100, max_attempts=3)
HERE = SPEC.model_copy(update={"backoff": BACKOFF})


def items(count: int, size: int = 10, syntax: str = "1.2") -> list[Item]:
    return [Item(f"{syntax}.{n}", "1", syntax, str(n), size, 0) for n in range(count)]


def test_a_batch_is_of_one_syntax_and_has_an_end() -> None:
    job = a_job(*items(BATCH + 1), *items(2, syntax="1.3"))
    assert [len(job.take()) for _ in range(3)] == [BATCH, 1, 2]
    half = BATCH_BYTES // 2
    job = a_job(*items(4, half))
    assert [len(job.take()) for _ in range(2)] == [2, 2]
    job = a_job(*items(2, BATCH_BYTES))
    assert [len(job.take()) for _ in range(2)] == [1, 1], "a large one goes by itself, and goes"
    job = a_job(*items(3, half + 1))
    assert [len(job.take()) for _ in range(2)] == [2, 1]


def test_suspects_go_last_and_each_by_itself_while_nothing_is_under_way() -> None:
    job = a_job(*items(2))
    job.suspects.extend(items(2, syntax="9"))
    assert (job.is_ready, len(job.take())) == (True, 2)
    job.in_flight = 1
    assert not job.is_ready
    job.in_flight = 0
    assert [one.transfer_syntax_uid for one in job.take()] == ["9"]
    assert len(job.suspects) == 1
    assert not a_job().is_ready


@pytest.mark.parametrize(
    ("left", "suspects", "in_flight", "unrecorded", "halted", "over"),
    [
        *((0, 0, 0, 0, False, True), (1, 0, 0, 0, False, False), (0, 1, 0, 0, False, False)),
        *((0, 0, 1, 0, False, False), (0, 0, 0, 1, False, False), (0, 0, 1, 0, True, False)),
        *((0, 0, 0, 1, True, False), (1, 1, 0, 0, True, True)),
    ],
)
def test_an_attempt_is_over_when_nothing_is_under_way_and_all_is_kept(
    left: int, suspects: int, in_flight: int, unrecorded: int, halted: bool, over: bool
) -> None:
    job = a_job(*items(left))
    job.suspects.extend(items(suspects))
    job.in_flight, job.unrecorded, job.halted = in_flight, unrecorded, halted
    assert job.over is over


def test_a_halt_keeps_the_first_reason_and_all_that_was_said() -> None:
    job = a_job(*items(2))
    job.suspects.extend(items(1))
    job.halt("")
    assert (job.halted, job.fault, len(job.items), len(job.suspects)) == (True, "", 0, 0)
    job.halt("first", permanent=True)
    job.halt("second", exhausted=True)
    assert (job.fault, job.fault_is_permanent, job.exhausted) == ("first", True, True)


@pytest.mark.parametrize("why", ["lost", "stopping", "now"])
def test_a_stop_halts(why: Any) -> None:
    job = a_job(*items(2))
    job.stop(why)
    assert job.halted
    assert job.fault == ""


def halted(reason: str, **more: bool) -> Claimed:
    job = a_job()
    job.halt(reason, **more)
    return job


FOR_GOOD = Ending("FAILED", "why", counts=True)
RETRYING = Ending("RETRYING", "why", wait=10.0, counts=True)


@pytest.mark.parametrize(
    ("job", "progress", "expected"),
    [
        (a_job(), Progress(2, 0, 0, ""), Ending("SENT", columns={"commitment": ""})),
        (a_job(), Progress(0, 0, 0, ""), Ending("FAILED", "ObjectsNotFound")),
        (a_job(), Progress(2, 0, 1, "Refused"), Ending("FAILED", "Refused")),
        (halted("why"), Progress(2, 0, 0, ""), Ending("SENT", columns={"commitment": ""})),
        (halted("why", exhausted=True), Progress(2, 1, 0, ""), None),
        (halted(""), Progress(2, 1, 0, ""), Ending("PENDING")),
        (halted("why"), Progress(2, 1, 0, ""), RETRYING),
        (a_job(), Progress(2, 1, 0, "why"), RETRYING),
        (halted("why"), Progress(2, 1, 1, "other"), RETRYING),
        (
            halted("why", permanent=True),
            Progress(2, 1, 0, ""),
            Ending("FAILED", "why", counts=True),
        ),
    ],
)
def test_what_an_attempt_has_come_to(
    job: Claimed, progress: Progress, expected: Ending | None
) -> None:
    found = conclude(job, progress, HERE, 0.5)
    assert found == (expected or Ending("RETRYING", "PoolExhausted", wait=10.0))


@pytest.mark.parametrize(("enabled", "wanted"), [(True, "wanted"), (False, "")])
def test_commitment_is_asked_for_where_it_is_wanted(enabled: bool, wanted: str) -> None:
    asked = HERE.commitment.model_copy(update={"enabled": enabled})
    spec = HERE.model_copy(update={"commitment": asked})
    found = conclude(a_job(), Progress(1, 0, 0, ""), spec, 0.5)
    assert found.columns == {"commitment": wanted}
    other = spec.model_copy(update={"kind": "stow"})
    assert conclude(a_job(), Progress(1, 0, 0, ""), other, 0.5).columns == {"commitment": ""}


def test_priorities_are_those_of_the_standard() -> None:
    assert DICOM_PRIORITY == {"high": 1, "medium": 0, "low": 2}


class Claims:
    """What a lane has in hand, and what it may claim."""

    def __init__(self, *held: Claimed) -> None:
        self.held = {job.id: job for job in held}
        self.next: Claimed | None = None
        self.below: list[float] = []
        self.acts: list[str] = []

    async def claim(self, *, below: float) -> Claimed | None:
        self.below.append(below)
        return self.next

    def until_due(self) -> float:
        return 30.0

    def acted(self, job: str) -> None:
        self.acts.append(job)


def a_lane(claims: Claims) -> Any:
    lane: Any = Lane.__new__(Lane)
    lane.finished = []

    async def finish(job: Claimed) -> None:
        lane.finished.append(job)

    lane.now = 100.0
    lane._look_at = 0.0
    lane._claims, lane.breaker = claims, Breaker()
    lane._wake = SimpleNamespace(set=lambda: None)
    lane._results = SimpleNamespace(finish=finish)
    lane.destination = SimpleNamespace(name="PACS", spec=HERE, opens_at=lambda now: now)
    lane.yard = SimpleNamespace(clock=SimpleNamespace(monotonic=lambda: lane.now, now=lambda: 5.0))
    return lane


def ranked(rank: float, *left: Item) -> Claimed:
    job = a_job(*left)
    job.rank = rank
    job.id = f"job of {rank}"
    return job


async def test_the_next_batch_is_of_the_job_that_goes_first() -> None:
    late, early = ranked(9.0, *items(1)), ranked(3.0, *items(1))
    claims = Claims(late, early, ranked(1.0))
    lane = a_lane(claims)
    assert await lane._choose() is early
    assert claims.below == [3.0], "only what goes before those in hand is claimed"
    assert lane._look_at == 130.0
    assert await lane._choose() is early
    assert len(claims.below) == 1, "nothing is due before that"
    lane.now, claims.next = 131.0, ranked(2.0, *items(1))
    assert await lane._choose() is claims.next
    claims.next = ranked(2.0)
    assert await lane._choose() is early
    assert lane.finished == [claims.next], "there was nothing left to send of it"
    claims.held.clear()
    claims.next, lane._look_at = None, 0.0
    assert await lane._choose() is None
    assert claims.below[-1] == float("inf")


@pytest.mark.parametrize(
    ("enabled", "opens", "breaker", "paused"),
    [
        *((True, 5.0, False, False), (True, 4.0, False, False), (False, 5.0, False, True)),
        *((True, 6.0, False, True), (True, None, False, True), (True, 5.0, True, True)),
    ],
)
def test_nothing_is_sent_while_it_may_not_be(
    enabled: bool, opens: float | None, breaker: bool, paused: bool
) -> None:
    lane = a_lane(Claims())
    lane.destination.spec = HERE.model_copy(update={"enabled": enabled})
    lane.destination.opens_at = lambda _: opens
    if breaker:
        for _ in range(3):
            lane.breaker.failed("ConnectionRefused", 100.0, 60.0)
    assert (lane._pause() > 0) is paused
    assert (lane._pause() == 60.0) is breaker


def test_an_operator_has_the_destination_tried_at_once_and_an_echo_when_it_was_not_reached() -> (
    None
):
    claims = Claims()
    lane = a_lane(claims)
    for reason, opened in (("ConnectionRefused", 0.0), ("OutOfResources", 60.0)):
        for _ in range(3):
            lane.breaker.failed(reason, 100.0, 60.0)
        lane.answered()
        assert lane._pause() == opened
        lane._look_at = 130.0
        lane.acted("job")
        assert (lane._pause(), lane._look_at) == (0.0, 0.0)
    assert claims.acts == ["job", "job"]


def test_a_lane_looks_soon_when_something_may_be_sent_soon() -> None:
    claims = Claims()
    lane = a_lane(claims)
    lane._look_at = 500.0
    assert lane._until_look(0.0) == 400.0
    assert lane._until_look(0.5) == 0.5
    soon = lane._until_look(60.0)
    assert soon < 60.0
    claims.held["job"] = a_job()
    assert lane._until_look(0.0) == soon
    claims.held.clear()
    lane._look_at = 0.0
    assert lane._until_look(0.0) == soon


def test_a_c_store_says_its_priority_and_whose_c_move_it_is() -> None:
    """PS3.7 9.1.1.1: the originator's title and message, of a C-MOVE alone."""
    job: Any = a_job(*items(1))
    plain = {"priority": "high", "originator": "", "originator_message_id": 0}
    job.row = plain
    assert job.elements == {Element.PRIORITY: DICOM_PRIORITY["high"]}
    job.row = plain | {"originator": "ASKER", "originator_message_id": 7}
    assert job.elements == {
        Element.PRIORITY: DICOM_PRIORITY["high"],
        Element.MOVE_ORIGINATOR: "ASKER",
        Element.MOVE_ORIGINATOR_MESSAGE_ID: 7,
    }


def test_a_job_begins_with_nothing_done() -> None:
    job = a_job()
    assert (job.in_flight, job.unrecorded, job.arrived, job.failed) == (0, 0, 0, 0)
    assert job.over
