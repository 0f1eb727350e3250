"""Two replicas on one database: what one has in hand, the other neither takes, keeps nor ends."""

import asyncio
from datetime import timedelta

import pytest

from darkroom_common.jobs.attempt import Ending
from darkroom_common.messages.base import new_message_id
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.outbox import Outbox
from tests.integration.common.jobs.cases import LEASE, House, act
from tests.support.database import Prepared
from tests.support.waiting import LIMIT

pytestmark = pytest.mark.req("TRX-02")


async def test_a_claim_passes_over_what_another_is_about_to_take(house: House) -> None:
    """While one transaction has a row locked, another neither waits for it nor takes it."""
    if house.table.kind.alone or house.table.kind.most:
        pytest.skip("its claims are made one by one")
    jobs = [await house.add() for _ in range(2)]
    async with asyncio.timeout(LIMIT), house.database.transaction() as db:
        first = await house.table.claim(db, lane=house.lane, owner="one", lease=LEASE)
        assert first is not None
        second = await house.process().claim()
        assert second is not None
        assert {first[0].id, second.id} == set(jobs)
        assert await house.process().claim() is None


async def test_who_does_not_have_a_job_can_do_nothing_with_it(house: House) -> None:
    job = await house.add()
    mine = house.process()
    attempt = await mine.claim()
    assert attempt is not None
    before = await house.row(job)
    working = house.table.kind.phases.working[-1]
    async with house.database.transaction() as db:
        assert not await house.table.ours(db, attempt, owner="other")
        assert await house.table.renew(db, [attempt], owner="other", lease=LEASE) == set()
        assert not await house.table.enter(db, attempt, working, owner="other")
        assert await house.table.finish(db, attempt, house.final(), owner="other") is None
    assert await house.row(job) == before
    assert [state for state, _ in await house.events(job)].count(house.well) == 0
    async with house.database.transaction() as db:
        assert await house.table.ours(db, attempt, owner=mine.owner)
        assert await house.table.renew(db, [attempt], owner=mine.owner, lease=LEASE) == {job}
    renewed = (await house.row(job))["lease_until"]
    assert renewed > before["lease_until"]
    assert await mine.finish(attempt, house.final()) is not None
    async with house.database.transaction() as db:
        assert not await house.table.ours(db, attempt, owner=mine.owner), "it has ended"
        assert await house.table.renew(db, [attempt], owner=mine.owner, lease=LEASE) == set()
        assert await house.table.finish(db, attempt, house.final(), owner=mine.owner) is None


async def test_of_two_ends_of_one_job_one_counts(house: House) -> None:
    job = await house.add()
    mine = house.process()
    attempt = await mine.claim()
    assert attempt is not None
    ends = await asyncio.gather(*(mine.finish(attempt, house.final()) for _ in range(4)))
    assert sum(row is not None for row in ends) == 1
    assert await house.state(job) == house.well
    if house.table.kind.event is not None:
        assert [state for state, _ in await house.events(job)].count(house.well) == 1


async def test_what_goes_with_an_end_that_comes_too_late_is_not_kept(house: House) -> None:
    job = await house.add()
    late = house.process()
    attempt = await late.claim()
    assert attempt is not None
    await house.put(job, "lease_until = now() - interval '1 second'")
    assert await house.process().claim() is not None
    called = False

    async def decide(_: object) -> Ending:
        nonlocal called
        called = True
        return house.final()

    assert await late.finish(attempt, decide) is None
    assert not called
    assert late.held == {}


async def test_a_replica_takes_its_own_jobs_back_and_no_others(house: House) -> None:
    kind = house.table.kind
    if kind.alone or kind.most:
        pytest.skip("it has one job in hand at a time")
    jobs = {owner: await house.add() for owner in ("a/1", "a/2", "b/1")}
    for owner in jobs:
        attempt = await house.process(owner).claim()
        assert attempt is not None
        jobs[owner] = attempt.id
    async with house.database.transaction() as db:
        assert await house.table.take_back(db, "a/", "a/2") == 1
    owners = {owner: (await house.row(job))["lease_owner"] for owner, job in jobs.items()}
    assert owners == {"a/1": "", "a/2": "a/2", "b/1": "b/1"}


async def test_a_process_does_not_claim_what_it_has_in_hand(house: House) -> None:
    job = await house.add()
    mine = house.process()
    assert await mine.claim() is not None
    await house.put(job, "lease_until = now() - interval '1 second'")
    assert await mine.claim() is None, "its lease is over, and its work goes on"
    assert await house.process().claim() is not None


async def test_what_an_operator_has_ended_is_nobodys(house: House) -> None:
    kind = house.table.kind
    if ("cancel", kind.phases.working[0]) not in kind.actions:
        pytest.skip("it cannot be cancelled while it is worked on")
    job = await house.add()
    mine = house.process()
    attempt = await mine.claim()
    assert attempt is not None
    acted = await act(house, job, "cancel")
    assert acted is not None
    if acted.after == kind.phases.working[0]:
        pytest.skip("its worker ends it")
    assert await mine.finish(attempt, house.final()) is None
    assert await house.state(job) == acted.after


async def test_two_consumers_take_one_message_once(prepared: Prepared) -> None:
    """The second waits for the first, and knows then; it is no error to it."""
    inbox = Inbox("transmit", new_message_id())
    entered = asyncio.Event()

    async def take(*, first_of_all: bool) -> bool:
        async with database.transaction() as db:
            if not first_of_all:
                await entered.wait()
            first = await inbox.first_time(db, "m")
            entered.set()
            return first

    async with asyncio.timeout(LIMIT), prepared.login("transmit") as database:
        taken = await asyncio.gather(take(first_of_all=True), take(first_of_all=False))
        assert list(taken) == [True, False]


async def test_the_inbox_forgets_what_is_old_of_its_own_consumer_alone(prepared: Prepared) -> None:
    mine, other = Inbox("transmit", new_message_id()), Inbox("transmit", new_message_id())
    async with prepared.login("transmit") as database, database.transaction() as db:
        for inbox in (mine, other):
            assert await inbox.first_times(db, ["old", "new"]) == {"old", "new"}
        await db.execute(
            "UPDATE transmit.inbox SET received_at = now() - interval '8 days'"
            " WHERE message_id = 'old' AND consumer = ANY($1)",
            [mine.consumer, other.consumer],
        )
        await mine.forget(db, older_than=timedelta(days=9))
        assert not await mine.first_time(db, "old"), "it is not so old"
        await mine.forget(db, older_than=timedelta(days=7))
        assert await mine.first_times(db, ["old", "new"]) == {"old"}
        assert await other.first_times(db, ["old", "new"]) == set()


async def test_two_drainers_do_not_wait_for_each_other(prepared: Prepared) -> None:
    """While one publishes what it has locked, another passes over it."""
    outbox = Outbox("transmit")
    async with asyncio.timeout(LIMIT), prepared.login("transmit") as database:
        async with database.transaction() as db:
            await db.execute("DELETE FROM transmit.outbox")
            await db.execute(
                "INSERT INTO transmit.outbox (message_id, type, body, headers)"
                " SELECT $1, 'x', '', '{}'",
                new_message_id(),
            )
        async with database.transaction() as holding:
            await holding.fetch("SELECT id FROM transmit.outbox FOR UPDATE")

            class Nobody:
                async def publish_all(self, messages: object) -> list[None]:
                    raise AssertionError(messages)

            assert await outbox.drain(database, Nobody()) == 0
        async with database.transaction() as db:
            await db.execute("DELETE FROM transmit.outbox")
