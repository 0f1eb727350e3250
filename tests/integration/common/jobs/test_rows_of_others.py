"""Rows of a table that are no jobs of a kind are left alone by all of its statements."""

from collections.abc import AsyncIterator

import pytest

from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import open_database
from darkroom_common.telemetry.metrics import common as metrics
from tests.integration.common.jobs.cases import CASES, House, act
from tests.support.database import Prepared


@pytest.fixture
async def house(prepared: Prepared) -> AsyncIterator[House]:
    """Commitment: jobs are rows of what was sent, in the table of what is to be sent."""
    case = CASES["commitment"]
    async with open_database(prepared.url(case.role), service=case.role) as database:
        yield House(case, case.table(Outbox(case.role)), database)


async def test_what_is_no_job_of_the_kind_is_not_claimed(house: House) -> None:
    job = await house.add()
    await house.put(job, "state = 'PENDING'")
    assert await house.process().claim() is None
    await house.put(job, "state = 'SENT'")
    assert await house.process().claim() is not None


async def test_what_is_no_job_any_more_is_neither_ended_nor_taken_back(house: House) -> None:
    job = await house.add()
    first = house.process("replica-1 a")
    attempt = await first.claim()
    assert attempt is not None
    await house.put(job, "state = 'PENDING'")
    before = await house.row(job)
    assert await first.finish(attempt, house.final()) is None
    async with house.database.transaction() as db:
        assert await house.table.finish(db, attempt, house.final(), owner=None) is None
        await house.table.take_back(db, "replica-1", "replica-1 b")
    assert await house.row(job) == before
    await house.put(job, "state = 'SENT'")
    async with house.database.transaction() as db:
        await house.table.take_back(db, "replica-1", "replica-1 b")
    assert (await house.row(job))["lease_owner"] == ""


async def test_only_jobs_of_the_kind_are_counted_and_the_oldest_is_told(house: House) -> None:
    jobs = [await house.add() for _ in range(3)]
    await house.put(jobs[0], "state = 'PENDING'")
    await house.put(jobs[1], "created_at = now() - interval '2 hours'")
    async with house.database.transaction() as db:
        await house.table.count(db, [house.lane])
    kind = house.table.kind
    now = metrics.JOBS_NOW.labels(kind.name, house.lane, kind.phases.waiting)
    assert now._value.get() == 2
    oldest = metrics.JOBS_OLDEST.labels(kind.name, house.lane)._value.get()
    assert 7200 <= oldest < 3 * 3600


async def test_what_an_operator_has_done_is_told_and_logged(prepared: Prepared) -> None:
    case = CASES["print"]
    async with open_database(prepared.url(case.role), service=case.role) as database:
        house = House(case, case.table(Outbox(case.role)), database)
        job = await house.add()
        before = house.counted("CANCELLED")
        await act(house, job, "cancel")
        assert [state for state, _ in await house.events(job)] == ["CANCELLED"]
        assert house.counted("CANCELLED") == before + 1
        assert (await house.row(job))["finished_at"] is not None
        await act(house, job, "retry")
        assert [state for state, _ in await house.events(job)] == ["CANCELLED", "QUEUED"]
        assert (await house.row(job))["finished_at"] is None
