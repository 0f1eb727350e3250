"""Films of print jobs in their tables: none is printed twice unless a person says so (PRN-05)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import open_database
from darkroom_print.printing.repository import PrintJob, PrintJobs
from tests.integration.common.jobs.cases import CASES, House, act
from tests.support.database import Prepared
from tests.support.waiting import until

DIGEST = b"d" * 32


class Printing(House):
    """A printer with jobs of some films."""

    jobs: PrintJobs

    async def films(self, job: str) -> list[str]:
        async with self.database.acquire() as db:
            rows = await db.fetch(
                "SELECT state FROM print.film WHERE job_id = $1 ORDER BY number", job
            )
        return [row["state"] for row in rows]

    async def claimed(self, owner: str = "one", films: int = 3) -> PrintJob:
        """Return a job in the hands of a process, its films waiting."""
        job = await self.add()
        taken = await self.process(owner).claim()
        assert isinstance(taken, PrintJob)
        assert taken.id == job
        async with self.database.transaction() as db:
            assert await self.jobs.waiting_films(db, job, films) == list(range(1, films + 1))
        assert not await self.acting(job, 1, owner), "it is composed first"
        await self.put(job, "state = 'PRINTING'")
        return taken

    async def acting(self, job: str, number: int, owner: str = "one") -> bool:
        async with self.database.transaction() as db:
            return await self.jobs.acting(db, job, number, DIGEST, owner=owner)

    async def printed(self, job: str, number: int) -> None:
        async with self.database.transaction() as db:
            await self.jobs.printed(db, job, number, f"job {number}", ["thin"])

    async def waits(self, other: asyncio.Task[str | None]) -> bool:
        """Tell whether a statement waits for a row that is locked."""
        assert not other.done(), "the job is taken while its film is about to be printed"
        async with self.database.acquire() as db:
            return bool(
                await db.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND datname = current_database()"
                )
            )

    async def left(self, job: str, films: int = 3) -> list[int]:
        async with self.database.transaction() as db:
            return await self.jobs.waiting_films(db, job, films)


@pytest.fixture
async def shop(prepared: Prepared) -> AsyncIterator[Printing]:
    async with open_database(prepared.url("print"), service="print") as database:
        outbox = Outbox("print")
        made = Printing(CASES["print"], CASES["print"].table(outbox), database)
        made.jobs = PrintJobs(outbox)
        yield made


async def test_films_that_came_out_are_not_printed_again(shop: Printing) -> None:
    job = await shop.claimed()
    assert await shop.acting(job.id, 1)
    assert await shop.films(job.id) == ["ACTING", "WAITING", "WAITING"]
    await shop.printed(job.id, 1)
    await shop.printed(job.id, 2)  # nobody has said that it was to be printed
    assert await shop.films(job.id) == ["DONE", "WAITING", "WAITING"]
    assert await shop.left(job.id) == [2, 3]
    row = await shop.row(job.id)
    assert (row["films"], row["films_done"]) == (3, 1)


async def test_a_refused_film_waits_and_one_that_nobody_knows_of_does_not(shop: Printing) -> None:
    job = await shop.claimed()
    for number in (1, 2):
        assert await shop.acting(job.id, number)
    async with shop.database.transaction() as db:
        await shop.jobs.not_acted(db, job.id, 1)
        await shop.jobs.unknown(db, job.id, 2)
        await shop.jobs.not_acted(db, job.id, 2)
    assert await shop.films(job.id) == ["WAITING", "UNKNOWN", "WAITING"]
    assert await shop.left(job.id) == [1, 3]


async def test_only_who_has_the_job_may_print_and_nobody_takes_it_meanwhile(shop: Printing) -> None:
    job = await shop.claimed()
    assert not await shop.acting(job.id, 1, owner="two")
    assert await shop.films(job.id) == ["WAITING"] * 3
    async with shop.database.transaction() as db:
        assert await shop.jobs.acting(db, job.id, 1, DIGEST, owner="one")
        other = asyncio.create_task(act(shop, job.id, "cancel"))
        await until(lambda: shop.waits(other), "somebody waits for the row")
    await other
    await shop.put(job.id, "state = 'FAILED'")
    assert not await shop.acting(job.id, 2)


async def test_a_job_whose_film_may_have_come_out_is_a_persons_to_decide(shop: Printing) -> None:
    job = await shop.claimed("dead")
    assert await shop.acting(job.id, 2, owner="dead")
    await shop.put(job.id, "lease_until = now() - interval '1 second'")
    assert await shop.process("two").claim() is None
    row = await shop.row(job.id)
    assert row["state"] == "UNKNOWN"
    assert row["reason"].startswith("film 2: ended while the printer was to print")


@pytest.mark.parametrize(("action", "after"), [("confirm", "DONE"), ("retry", "WAITING")])
async def test_a_person_says_whether_the_film_has_come_out(
    shop: Printing, action: str, after: str
) -> None:
    job = await shop.claimed("dead")
    for number in (1, 2):
        assert await shop.acting(job.id, number, owner="dead")
    await shop.printed(job.id, 1)
    await shop.put(job.id, "lease_until = now() - interval '1 second'")
    assert await shop.process("two").claim() is None
    assert await act(shop, job.id, action) is not None
    assert await shop.films(job.id) == ["DONE", after, "WAITING"]
    row = await shop.row(job.id)
    assert row["films_done"] == (2 if action == "confirm" else 1)
    assert row["state"] != "DONE", "a film is left"


async def test_a_job_whose_last_film_is_confirmed_is_done(shop: Printing) -> None:
    job = await shop.claimed("dead", films=1)
    assert await shop.acting(job.id, 1, owner="dead")
    await shop.put(job.id, "lease_until = now() - interval '1 second'")
    assert await shop.process("two").claim() is None
    assert await act(shop, job.id, "confirm") is not None
    assert await shop.state(job.id) == "DONE"
    assert await shop.films(job.id) == ["DONE"]


async def test_another_order_of_a_job_is_kept(shop: Printing) -> None:
    job = await shop.claimed()
    async with shop.database.transaction() as db:
        await shop.jobs.change_order(db, job.id, "sealed anew")
    assert (await shop.row(job.id))["sealed"] == "sealed anew"
