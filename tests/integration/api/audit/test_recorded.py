"""Reading by DICOMweb and REST, and work that other services do, have a row before the answer."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from darkroom_api.accounts.access import ACCESS
from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import Entry
from darkroom_api.audit.log import AuditLog
from darkroom_api.audit.recorded import RECORDED
from darkroom_api.audit.recorder import ReadRecorder, Recorder
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.pool import Connection
from tests.integration.api.audit.conftest import SEAL
from tests.support.builders import a_data_set

if TYPE_CHECKING:
    from tests.integration.api.audit.conftest import Desk, Superuser
    from tests.integration.api.conftest import Api


def test_what_is_recorded_are_routes() -> None:
    assert set(RECORDED) <= set(ACCESS)
    dicomweb = {route for route in ACCESS if route[1].startswith("/dicom-web/")}
    dicomweb.discard(("OPTIONS", "/dicom-web/"))  # what there is, of nobody
    assert dicomweb <= set(RECORDED)  # every transaction


async def rows(api: "Api", action: str) -> list[dict[str, Any]]:
    answer = await api.client.get("/api/v1/audit-logs", params={"action": action})
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


@pytest.mark.req("API-05")
async def test_dicomweb_and_studies(api: "Api") -> None:
    url = "/dicom-web/studies?PatientName=MEYER*&limit=5"
    assert (await api.client.get(url)).status_code == 200
    (searched,) = await rows(api, "DICOMWEB_SEARCH")
    assert searched["details"]["query"] == [["PatientName", "MEYER*"], ["limit", "5"]]
    assert (searched["username"], searched["outcome"]) == ("admin", "success")
    assert (await api.client.get("/dicom-web/studies/1.2.3/metadata")).status_code == 404
    (retrieved,) = await rows(api, "DICOMWEB_RETRIEVE")
    assert (retrieved["resource_type"], retrieved["resource_id"]) == ("study", "1.2.3")
    assert (retrieved["outcome"], retrieved["details"]["status"]) == ("failure", 404)
    assert (await api.client.get("/api/v1/studies/A-4711")).status_code == 404
    assert (await api.client.get("/dicom-web/studies?MEYER^ANNA=x")).status_code == 400
    assert (await api.client.get("/dicom-web/studies/MEYER^ANNA/metadata")).status_code == 404
    connection = await asyncpg.connect(api.services.superuser_url)
    text = await connection.fetchval("SELECT string_agg(l::text, ' ') FROM api.audit_log l")
    await connection.close()
    assert "MEYER" not in text
    assert "A-4711" not in text


async def test_many_at_once_share_transactions_and_one_that_gives_up_takes_nobody_with_it(
    desk: "Desk",
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    class Held(AuditLog):
        async def add(self, db: Connection, entries: Sequence[Entry]) -> None:
            began.set()
            await go_on.wait()
            await super().add(db, entries)

    recorder = Recorder(desk.database, Held(desk.keys, SEAL, SYSTEM_CLOCK))

    async def write(number: int) -> None:
        await recorder.write(Entry(Action.DICOMWEB_RETRIEVE, "study", f"1.2.{number}"))

    first = asyncio.create_task(write(0))
    others = [asyncio.create_task(write(n)) for n in range(1, 300)]
    await began.wait()
    first.cancel()
    others[7].cancel()
    go_on.set()
    results = await asyncio.gather(*others, return_exceptions=True)
    assert [n for n, one in enumerate(results) if one is not None] == [7]
    async with desk.database.acquire() as db:
        found = await db.fetch("SELECT resource_id FROM api.audit_log")
        transactions = await db.fetchval("SELECT count(DISTINCT xmin::text) FROM api.audit_log")
    ids = [row["resource_id"] for row in found]
    assert {f"1.2.{n}" for n in range(1, 300) if n != 8} <= set(ids)
    assert transactions < 20


async def test_without_the_database_there_is_no_answer(desk: "Desk") -> None:
    recorder = Recorder(desk.database, desk.audit)
    await desk.database.close()
    desk.database._url = "postgresql://nobody@127.0.0.1:1/nothing"
    tasks = [asyncio.create_task(recorder.write(Entry(Action.STUDY_READ))) for _ in range(5)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(one) for one in results} == {DependencyUnavailable}
    assert recorder._together._waiting == []
    with pytest.raises(DependencyUnavailable):
        await recorder.write(Entry(Action.STUDY_READ))


async def test_what_others_do_has_a_row_before_they_are_asked(api: "Api") -> None:
    """Nobody answers for ingest here: what came of it is not known, and that it was asked is."""
    sender = {"name": "CT1", "host_rule": "any"}
    refused = await api.client.post("/api/v1/senders", json=sender)
    assert refused.status_code in (502, 503), refused.text
    failed, asked = await rows(api, "RESOURCE_CREATE")
    assert (asked["outcome"], failed["outcome"]) == ("asked", "failure")
    assert asked["details"]["act"] == failed["details"]["act"]
    assert "status" not in asked["details"]
    assert failed["details"]["status"] == refused.status_code


async def test_a_request_that_repeats_another_has_no_row_of_its_own(api: "Api") -> None:
    study = a_data_set()
    await api.seed.add(study)
    connection = await asyncpg.connect(api.services.superuser_url)
    spec = '{"ae_title": "PACS", "host": "127.0.0.1", "port": 104}'
    await connection.execute(
        "INSERT INTO transmit.destination (name, spec) VALUES ('PACS', $1::text::jsonb)", spec
    )
    await connection.close()
    headers = {"idempotency-key": "once"}
    body = {"destination": "PACS", "study_instance_uid": str(study.StudyInstanceUID)}
    answers = [
        await api.client.post("/api/v1/transmit/jobs", json=body, headers=headers) for _ in range(3)
    ]
    assert {answer.status_code for answer in answers} == {202}, answers[0].text
    (row,) = await rows(api, "JOB_CREATE")
    assert row["resource_id"] == answers[2].json()["job_id"]


async def test_rows_of_reads_are_durable_soon_and_written_again_when_the_database_lost_them(
    desk: "Desk", superuser: "Superuser"
) -> None:
    reads = ReadRecorder(desk.database, desk.audit)
    entries = [Entry(Action.DICOMWEB_RETRIEVE, "study", f"1.2.{n}") for n in range(3)]
    await asyncio.gather(*map(reads.write, entries))
    async with desk.database.unflushed() as db:
        assert await db.fetchval("SHOW synchronous_commit") == "off"
        before = [row["log_id"] for row in await db.fetch("SELECT log_id FROM api.audit_log")]
    assert len(before) == 3
    assert not desk.audit.written  # nobody is accused of removing what a crash may still undo
    for table in ("audit_log", "audit_pending"):
        await superuser.execute(f"DELETE FROM api.{table} WHERE log_id = $1", before[1])
    await reads.settle()
    async with desk.database.acquire() as db:
        after = await db.fetch("SELECT log_id FROM api.audit_log")
        pending = await db.fetchval("SELECT count(*) FROM api.audit_pending")
    assert {row["log_id"] for row in after} == set(before)
    assert pending == 3
    assert set(desk.audit.written) == set(before)


async def test_what_is_not_durable_yet_is_kept_while_the_database_is_away(desk: "Desk") -> None:
    reads = ReadRecorder(desk.database, desk.audit)
    await reads.write(Entry(Action.STUDY_READ))
    await desk.database.close()
    url, desk.database._url = desk.database._url, "postgresql://nobody@127.0.0.1:1/nothing"
    with pytest.raises(DependencyUnavailable):
        await reads.settle()
    await desk.database.close()
    desk.database._url = url
    await reads.settle()
    assert len(desk.audit.written) == 1
