"""What became of instances is kept in the order in which it was told, however late (TRX-02)."""

import asyncio

import pytest

from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import the_row
from darkroom_transmit.sending.job import Result
from darkroom_transmit.sending.outcome import Outcome, Verdict
from darkroom_transmit.sending.repository import SendJobs
from tests.integration.transmit.test_tidy import add_jobs
from tests.support.database import Prepared
from tests.support.waiting import until

SUSPECT, SENT = Outcome(Verdict.SUSPECT, "Released"), Outcome(Verdict.SENT)
FAILED = Outcome(Verdict.FAILED, "Released")
LOCK = "SELECT * FROM transmit.job FOR UPDATE"
WAITING = (
    "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


@pytest.mark.parametrize("together", [True, False])
async def test_the_last_result_of_an_instance_counts(superuser_url: str, together: bool) -> None:
    prepared = await Prepared.make(superuser_url, "metadata", "transmit")
    await add_jobs(prepared, 40, days=0, states=("SENDING",))
    jobs = [f"0-SENDING-{number + 1}" for number in range(40)]
    results = [Result(job, "2.25.1", SUSPECT) for job in jobs]
    results += [Result(job, "2.25.1", FAILED if n % 2 else SENT) for n, job in enumerate(jobs)]
    async with prepared.login("transmit") as database, database.transaction() as db:
        for some in [results] if together else [[one] for one in results]:
            await SendJobs(Outbox("transmit")).record(db, some)
    rows = await prepared.fetch(
        "SELECT i.state, i.reason, i.tries, i.faults, j.sent, j.failed, count(*) AS n"
        " FROM transmit.job_instance i JOIN transmit.job j ON j.id = i.job_id"
        " GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        ("FAILED", "Released", 2, 1, 0, 1, 20),
        ("SENT", "", 2, 1, 1, 0, 20),
    ]


async def test_an_operator_cancels_a_job_whose_results_are_just_kept(superuser_url: str) -> None:
    """Both change the job and its instances: in one order, or one of them dies of a deadlock."""
    prepared = await Prepared.make(superuser_url, "metadata", "transmit")
    await add_jobs(prepared, 1, days=0, states=("SENDING",))
    jobs = SendJobs(Outbox("transmit"))

    async def keep() -> None:
        async with database.transaction() as db:
            await jobs.record(db, [Result("0-SENDING-1", "2.25.1", SENT)])

    async def waits() -> bool:
        return bool(await prepared.fetch(WAITING))

    async with prepared.login("transmit") as database:
        async with database.transaction() as db:
            row = the_row(await db.fetchrow(LOCK))
            keeping = asyncio.create_task(keep())
            await until(waits)
            await jobs.acted(db, row, "cancel")
        await keeping
    rows = await prepared.fetch(
        "SELECT i.state, j.sent FROM transmit.job_instance i JOIN transmit.job j ON j.id = i.job_id"
    )
    assert [tuple(row) for row in rows] == [("SENT", 1)]
