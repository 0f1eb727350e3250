"""A replica that is back has its jobs back; others are left alone, and the dead do nothing."""

import pytest

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.replica import replica
from darkroom_common.messages.base import new_message_id
from tests.integration.common.jobs.cases import House

pytestmark = pytest.mark.req("TRX-02")


async def test_what_it_had_in_hand_is_claimed_at_once(house: House) -> None:
    job, host = await house.add(), new_message_id()
    schema, tables = house.table.kind.schema, [house.table]
    async with replica(house.database, schema, tables, host=host) as before:
        dead = house.process(before)
        attempt = await dead.claim()
        assert attempt is not None
    async with replica(house.database, schema, tables, host=host) as now:
        assert now != before
        assert now.partition("/")[0] == before.partition("/")[0]
        mine = house.process(now)
        taken = await mine.claim()
        assert taken is not None
        assert taken.id == job
        await dead.renew()  # it was not dead after all, and still cannot act
        assert attempt.stopped == "lost"
        row = await house.row(job)
        assert await dead.finish(attempt, house.final()) is None
        assert await house.row(job) == row
        assert await mine.finish(taken, house.final()) is not None


async def test_before_it_is_claimed_anew_the_old_process_has_lost_it(house: House) -> None:
    job, host = await house.add(), new_message_id()
    schema, tables = house.table.kind.schema, [house.table]
    async with replica(house.database, schema, tables, host=host) as before:
        old = house.process(before)
        attempt = await old.claim()
        assert attempt is not None
    async with replica(house.database, schema, tables, host=host):
        assert await old.finish(attempt, house.final()) is None
        row = await house.row(job)
        assert (row["lease_owner"], row["lease_until"]) == ("", None)
        other = await house.process().claim()  # whoever is first
        assert other is not None


async def test_another_replica_keeps_what_it_has(house: House) -> None:
    schema, tables = house.table.kind.schema, [house.table]
    host = new_message_id()
    await house.add()
    async with replica(house.database, schema, tables, host=host) as first:
        alive = house.process(first)
        attempt = await alive.claim()
        assert attempt is not None
        for name in (host, f"{host}1", host[:-1]):  # a second process here, and other hosts
            async with replica(house.database, schema, tables, host=name) as second:
                assert not second.startswith(first.partition("/")[0] + "/")
                assert await house.process(second).claim() is None
                await alive.renew()
                assert attempt.stopped == ""
        assert await alive.finish(attempt, house.final()) is not None


async def test_a_kind_of_another_state_is_not_touched(house: House) -> None:
    job, host = await house.add(), new_message_id()
    kind = house.table.kind
    async with replica(house.database, kind.schema, [house.table], host=host) as before:
        mine = house.process(before)
        attempt = await mine.claim()
        assert attempt is not None
        await mine.finish(attempt, house.final())
        row = await house.row(job)
    async with replica(house.database, kind.schema, [house.table], host=host):
        assert await house.row(job) == row


async def test_without_a_database_it_is_said_at_once(house: House) -> None:
    database = type(house.database)("postgresql://nobody@127.0.0.1:1/none", service="test")
    with pytest.raises(DependencyUnavailable):
        async with replica(database, "transmit", []):
            raise AssertionError("it has no name")
