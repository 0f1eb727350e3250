"""When a lane sends: not while it is disabled, closed or its breaker is open; and who wakes it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.lease import POLL_SECONDS
from darkroom_transmit.sending.lane import DestinationLanes, Lane
from darkroom_transmit.sending.sources import Item
from tests.support.waiting import until
from tests.unit.transmit.test_delivery import SPEC, a_job

AWAY = DependencyUnavailable("away")


class Clock:
    """A clock that a test moves."""

    seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class House:
    """A lane whose jobs, places and deliveries a test has in hand; all else of it is real."""

    def __init__(self, *, enabled: bool = True, opens: float = 0.0) -> None:
        self.clock = Clock()
        self.sent: list[tuple[str, int]] = []
        self.finished: list[str] = []
        self.asked: list[float] = []
        self.waiting: list[Any] = []
        self.errors: list[Exception] = []
        self.held: dict[str, Any] = {}
        self.acted: list[str] = []
        self.may, self.look = asyncio.Event(), asyncio.Event()
        self.may.set()
        self.look.set()
        self.places = 0
        opens_at = self.clock.now() + timedelta(seconds=opens)
        here: Any = SimpleNamespace(
            name="PACS",
            id="1",
            spec=SPEC.model_copy(update={"enabled": enabled}),
            opens_at=lambda _: opens_at,
        )
        yard: Any = SimpleNamespace(
            jobs=SimpleNamespace(table=None),
            database=None,
            owner="here",
            lease_seconds=30.0,
            clock=self.clock,
            sent=None,
            chance=None,
            places=SimpleNamespace(of=lambda *_: self.place()),
            at_once=lambda _: 1,
        )
        self.lane = Lane(here, yard)
        made: Any = self.lane
        made._claims = SimpleNamespace(
            held=self.held, claim=self.claim, until_due=lambda: 4.0, acted=self.acted.append
        )
        made._delivery = SimpleNamespace(send=self.send)
        made._results = SimpleNamespace(finish=self.finish)
        made._places = self

    def place(self) -> "House":
        return self

    async def __aenter__(self) -> None:
        self.places += 1

    async def __aexit__(self, *_: object) -> None:
        self.places -= 1

    async def claim(self, *, below: float) -> Any:
        self.asked.append(below)
        await self.look.wait()
        if self.errors:
            raise self.errors.pop(0)
        found = next((one for one in self.waiting if one.rank < below), None)
        if found is not None:
            self.waiting.remove(found)
            self.held[found.id] = found
        return found

    async def send(self, claimed: Any, batch: Sequence[Item]) -> None:
        assert self.places == 1
        assert claimed.in_flight == 1
        await self.may.wait()
        self.sent.append((claimed.id, len(batch)))

    async def finish(self, claimed: Any) -> None:
        del self.held[claimed.id]
        self.finished.append(claimed.id)

    def job(self, name: str, rank: float, count: int = 1) -> Any:
        job = a_job(*(Item(f"1.2.{n}", "1", "1.2", str(n), 10, 0) for n in range(count)))
        job.id, job.rank = name, rank
        self.waiting.append(job)
        return job

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Have one slot work, and rest again."""
        slot = asyncio.create_task(self.lane._slot())
        try:
            yield
            assert not slot.done()
        finally:
            slot.cancel()
            await asyncio.gather(slot, return_exceptions=True)


async def rested(house: House) -> None:
    """Wait until the slot waits for a word."""
    waiters: Any = house.lane._wake
    await until(lambda: waiters._waiters)


async def test_jobs_are_sent_in_their_order_and_ended_once() -> None:
    house = House()
    house.job("second", 2.0)
    house.waiting.insert(0, house.job("first", 1.0))
    del house.waiting[-1]
    async with house.working():
        await until(lambda: len(house.finished) == 2)
    assert house.sent == [("first", 1), ("second", 1)]
    assert house.finished == ["first", "second"]


