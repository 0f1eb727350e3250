"""Jobs that have ended long ago are removed; those that an operator must see are not."""

import pytest

from darkroom_common.jobs.tidy import jobs
from darkroom_common.postgres.outbox import Outbox
from darkroom_transmit.sending.repository import SendJobs
from tests.integration.transmit.desk import LIMIT, Desk
from tests.support.database import Prepared
from tests.support.services import Services
from tests.support.waiting import until

STATES = ("SENT", "COMMITTED", "CANCELLED", "FAILED")


async def add_jobs(
    prepared: Prepared,
    count: int,
    *,
    days: int,
    commitment: str = "",
    states: tuple[str, ...] = STATES,
) -> None:
    """Add jobs of some states, with an instance, an attempt and a request for commitment each."""
    for state in states:
        await prepared.fetch(
            "WITH made AS (INSERT INTO transmit.job (id, destination, priority, state, commitment,"
            " finished_at) SELECT $1 || '-' || n, 'PACS', 'medium', $2, $3,"
            " now() - make_interval(days => $4) FROM generate_series(1, $5::integer) n"
            " RETURNING id), instances AS (INSERT INTO transmit.job_instance"
            " (job_id, sop_instance_uid, position) SELECT id, '2.25.1', 1 FROM made),"
            " attempts AS (INSERT INTO transmit.attempt (job_id, number) SELECT id, 1 FROM made)"
            " INSERT INTO transmit.commitment (transaction_uid, job_id, destination,"
            " sop_instance_uids, deadline, state) SELECT '2.25.' || id, id, 'PACS', '{}', now(),"
            " 'COMMITTED' FROM made",
            f"{days}{commitment}-{state}",
            state,
            commitment,
            days,
            count,
        )


async def left(prepared: Prepared) -> dict[str, int]:
    rows = await prepared.fetch(
        "SELECT substring(id FROM '^(.*)-') AS kind, count(*) AS jobs FROM transmit.job GROUP BY 1"
    )
    return {row["kind"]: row["jobs"] for row in rows}


@pytest.mark.req("TRX-02")
async def test_only_what_ended_well_long_ago_is_removed(superuser_url: str) -> None:
    prepared = await Prepared.make(superuser_url, "metadata", "transmit")
    await add_jobs(prepared, 45, days=91)
    await add_jobs(prepared, 3, days=89)
    await add_jobs(prepared, 2, days=91, commitment="asked", states=("SENT",))
    await prepared.fetch(
        "INSERT INTO transmit.routed (rule, destination, sop_instance_uid, job_id)"
        " VALUES ('ALL', 'PACS', '2.25.1', '91-SENT-1')"
    )
    async with prepared.login("transmit") as database:
        removal = jobs(SendJobs(Outbox("transmit")).table, days=90)
        assert await removal.run(database) == 3 * 45
        assert await removal.run(database) == 0
    kept = {f"89-{state}": 3 for state in STATES} | {"91-FAILED": 45, "91asked-SENT": 2}
    assert await left(prepared) == kept
    for table in ("job_instance", "attempt", "commitment"):
        rows = await prepared.fetch(f"SELECT count(*) AS n FROM transmit.{table}")
        assert rows[0]["n"] == sum(kept.values())
    assert len(await prepared.fetch("SELECT FROM transmit.routed")) == 1


async def test_an_index_serves_the_removal(superuser_url: str) -> None:
    prepared = await Prepared.make(superuser_url, "metadata", "transmit")
    await add_jobs(prepared, 500, days=1)
    await prepared.fetch("ANALYZE transmit.job")
    plan = await prepared.fetch(
        "EXPLAIN SELECT id FROM transmit.job"
        " WHERE state IN ('SENT', 'COMMITTED', 'CANCELLED')"
        " AND commitment NOT IN ('wanted', 'asked')"
        " AND finished_at < now() - interval '90 days' ORDER BY finished_at LIMIT 20"
    )
    assert any("job_finished" in row[0] for row in plan), plan


@pytest.mark.parametrize("days", [0, 90])
async def test_the_service_removes_them_unless_told_to_keep_all(
    desk: Desk, services: Services, days: int
) -> None:
    await services.running["transmit"].stop()
    await add_jobs(desk.prepared, 1, days=91)
    await desk.prepared.fetch(
        "INSERT INTO transmit.arrival (study_instance_uid, calling_ae_title, called_ae_title,"
        " first_at) VALUES ('2.25.1', 'A', 'B', now() - interval '400 days')"
    )
    services.extra["JOB_RETENTION_DAYS"] = str(days)
    await services.start("transmit")

    async def came() -> bool:
        return not await desk.prepared.fetch("SELECT FROM transmit.arrival")

    await until(came, limit=LIMIT)
    states = {"FAILED"} if days else set(STATES)
    assert set(await left(desk.prepared)) == {f"91-{state}" for state in states}
