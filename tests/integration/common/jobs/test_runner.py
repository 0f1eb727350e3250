"""The runner at real rows: how many at once, what it waits for, and how it stops."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs import runner as of_runner
from darkroom_common.jobs.attempt import Attempt, Ending, Stop
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.runner import Runner
from darkroom_common.messages.base import new_message_id
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import open_database
from tests.integration.common.jobs.cases import CASES, House
from tests.support.database import Prepared
from tests.support.waiting import LIMIT, until


class Watched(Claims[Any]):
    """What a process has in hand, and how often its runner has taken all that it may."""

    looks = 0
    pause = 60.0  # as good as never: only what wakes the runner brings it on
    away = 0
    held_up: asyncio.Event | None = None

    async def claim(self, **given: Any) -> Any:
        if self.away:
            self.away -= 1
            raise DependencyUnavailable("PostgreSQL: away")
        found = await super().claim(**given)
        if self.held_up is not None:
            await self.held_up.wait()
        return found

    def until_due(self) -> float:
        self.looks += 1
        return self.pause


class Work:
    """Work that ends when it is let go, one attempt at a time, and knows how many there were."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.begun: list[Attempt] = []
        self.at_once: list[Counter[str]] = []
        self.go = asyncio.Semaphore(0)
        self._now: Counter[str] = Counter()

    async def __call__(self, attempt: Attempt) -> Ending:
        self.begun.append(attempt)
        self._now[attempt.lane] += 1
        self.at_once.append(+self._now)
        await self.go.acquire()
        self._now[attempt.lane] -= 1
        return self.house.final()

    async def reached(self, claims: Watched, *, looks: int, begun: int, ended: int) -> None:
        """Wait until the runner has looked more often than so, and holds what it is to hold."""
        await until(
            lambda: (
                claims.looks > looks
                and (len(self.begun), len(claims.held)) == (begun, begun - ended)
            )
        )


@pytest.fixture
async def house(prepared: Prepared) -> AsyncIterator[House]:
    """Retrievals, of which nothing is left of the test before."""
    case = CASES["retrieve"]
    await prepared.fetch("DELETE FROM transmit.retrieve")
    async with open_database(prepared.url(case.role), service=case.role) as database:
        yield House(case, case.table(Outbox(case.role)), database)


def watched(house: House, lease: float = 20.0) -> Watched:
    return Watched(house.table, house.database, new_message_id(), lease)


async def add(house: House, *lanes: str) -> list[str]:
    jobs = []
    for lane in lanes:
        house.lane = lane
        jobs.append(await house.add())
    return jobs


@asynccontextmanager
async def run(runner: Runner[Any]) -> AsyncIterator[asyncio.Task[None]]:
    running = asyncio.create_task(runner.run())
    try:
        async with asyncio.timeout(LIMIT):
            yield running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def all_well(house: House, jobs: list[str]) -> bool:
    return {await house.state(job) for job in jobs} == {house.well}


async def test_so_many_at_once_and_so_many_of_a_lane(house: House) -> None:
    jobs = await add(house, "A", "A", "A", "A", "B", "B", "B")
    claims, work = watched(house), Work(house)
    async with run(Runner(claims, work, at_once=3, each=2)):
        for done in range(len(jobs)):
            await work.reached(claims, looks=done, begun=min(done + 3, len(jobs)), ended=done)
            work.go.release()
        await work.reached(claims, looks=len(jobs), begun=len(jobs), ended=len(jobs))
        await until(lambda: all_well(house, jobs))
    assert sorted(one.id for one in work.begun) == sorted(jobs)
    assert max(one.total() for one in work.at_once) == 3
    assert {lane: max(one[lane] for one in work.at_once) for lane in "AB"} == {"A": 2, "B": 2}


async def test_replicas_do_each_job_once(house: House) -> None:
    jobs = await add(house, *"ABCDEFGHABCD")
    works = [Work(house) for _ in range(3)]
    runners = [Runner(watched(house), work, at_once=2, each=1) for work in works]
    async with run(runners[0]), run(runners[1]), run(runners[2]):
        await until(lambda: all(len(work.begun) == 2 for work in works))
        for work in works:
            for _ in jobs:
                work.go.release()
        await until(lambda: all_well(house, jobs))
    assert sorted(one.id for work in works for one in work.begun) == sorted(jobs)


async def test_a_job_that_has_failed_leaves_its_place_to_the_next_at_once(house: House) -> None:
    first, *others = await add(house, "A", "A", "A")

    async def work(attempt: Attempt) -> Ending:
        if attempt.id == first:
            raise ZeroDivisionError("of a patient's name")
        return house.final()

    async with run(Runner(watched(house), work, chance=lambda: 0.5)):
        await until(lambda: all_well(house, others))
    row = await house.row(first)
    assert row["state"] == house.table.kind.phases.retrying
    assert row["reason"] == "not understood: ZeroDivisionError"


