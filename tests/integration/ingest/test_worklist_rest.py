"""The worklist by REST, asked for by a modality; what MPPS makes of the examination."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest
from pynetdicom import AE

from darkroom_common.dimse.users.find import MODALITY_WORKLIST_FIND
from tests.integration.api.conftest import running_api
from tests.integration.ingest.asking import HOST, Asked
from tests.integration.ingest.test_worklist import (
    a_query,
    a_step,
    change,
    create,
    listed,
    steps_of,
    telling,
    the_end,
)
from tests.support.builders import new_uid
from tests.support.services import Services, declare_index_queue
from tests.support.waiting import until

BASE = "/api/v1/worklist"
ENTRY = {
    "patient_name": "Planted^Anna",
    "patient_id": "P1",
    "accession_number": "AC1",
    "scheduled_procedure_step_id": "S1",
    "scheduled_at": "2026-11-27T10:30:00",
    "modality": "CT",
    "scheduled_station_ae_titles": ["CT1"],
}


async def added_once(client: httpx.AsyncClient, entry: dict[str, Any]) -> httpx.Response:
    """Add an entry twice with one key; return the answer."""
    key = {"idempotency-key": "once"}
    first, again = [await client.post(BASE, json=entry, headers=key) for _ in range(2)]
    assert (again.status_code, again.json()) == (201, first.json())
    other = await client.post(BASE, json={**entry, "modality": "MR"}, headers=key)
    assert other.status_code == 422
    return first


@pytest.mark.req("ING-13")
async def test_a_day_from_the_entry_to_the_status(services: Services) -> None:
    services.extra |= {"UNKNOWN_AE": "reject", "PROCESSES": "1"}
    async with running_api(services) as api:
        await declare_index_queue(services.amqp_url)
        await services.start("ingest")
        sender = {"host_rule": "any", "sop_class_rule": "any", "query_rule": "own"}
        added = await api.client.post("/api/v1/senders", json={"name": "CT1", **sender})
        assert added.status_code == 201, added.text

        made = await api.client.post(BASE, json=ENTRY)
        assert made.status_code == 201, made.text
        path, etag, entry = made.headers["location"], made.headers["etag"], made.json()
        assert path == f"{BASE}/{entry['id']}"
        assert entry["requested_procedure_id"] == "AC1"
        assert (await api.client.post(BASE, json=ENTRY)).status_code == 409
        assert (await api.client.post(BASE, json={**ENTRY, "x": 1})).status_code == 422
        assert (await api.client.get(f"{BASE}/{'0' * 32}")).status_code == 404
        changed = await api.client.put(
            path, json={**ENTRY, "medical_alerts": "Planted"}, headers={"if-match": etag}
        )
        assert changed.status_code == 200, changed.text
        assert changed.json()["study_instance_uid"] == entry["study_instance_uid"]
        stale = await api.client.put(path, json=ENTRY, headers={"if-match": etag})
        assert stale.status_code == 412
        second = {**ENTRY, "accession_number": "AC2", "scheduled_at": "2026-11-28T08:00:00"}
        other = await added_once(api.client, second)
        days = (await api.client.get(BASE, params={"sort": "-scheduled_at"})).json()
        assert [one["accession_number"] for one in days["data"]] == ["AC2", "AC1"]
        assert (await api.client.delete(other.headers["location"])).status_code == 204
        assert (await api.client.get(BASE)).json()["total"] == 1

        port = Asked(services.dicom_port, api.seed)

        async def let_in() -> bool:
            return await asyncio.to_thread(is_let_in, services.dicom_port)

        await until(let_in, "the list of senders in force")

        async def told() -> list[str] | None:
            status, found = await asyncio.to_thread(listed, port, a_query(), "CT1")
            return steps_of(found) if status == 0 else None

        assert await until(told, "the roster in force") == ["S1"]

        study, step = entry["study_instance_uid"], new_uid()

        def perform(work: Any) -> int:
            with telling(port, "CT1") as user:
                return int(work(user))

        assert await asyncio.to_thread(perform, lambda u: create(u, a_step(study), step)) == 0
        assert await told() == ["S1"]
        steps = (
            await api.client.get("/api/v1/performed-steps", params={"state": "IN PROGRESS"})
        ).json()
        assert [one["entries"] for one in steps["data"]] == [[entry["id"]]]

        async def status(expected: str) -> None:
            async def come() -> bool:
                return await status_of(services, study) == expected

            await until(come, f"the status {expected}")

        await status("in_progress")
        assert (
            await asyncio.to_thread(perform, lambda u: change(u, step, the_end("COMPLETED"))) == 0
        )
        await status("completed")
        shown = (await api.client.get(f"/api/v1/performed-steps/{step}")).json()
        assert shown["attributes"]["00400252"]["Value"] == ["COMPLETED"]
        assert (await api.client.get(path)).json()["state"] == "COMPLETED"
        assert await told() == []


def is_let_in(port: int) -> bool:
    ae = AE(ae_title="CT1")
    ae.add_requested_context(MODALITY_WORKLIST_FIND)
    association = ae.associate(HOST, port, ae_title="DARKROOM")
    found = bool(association.is_established)
    if found:
        association.release()
    return found


async def status_of(services: Services, study: str) -> str | None:
    db = await asyncpg.connect(services.superuser_url)
    try:
        found: str | None = await db.fetchval(
            "SELECT exam_status FROM api.examination WHERE study_instance_uid = $1", study
        )
    finally:
        await db.close()
    return found
