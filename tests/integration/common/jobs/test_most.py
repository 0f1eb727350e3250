"""A kind of which only some are worked at at a time, over all processes (API-08)."""

import asyncio
from dataclasses import replace

import pytest

from darkroom_api.exports.repository import Exports
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import open_database
from tests.integration.common.jobs.cases import CASES, House
from tests.support.database import Prepared

MOST = 3


@pytest.mark.req("API-08")
async def test_no_more_than_so_many_over_all_replicas(prepared: Prepared) -> None:
    case = replace(CASES["export"], table=lambda outbox: Exports(outbox, MOST).table)
    async with open_database(prepared.url("api"), service="api") as database:
        house = House(case, case.table(Outbox("api")), database)
        replicas = [house.process() for _ in range(4)]
        for replica in replicas:
            replica.lane = None
        jobs = [await house.add() for _ in range(8)]
        found = await asyncio.gather(*(one.claim() for one in replicas * 2))
        first = [attempt.id for attempt in found if attempt is not None]
        assert len(first) == MOST  # however they race
        assert await replicas[0].claim() is None
        holder = next(one for one in replicas if one.held)
        ended = next(iter(holder.held.values()))
        await holder.finish(ended, house.final())
        following = await replicas[3].claim()
        assert following is not None
        assert following.id in jobs
        assert following.id not in first
        dead = next(one for one in first if one != ended.id)
        await house.put(dead, "lease_until = now() - interval '1 second'")
        taken = await replicas[2].claim()  # what a dead replica had does not count
        assert taken is not None
        assert await replicas[1].claim() is None