@pytest.mark.parametrize("why", ["disabled", "closed"])
async def test_nothing_is_claimed_while_nothing_may_be_sent(why: str) -> None:
    house = House(enabled=why != "disabled", opens=60.0 if why == "closed" else 0.0)
    house.job("one", 1.0)
    async with house.working():
        await rested(house)
        assert house.lane._pause() == POLL_SECONDS, "it looks again: the wall clock may be set"
        assert (house.asked, house.sent) == ([], [])
        house.clock.seconds += 60
        house.lane.wake()
        if why == "closed":
            await until(lambda: house.sent)


async def test_an_open_breaker_lets_one_batch_try_when_it_is_time() -> None:
    """And an operator's word, or an echo that was answered, is time."""
    house = House()
    for echo in (False, True):
        house.clock.seconds += 4  # it has looked for jobs a while ago
        house.sent.clear()
        for _ in range(10):
            house.lane.breaker.failed("ConnectionRefused", house.clock.monotonic(), 60.0)
        assert house.lane._pause() > 0
        house.job("one", 1.0)
        async with house.working():
            await rested(house)
            assert house.sent == []
            if echo:
                house.lane.answered()
            else:
                house.lane.acted("one")
            await until(lambda: house.sent == [("one", 1)])
    assert house.acted == ["one"]


async def test_another_slot_that_has_become_the_probe_is_waited_for() -> None:
    """Two slots find the breaker at its time: one of them tries."""
    house = House()
    house.may.clear()
    breaker = house.lane.breaker
    for _ in range(10):
        breaker.failed("ConnectionRefused", house.clock.monotonic(), 60.0)
    house.clock.seconds += 10_000
    house.job("one", 1.0, 3)
    house.job("two", 2.0)
    house.look.clear()
    async with house.working(), house.working():
        await until(lambda: house.lane._claiming._waiters)  # the other waits behind the first
        house.look.set()
        await until(lambda: house.held)
        await rested(house)
        assert list(house.held) == ["one"]
        assert house.asked == [float("inf")], "the other has not even looked"
        house.may.set()


async def test_a_job_that_goes_before_those_in_hand_goes_first() -> None:
    house = House()
    low = house.job("low", 5.0)
    best = await house.lane._choose()
    assert best is low
    high = house.job("high", 1.0)
    assert await house.lane._choose() is high
    assert house.asked == [float("inf"), 5.0]
    assert await house.lane._choose() is high, "nothing goes before it"
    assert house.asked[-1] == 1.0
    later = house.job("later", 0.5)
    assert await house.lane._choose() is high, "it does not look all the time"
    house.clock.seconds += 4
    assert await house.lane._choose() is later


async def test_a_job_with_nothing_to_send_is_ended() -> None:
    house = House()
    empty = house.job("empty", 1.0, 0)
    assert empty.items == empty.suspects
    assert await house.lane._choose() is None
    assert house.finished == ["empty"]


async def test_a_database_that_is_away_is_asked_again_after_a_moment() -> None:
    house = House()
    low = house.job("low", 5.0)
    assert await house.lane._choose() is low
    house.errors = [AWAY]
    assert await house.lane._choose() is low, "what is in hand goes on"
    high = house.job("high", 1.0)
    assert await house.lane._choose() is low
    house.clock.seconds += POLL_SECONDS
    assert await house.lane._choose() is high


def test_it_looks_often_only_while_something_may_be_sent_soon() -> None:
    house = House()
    house.lane._look_at = house.clock.seconds + 4
    assert house.lane._until_look(0) == 4
    assert house.lane._until_look(0.2) == 0.2
    assert house.lane._until_look(60) == POLL_SECONDS
    house.held["one"] = object()
    assert house.lane._until_look(0) == POLL_SECONDS
    house.held.clear()
    house.clock.seconds += 10
    assert house.lane._until_look(0) == POLL_SECONDS, "never without a pause"


async def test_an_echo_that_was_answered_is_told_to_the_lane_of_its_destination() -> None:
    house = House()
    for _ in range(10):
        house.lane.breaker.failed("ConnectionRefused", house.clock.monotonic(), 60.0)
    nothing: Any = None
    lanes = DestinationLanes(nothing, nothing, nothing, nothing)
    lanes.lanes["PACS"] = house.lane
    lanes.answered("OTHER")
    assert house.lane._pause() > 0
    lanes.answered("PACS")
    assert house.lane._pause() == 0
    assert house.lane._wake.is_set()
