"""What print forgets, and what it never does."""

from datetime import timedelta

from darkroom_common.postgres.outbox import Outbox
from darkroom_print.printing.repository import PrintJobs
from darkroom_print.tidy import PICTURES, old_jobs
from tests.integration.print.desk import PrintDesk

_ADD = (
    "INSERT INTO print.job (id, printer, layout, sop_instance_uids, copies, state, rule, sealed,"
    " finished_at) SELECT s || r || d, 'FILM', 'single', '{1.2}', 1, s, r, 'x',"
    " now() - make_interval(days => d)"
    " FROM unnest(ARRAY['DONE', 'CANCELLED', 'FAILED', 'UNKNOWN', 'QUEUED']) AS s,"
    " unnest(ARRAY['', 'all']) AS r, unnest(ARRAY[1, 100]) AS d"
)
_PICTURES = (
    "INSERT INTO print.picture (id, media_type, sealed, created_at)"
    " SELECT n, 'image/png', '', now() - n * interval '1 minute' FROM generate_series(1, 250) AS n"
)


async def test_jobs_that_ended_well_are_forgotten_in_time(desk: PrintDesk) -> None:
    fetch = desk.prepared.fetch
    await desk.services.running["print"].stop()
    await fetch(_ADD)
    await fetch("INSERT INTO print.film (job_id, number) SELECT id, 1 FROM print.job")
    async with desk.prepared.login("print") as database:
        for counts in ([2, 1], [0, 0]):
            removals = old_jobs(PrintJobs(Outbox("print")), days=90)
            assert [await removal.run(database) for removal in removals] == counts
        kept = old_jobs(PrintJobs(Outbox("print")), days=0)
        assert [await removal.run(database) for removal in kept] == [0, 0]
    left = {row["id"]: row["sealed"] for row in await fetch("SELECT id, sealed FROM print.job")}
    assert len(left) == 18
    assert {"DONE100", "CANCELLED100"}.isdisjoint(left)
    assert [name for name, sealed in left.items() if not sealed] == ["DONEall100"]
    films = await fetch("SELECT count(*) FROM print.film")
    assert films[0][0] == 18


async def test_pictures_are_forgotten_within_minutes(desk: PrintDesk) -> None:
    await desk.services.running["print"].stop()
    await desk.prepared.fetch(_PICTURES)
    async with desk.prepared.login("print") as database:
        assert PICTURES.older_than == timedelta(minutes=10)
        assert await PICTURES.run(database) == 241
