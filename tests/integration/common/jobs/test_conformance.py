"""What every kind of job keeps to, on a real PostgreSQL: one suite for all of them."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from darkroom_common.backoff import delay
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.runner import Runner
from darkroom_common.messages.base import new_message_id
from tests.integration.common.jobs.cases import BACKOFF, TRACE, House, act, changes
from tests.support.waiting import LIMIT

pytestmark = pytest.mark.req("TRX-02")


async def test_two_workers_never_hold_one_job(house: House) -> None:
    jobs = {await house.add() for _ in range(8)}
    first, second = house.process(), house.process()
    done: list[str] = []
    async with asyncio.timeout(LIMIT):
        while len(done) < len(jobs):
            claimed = await asyncio.gather(*(one.claim() for one in (first, second) * 2))
            assert not {*first.held} & {*second.held}
            found = [attempt for attempt in claimed if attempt is not None]
            assert found
            if house.table.kind.alone:
                assert len(found) == 1
            for attempt in found:
                owner = first if attempt.id in first.held else second
                assert await owner.finish(attempt, house.final()) is not None
                done.append(attempt.id)
    assert sorted(done) == sorted(jobs)
    assert await first.claim() is None


async def test_a_job_that_begins_to_wait_wakes_its_worker_when_it_is_committed(
    house: House,
) -> None:
    async def nothing(_: Attempt) -> Ending:
        return house.final()

    runner = Runner(house.process(), nothing)
    row = await house.row(await house.add())
    async with house.database.transaction() as db:
        await house.table.entered(db, row)
        assert not runner._wake.is_set()
    assert runner._wake.is_set()


async def test_a_live_workers_job_is_left_to_it(house: House) -> None:
    job = await house.add()
    live, other = house.process(), house.process()
    attempt = await live.claim()
    assert attempt is not None
    assert attempt.id == job
    assert attempt.traceparent == TRACE
    assert await other.claim() is None
    await live.renew()
    assert attempt.stopped == ""
    assert await live.claim() is None


async def test_a_dead_workers_job_is_taken_over_and_the_dead_one_ends_nothing(house: House) -> None:
    job = await house.add()
    dead, other = house.process(), house.process()
    attempt = await dead.claim()
    assert attempt is not None
    await house.put(job, "lease_until = now() - interval '1 second'")
    taken = await other.claim()
    assert taken is not None
    assert (taken.id, taken.tries) == (job, 0)
    assert taken.number == (2 if house.table.kind.attempts else 1)
    await dead.renew()
    assert attempt.stopped == "lost"
    before = await house.row(job)
    assert await dead.finish(attempt, house.final()) is None
    assert await house.row(job) == before
    assert await other.finish(taken, house.final()) is not None
    assert await house.state(job) == house.well


async def test_a_row_of_an_earlier_version_without_a_lease_is_taken(house: House) -> None:
    job = await house.add()
    kind = house.table.kind
    await house.put(job, f"{kind.state} = '{kind.phases.working[0]}'")
    taken = await house.process().claim()
    assert taken is not None
    assert taken.id == job


async def test_a_clock_set_back_an_hour_holds_up_nothing(house: House) -> None:
    job = await house.add()
    dead, other = house.process(), house.process()
    attempt = await dead.claim()
    assert attempt is not None
    await house.shift(job, 1)
    await dead.renew()  # a live one
    assert attempt.stopped == ""
    assert await other.claim() is None
    await house.shift(job, 1)  # and a dead one
    taken = await other.claim()
    assert taken is not None
    kind = house.table.kind
    await other.finish(taken, kind.again(taken, BACKOFF, "Away", 0.5))
    await house.shift(job, 1)
    later = await house.process().claim()  # knows nothing by its monotonic clock
    assert later is not None
    assert later.id == job


async def test_a_clock_set_forward_an_hour_hurries_nothing(house: House) -> None:
    job = await house.add()
    mine, other = house.process(), house.process()
    attempt = await mine.claim()
    assert attempt is not None
    await house.shift(job, -1)
    await mine.renew()
    assert await other.claim() is None
    kind = house.table.kind
    await mine.finish(attempt, kind.again(attempt, BACKOFF, "Away", 0.5))
    await house.shift(job, -1)
    assert await mine.claim() is None
    house.clock.seconds += 29
    assert await mine.claim() is None
    house.clock.seconds += 1.1
    again = await mine.claim()
    assert again is not None
    assert again.id == job


async def test_what_is_given_back_costs_no_try_and_begins_again_at_once(house: House) -> None:
    job = await house.add()
    mine = house.process()
    attempt = await mine.claim()
    assert attempt is not None
    row = await mine.finish(attempt, house.table.kind.given_back())
    assert row is not None
    kind = house.table.kind
    assert (row[kind.state], row[kind.tries]) == (kind.phases.waiting, 0)
    assert (row["lease_owner"], row["lease_until"]) == ("", None)
    again = await house.process().claim()
    assert again is not None
    assert (again.id, again.tries) == (job, 0)


async def test_tries_follow_the_back_off_and_come_to_an_end(house: House) -> None:
    job = await house.add()
    mine = house.process()
    kind = house.table.kind
    for number in range(BACKOFF.max_attempts):
        attempt = await mine.claim()
        assert attempt is not None
        assert attempt.tries == number
        row = await mine.finish(attempt, kind.again(attempt, BACKOFF, "Away", 0.5))
        assert row is not None
        assert (row["reason"], row[kind.tries]) == ("Away", number + 1)
        if number + 1 < BACKOFF.max_attempts:
            wait = delay(BACKOFF, number, 0.5)
            assert row[kind.state] == kind.phases.retrying
            assert row["wait_seconds"] == wait
            assert (row["next_at"] - row["updated_at"]).total_seconds() == pytest.approx(wait)
            assert await house.process().claim() is None
            assert await mine.claim() is None
            house.clock.seconds += wait + 0.01
    assert await house.state(job) == kind.phases.failed
    assert (await house.row(job))["finished_at"] is not None
    assert await mine.claim() is None


async def test_attempts_that_have_brought_something_count_for_nothing(house: House) -> None:
    await house.add()
    mine, kind = house.process(), house.table.kind
    for number in range(3 * BACKOFF.max_attempts):
        attempt = await mine.claim()
        assert attempt is not None
        attempt.progressed = bool(number % BACKOFF.max_attempts)
        assert attempt.tries == int(number % BACKOFF.max_attempts == 1)
        row = await mine.finish(attempt, kind.again(attempt, BACKOFF, "Away", 0.5))
        assert row is not None
        assert (row[kind.tries], row["wait_seconds"]) == (int(not attempt.progressed), 30)
        house.clock.seconds += row["wait_seconds"] + 0.01


async def test_an_operators_action_on_every_state(house: House) -> None:
    kind = house.table.kind
    phases = kind.phases
    states = [phases.waiting, *phases.working, phases.retrying, *phases.over]
    for action in ("retry", "cancel", "confirm"):
        for state in dict.fromkeys(states):
            house.lane = new_message_id()
            job = await house.add()
            await house.put(job, f"{kind.state} = '{state}', {kind.tries} = 2")
            before = await house.row(job)
            acted = await act(house, job, action)
            after = await house.row(job)
            async with house.database.acquire() as db:
                logged = await changes(db, kind.schema, job)
            if (action, state) not in kind.actions:
                assert (acted.before, acted.after) == (state, None)
                assert after == before
                assert logged == []
                continue
            assert (acted.lane, acted.before) == (house.lane, state)
            assert acted.after == after[kind.state]
            assert after[kind.tries] == 0
            assert (after["finished_at"] is not None) == (acted.after in phases.over)
            assert logged == [action]
            assert (await house.process().claim() is None) == (acted.after in phases.over)
    assert await act(house, "0" * 32, "retry") is None


async def test_what_is_cancelled_while_it_is_worked_at_is_not_finished(house: House) -> None:
    kind = house.table.kind
    if ("cancel", kind.phases.working[0]) not in kind.actions:
        pytest.skip("an operator cancels the job that it belongs to")
    job = await house.add()
    mine, elsewhere = house.process(), house.process()
    attempt = await mine.claim()
    assert attempt is not None
    assert (await act(house, job, "cancel")).after == kind.phases.cancelled
    mine.acted(job)
    assert attempt.stopped == "lost"
    assert await mine.finish(attempt, house.final()) is None
    assert await house.state(job) == kind.phases.cancelled
    assert (await act(house, job, "cancel")).after is None
    await act(house, job, "retry")
    again = await elsewhere.claim()
    assert again is not None
    await act(house, job, "cancel")
    await elsewhere.renew()  # another process learns of it by its renewal
    assert again.stopped == "lost"


async def test_event_and_count_are_of_the_state_that_was_written(house: House) -> None:
    job = await house.add()
    kind = house.table.kind
    mine = house.process()
    attempt = await mine.claim()
    assert attempt is not None
    seen = [await house.state(job)]
    await mine.finish(attempt, kind.again(attempt, BACKOFF, "Away", 0.5))
    seen.append(await house.state(job))
    house.clock.seconds += 31
    attempt = await mine.claim()
    assert attempt is not None
    seen.append(await house.state(job))
    await mine.finish(attempt, house.final())
    seen.append(await house.state(job))
    assert await mine.finish(attempt, Ending(kind.phases.failed)) is None  # it is over
    for state in set(seen):
        assert house.counted(state) == seen.count(state), state
    assert house.counted(kind.phases.failed) == 0
    if kind.event is not None:
        assert await house.events(job) == [(state, TRACE) for state in seen]


async def test_what_is_rolled_back_is_neither_told_nor_counted(house: House) -> None:
    job = await house.add()
    kind = house.table.kind

    async def claim_and_fail() -> None:
        async with house.database.transaction() as db:
            assert await house.table.claim(db, lane=house.lane, owner="x", lease=5) is not None
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await claim_and_fail()
    assert await house.state(job) == kind.phases.waiting
    assert house.counted(kind.phases.working[0]) == 0
    assert await house.events(job) == []


async def test_an_end_that_is_not_ours_leaves_nothing_of_what_goes_with_it(house: House) -> None:
    job = await house.add()
    mine = house.process()
    attempt = await mine.claim()
    assert attempt is not None
    await house.put(job, "lease_owner = 'somebody'")

    async def decide(db: Any) -> Ending:
        await db.execute(f"UPDATE {house.table.kind.table} SET reason = 'seen' WHERE id = $1", job)
        return house.final()

    assert await mine.finish(attempt, decide) is None
    assert (await house.row(job))["reason"] == ""


async def test_only_what_ended_well_long_ago_is_removed(house: House) -> None:
    kind = house.table.kind
    phases = kind.phases
    kept: list[str] = []
    gone: list[str] = []
    for state in dict.fromkeys((phases.waiting, *phases.working, phases.retrying, *phases.over)):
        for days in (89, 91):
            job = await house.add()
            ended = f"finished_at = now() - make_interval(days => {days})"
            await house.put(job, f"{kind.state} = '{state}', {ended}")
            (gone if days == 91 and state in phases.forgotten else kept).append(job)
    async with house.database.acquire() as db:
        while await house.table.remove(db, timedelta(days=90)):
            pass
        rows = await db.fetch(
            f"SELECT id FROM {kind.table} WHERE {kind.lane} = $1 ORDER BY 1", house.lane
        )
    assert gone
    assert [row["id"] for row in rows] == sorted(kept)


async def test_a_stopped_runner_gives_back_and_a_new_one_goes_on(house: House) -> None:
    job = await house.add()
    begun = asyncio.Event()
    kind = house.table.kind

    async def first(attempt: Attempt) -> Ending:
        stopped = asyncio.Event()
        attempt.when_stopped(lambda _: stopped.set())
        begun.set()
        await stopped.wait()
        assert attempt.stopped == "stopping"
        return kind.given_back()

    running = asyncio.create_task(Runner(house.process(), first).run())
    async with asyncio.timeout(LIMIT):
        await begun.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    row = await house.row(job)
    assert (row[kind.state], row[kind.tries]) == (kind.phases.waiting, 0)
    assert await ended(house, job, lambda _: house.final()) == house.well


async def ended(house: House, job: str, end: Any) -> str:
    """Run a job by a runner of its own until an attempt has ended; return its state."""
    over = asyncio.Event()
    claims = house.process()
    finish = claims.finish

    async def finishing(attempt: Any, ending: Any) -> Any:
        row = await finish(attempt, ending)
        over.set()
        return row

    claims.finish = finishing  # type: ignore[method-assign]

    async def work(attempt: Attempt) -> Ending:
        made: Ending = end(attempt)
        return made

    running = asyncio.create_task(Runner(claims, work, chance=lambda: 0.5).run())
    try:
        async with asyncio.timeout(LIMIT):
            await over.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return await house.state(job)


async def test_a_defect_of_the_work_costs_a_try_and_no_other_job(house: House) -> None:
    job = await house.add()
    kind = house.table.kind

    def fail(attempt: Attempt) -> Ending:
        attempt.backoff = BACKOFF
        raise ZeroDivisionError("of a patient's name")

    assert await ended(house, job, fail) == kind.phases.retrying
    row = await house.row(job)
    assert (row["reason"], row[kind.tries]) == ("not understood: ZeroDivisionError", 1)
    assert row["wait_seconds"] == BACKOFF.initial_seconds


async def test_a_database_that_is_away_costs_no_try(house: House) -> None:
    job = await house.add()
    kind = house.table.kind

    def fail(_: Attempt) -> Ending:
        raise DependencyUnavailable("PostgreSQL: away")

    assert await ended(house, job, fail) == kind.phases.retrying
    row = await house.row(job)
    assert (row["reason"], row[kind.tries]) == ("PostgreSQL: away", 0)
