"""Jobs are of a destination or printer, not of a name; what is gone leaves no job behind."""

import pytest

from darkroom_common.messages.base import new_message_id
from tests.integration.common.jobs.cases import House

pytestmark = pytest.mark.req("TRX-02")
COLUMNS = {
    "print": ("printer_id", "print.printer"),
    "retrieve": ("remote_id", "transmit.destination"),
    "prefetch": ("remote_id", "transmit.destination"),
}


async def target(house: House, *, again: bool = False) -> str:
    """Have there be what the lane is for, or another one of its name; return its id."""
    if house.case.role == "api":
        pytest.skip("the jobs of the api are for nothing that can be removed")
    table = COLUMNS.get(house.table.kind.name, ("", "transmit.destination"))[1]
    async with house.database.transaction() as db:
        if again:
            await db.execute(f"DELETE FROM {table} WHERE name = $1", house.lane)
        await db.execute(
            f"INSERT INTO {table} (name, spec) VALUES ($1, '{{}}') ON CONFLICT DO NOTHING",
            house.lane,
        )
        return str(await db.fetchval(f"SELECT id FROM {table} WHERE name = $1", house.lane))


async def bind(house: House, job: str, to: str) -> None:
    column = COLUMNS.get(house.table.kind.name, ("destination_id", ""))[0]
    await house.put(job, f"{column} = '{to}'")


async def test_a_new_one_of_the_name_gets_nothing(house: House) -> None:
    kind = house.table.kind
    old = await target(house)
    job = await house.add()
    await bind(house, job, old)
    new = await target(house, again=True)
    assert new != old
    process = house.process()
    process.bound = new
    assert await process.claim() is None
    async with house.database.transaction() as db:
        await house.table.end_orphans(db)
    row = await house.row(job)
    assert (row[kind.state], row["reason"]) == (kind.phases.failed, kind.removed)
    assert row["finished_at"] is not None
    assert house.counted(kind.phases.failed) == 1
    if kind.event is not None:
        assert (await house.events(job))[-1][0] == kind.phases.failed


async def test_its_own_and_those_of_an_earlier_version_are_claimed(house: House) -> None:
    known = await target(house)
    jobs = set()
    for bound in (known, ""):
        job = await house.add()
        await bind(house, job, bound)
        jobs.add(job)
    process = house.process()
    process.bound = known
    found = set()
    for _ in jobs:
        async with house.database.transaction() as db:
            assert await house.table.end_orphans(db) == 0
        attempt = await process.claim()
        assert attempt is not None
        found.add(attempt.id)
        await process.finish(attempt, house.final())
    assert found == jobs


async def test_what_waits_for_nobody_ends_in_every_living_state(house: House) -> None:
    kind = house.table.kind
    if not kind.targets:
        pytest.skip("it ends when it is claimed")
    phases = kind.phases
    for state in dict.fromkeys((phases.waiting, *phases.working, phases.retrying)):
        house.lane = new_message_id()
        job = await house.add()
        await house.put(job, f"{kind.state} = '{state}', lease_owner = 'x'")
        async with house.database.transaction() as db:
            assert await house.table.end_orphans(db) == 1
            assert await house.table.end_orphans(db) == 0
        assert (await house.row(job))["reason"] == kind.removed
    for state in phases.over:
        house.lane = new_message_id()
        job = await house.add()
        await house.put(job, f"{kind.state} = '{state}'")
        async with house.database.transaction() as db:
            assert await house.table.end_orphans(db) == 0
