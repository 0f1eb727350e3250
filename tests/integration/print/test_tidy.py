"""What print forgets, and what it never does."""

from datetime import timedelta

from darkroom_print.tidy import forget_jobs
from tests.integration.print.desk import PrintDesk

_ADD = (
    "INSERT INTO print.job (id, printer, layout, sop_instance_uids, copies, state, rule, sealed,"
    " finished_at) SELECT s || r || d, 'FILM', 'single', '{1.2}', 1, s, r, 'x',"
    " now() - make_interval(days => d)"
    " FROM unnest(ARRAY['DONE', 'CANCELLED', 'FAILED', 'UNKNOWN', 'QUEUED']) AS s,"
    " unnest(ARRAY['', 'all']) AS r, unnest(ARRAY[1, 100]) AS d"
)


async def test_jobs_that_ended_well_are_forgotten_in_time(desk: PrintDesk) -> None:
    fetch = desk.prepared.fetch
    await fetch(_ADD)
    await fetch("INSERT INTO print.film (job_id, number) SELECT id, 1 FROM print.job")
    async with desk.prepared.login("print") as database:
        assert await forget_jobs(database, older_than=timedelta(days=90)) == 3
        assert await forget_jobs(database, older_than=timedelta(days=90)) == 0
    left = {row["id"]: row["sealed"] for row in await fetch("SELECT id, sealed FROM print.job")}
    assert len(left) == 18
    assert {"DONE100", "CANCELLED100"}.isdisjoint(left)
    assert [name for name, sealed in left.items() if not sealed] == ["DONEall100"]
    films = await fetch("SELECT count(*) FROM print.film")
    assert films[0][0] == 18
