"""Quarantine by REST: of several ingests, each with a spool of its own."""

import asyncio
from typing import Any

import pytest

from darkroom_local.engines.ports import free_port
from tests.integration.api.conftest import Api, running_api
from tests.support.builders import a_data_set, encode
from tests.support.dicom_peer import send
from tests.support.services import ServiceProcess, Services
from tests.support.waiting import until

BASE = "/api/v1/quarantine"


async def another_ingest(services: Services) -> int:
    """Start one more ingest with a spool of its own; return its DICOM port."""
    health, port = free_port(), free_port()
    changes = {
        "DARKROOM_DICOM_PORT": str(port),
        "DARKROOM_STOW_PORT": str(free_port()),
        "DARKROOM_SPOOL": str(services.directory / "spool-2"),
    }
    environment = services.environment("ingest", health) | changes
    one = ServiceProcess("ingest", environment, services.directory / "ingest-2.log", health)
    services.running["ingest-2"] = one
    await one.start()
    await one.ready()
    return port


async def refuse(port: int) -> bytes:
    """Have a truncated object refused; return its bytes."""
    one = a_data_set()
    uid, data = str(one.SOPInstanceUID), encode(one)[:-3]
    assert await asyncio.to_thread(send, port, [(uid, data)]) == {uid: 0xC000}
    return data


async def listed(api: Api, **query: Any) -> list[dict[str, Any]]:
    answer = await api.client.get(BASE, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def in_state(api: Api, one: str, state: str) -> dict[str, Any]:
    async def reached() -> dict[str, Any] | None:
        found: dict[str, Any] = (await api.client.get(f"{BASE}/{one}")).json()
        return found if found["state"] == state else None

    return await until(reached, f"{one} {state}")


@pytest.mark.req("API-15")
@pytest.mark.timeout(300)
async def test_any_ingest_is_asked_and_the_one_with_the_file_does_it(services: Services) -> None:
    async with running_api(services) as api:
        await services.start("ingest")
        second = await another_ingest(services)
        await refuse(services.dicom_port)
        await refuse(second)

        async def both() -> list[dict[str, Any]] | None:
            found = await listed(api, state="HELD")
            return found if len(found) == 2 else None

        found = await until(both)
        assert {one["reason"] for one in found} == {"truncated"}
        assert all(one["is_reachable"] for one in found)
        first, other = (one["quarantine_id"] for one in found)

        # It cannot be read today either: it stays, and says why.
        once = {"idempotency-key": "the first one"}
        answer = await api.client.post(f"{BASE}/{first}/release", json={}, headers=once)
        assert answer.status_code == 202
        assert answer.headers["etag"]

        async def refused() -> bool:
            shown = (await api.client.get(f"{BASE}/{first}")).json()
            return bool(shown["state"] == "HELD" and "truncated" in shown["result"])

        await until(refused)
        again = await api.client.post(f"{BASE}/{first}/release", json={}, headers=once)
        assert (again.status_code, again.json()["state"]) == (202, "HELD")  # not tried once more
        taken = await api.client.post(f"{BASE}/{other}/release", json={}, headers=once)
        assert taken.status_code == 422
        stale = {"if-match": answer.headers["etag"]}
        late = await api.client.post(f"{BASE}/{first}/discard", headers=stale)
        assert late.status_code == 412

        forced = [
            api.client.post(f"{BASE}/{one}/release", json={"force": True})
            for one in (first, other, first)
        ]
        assert {one.status_code for one in await asyncio.gather(*forced)} <= {202, 409}
        for one in (first, other):
            assert (await in_state(api, one, "RELEASED"))["forced"] is True
        assert (await api.client.post(f"{BASE}/{first}/discard")).status_code == 409
        assert (await api.client.post(f"{BASE}/{'0' * 32}/discard")).status_code == 404
        assert (await api.client.get(f"{BASE}/{'0' * 32}")).status_code == 404
        logged = await api.client.get("/api/v1/audit-logs?action=QUARANTINE_RELEASE")
        assert {one["resource_id"] for one in logged.json()["data"]} == {first, other}

        # What is wanted of an ingest that is away is done when it is back.
        await refuse(second)
        (third,) = await until(lambda: _held(api))
        await services.running["ingest-2"].kill()
        answer = await api.client.post(f"{BASE}/{third}/discard")
        assert (answer.status_code, answer.json()["state"]) == (202, "DISCARDING")
        await services.running["ingest-2"].start()
        await in_state(api, third, "DISCARDED")
        assert not [
            path
            for path in (services.directory / "spool-2" / "quarantine").iterdir()
            if path.name.startswith(third)
        ]


async def _held(api: Api) -> list[str] | None:
    return [one["quarantine_id"] for one in await listed(api, state="HELD")] or None