async def test_what_may_not_be_claimed_waits_until_it_may(house: House) -> None:
    jobs = await add(house, "A")
    claims, work = watched(house), Work(house)
    work.go.release()
    runner = Runner(claims, work, enabled=False)
    async with run(runner):
        await until(lambda: claims.looks == 1)
        assert work.begun == []
        runner.enabled = True
        runner.wake()
        await until(lambda: all_well(house, jobs))


async def test_a_database_that_is_away_is_asked_again(house: House) -> None:
    jobs = await add(house, "A")
    claims, work = watched(house), Work(house)
    claims.away, claims.pause = 2, 0.01
    work.go.release()
    async with run(Runner(claims, work)):
        await until(lambda: all_well(house, jobs))
    assert claims.away == 0
    assert claims.looks >= 2


async def test_leases_are_kept_while_the_work_goes_on(house: House) -> None:
    (job,) = await add(house, "A")
    claims, work = watched(house, lease=2.0), Work(house)
    async with run(Runner(claims, work)):
        await until(lambda: bool(work.begun))
        first = (await house.row(job))["lease_until"]

        async def later() -> bool:
            return bool((await house.row(job))["lease_until"] > first)

        await until(later)
        work.go.release()
        await until(lambda: all_well(house, [job]))


async def test_an_operator_s_word_ends_the_work_and_wakes(house: House) -> None:
    (job,) = await add(house, "A")
    claims, work = watched(house), Work(house)
    runner = Runner(claims, work, at_once=2)
    async with run(runner):
        await until(lambda: bool(work.begun) and claims.looks == 1)
        runner.acted(job)
        assert work.begun[0].stopped == "lost"
        await until(lambda: claims.looks == 2)
        work.go.release()


def hearing(
    house: House, heard: list[Stop], end: Stop, begun: asyncio.Event
) -> Callable[[Attempt], Awaitable[Ending]]:
    """Return work that ends well when it is told so, and by nothing else."""

    async def work(attempt: Attempt) -> Ending:
        over = asyncio.Event()

        def told(why: Stop) -> None:
            heard.append(why)
            if why == end:
                over.set()

        attempt.when_stopped(told)
        begun.set()
        await over.wait()
        return house.final()

    return work


@pytest.mark.parametrize("end", ["stopping", "now"])
async def test_work_that_ends_when_it_is_told_is_kept(house: House, end: Stop) -> None:
    (job,) = await add(house, "A")
    heard, begun = list[Stop](), asyncio.Event()
    seconds = LIMIT if end == "stopping" else 0.01
    runner = Runner(watched(house), hearing(house, heard, end, begun), stop_seconds=seconds)
    async with run(runner) as running:
        await begun.wait()
        running.cancel()
        await asyncio.wait({running})
        assert await house.state(job) == house.well  # before `run` returns
    assert running.cancelled()
    assert heard[0] == "stopping"
    assert heard[-1] == end


async def test_work_that_does_not_end_is_given_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_runner, "_LAST_WORDS_SECONDS", 0.05)
    (job,) = await add(house, "A")
    heard, begun = list[Stop](), asyncio.Event()
    work = hearing(house, heard, "lost", begun)
    runner = Runner(watched(house), work, stop_seconds=0.01)
    async with run(runner) as running:
        await begun.wait()
        running.cancel()
        await asyncio.wait({running})

        async def given_back() -> bool:
            return await house.state(job) == house.table.kind.phases.waiting

        await until(given_back)
    assert heard == ["stopping", "now"]
    assert (await house.row(job))[house.table.kind.tries] == 0


async def test_a_claim_that_is_under_way_when_it_stops_is_told_so_and_is_the_last(
    house: House,
) -> None:
    jobs = await add(house, "A", "B")
    heard, begun = list[Stop](), asyncio.Event()
    claims = watched(house)
    claims.held_up = asyncio.Event()
    work = hearing(house, heard, "stopping", begun)
    runner = Runner(claims, work, at_once=2, stop_seconds=LIMIT)
    async with run(runner) as running:
        await until(lambda: len(claims.held) == 1)
        running.cancel()
        await until(runner._stop.is_set)
        claims.held.clear()  # so that nobody but the runner tells it
        claims.held_up.set()
        await asyncio.wait({running})
    assert heard == ["stopping"]
    found = Counter([await house.state(job) for job in jobs])
    assert found == {house.well: 1, house.table.kind.phases.waiting: 1}
