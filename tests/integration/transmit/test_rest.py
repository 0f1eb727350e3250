"""Destinations, rules and jobs by REST, with api and transmit as processes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.integration.api.conftest import Api, running_api
from tests.integration.api.test_api_licence import tell
from tests.integration.transmit.desk import QUICK, Desk, open_desk
from tests.support.scripted_peer import Script, ScriptedPeer
from tests.support.services import Services

SECRET = "a-secret-of-a-destination"


@dataclass
class Both:
    """The api and transmit."""

    api: Api
    desk: Desk

    async def call(self, method: str, path: str, expected: int, **given: Any) -> Any:
        answer = await self.api.client.request(method, f"/api/v1{path}", **given)
        assert answer.status_code == expected, answer.text
        return answer.json() if answer.content else None


def a_destination(port: int, **changes: Any) -> dict[str, Any]:
    return {
        "ae_title": "PACS",
        "host": LOOPBACK,
        "port": port,
        "backoff": QUICK,
        "connect_seconds": 2,
        "answer_seconds": 5,
        **changes,
    }


@asynccontextmanager
async def both_of(services: Services) -> AsyncIterator[Both]:
    async with open_desk(services) as desk, running_api(services) as api:
        yield Both(api, desk)


@pytest.fixture
async def both(services: Services) -> AsyncIterator[Both]:
    async with both_of(services) as made:
        await services.start("transmit")
        yield made


@pytest.mark.req("TRX-01")
@pytest.mark.req("API-15")
async def test_a_destination_is_added_tested_used_changed_and_removed(both: Both) -> None:
    call = both.call
    study = await both.desk.study(3)
    with ScriptedPeer() as peer:
        given = a_destination(peer.port, name="PACS", secret=SECRET)
        made = await call("POST", "/destinations", 201, json=given)
        assert (made["name"], made["breaker"], made["version"]) == ("PACS", "closed", 1)
        assert "secret" not in made
        await call("POST", "/destinations", 409, json=given)
        assert [one["name"] for one in (await call("GET", "/destinations", 200))["data"]] == [
            "PACS"
        ]
        assert (await call("POST", "/destinations/PACS/echo", 200))["ok"]
        asked = {"destination": "PACS", "study_instance_uid": study.uid, "priority": "high"}
        job = await call("POST", "/transmit/jobs", 202, json=asked)
        await both.desk.until(job["job_id"], "SENT")
        shown = await call("GET", f"/transmit/jobs/{job['job_id']}", 200)
        assert (shown["total"], shown["sent"], shown["requested_by"]) == (3, 3, "admin")
        assert [one["outcome"] for one in shown["attempt_list"]] == ["sent"]
        rows = await call("GET", f"/transmit/jobs/{job['job_id']}/instances", 200)
        assert {one["sop_instance_uid"] for one in rows["data"]} == set(study.digests)
        assert {one["status"] for one in rows["data"]} == {"0000"}
        listed = await call("GET", "/transmit/jobs?state=SENT&destination=PACS", 200)
        assert [one["job_id"] for one in listed["data"]] == [job["job_id"]]
        assert (await call("GET", "/transmit/jobs?state=FAILED", 200))["data"] == []
    changed = a_destination(free_port(), description="moved")
    assert (await call("PUT", "/destinations/PACS", 200, json=changed))["version"] == 2
    echo = await call("POST", "/destinations/PACS/echo", 200)
    assert (echo["ok"], echo["reason"]) == (False, "ConnectionRefused")
    rows = await both.desk.prepared.fetch("SELECT secret FROM transmit.destination")
    assert rows[0]["secret"]  # kept, and sealed
    assert SECRET not in rows[0]["secret"]
    waiting = (await call("POST", "/transmit/jobs", 202, json=asked))["job_id"]
    await both.desk.until(waiting, "RETRYING")
    await call("DELETE", "/destinations/PACS", 409)
    await call("POST", f"/transmit/jobs/{waiting}/cancel", 200)
    await call("POST", f"/transmit/jobs/{waiting}/cancel", 409)
    await call("DELETE", "/destinations/PACS", 204)
    await call("GET", "/destinations/PACS", 404)
    await call("DELETE", "/destinations/PACS", 404)
    await call("POST", f"/transmit/jobs/{waiting}/retry", 200)
    log = both.desk.services.running["transmit"].log.read_text()
    log += both.desk.services.running["api"].log.read_text()
    assert SECRET not in log
    assert "Planted" not in log


async def test_what_makes_no_sense_is_refused_with_a_word(both: Both) -> None:
    call = both.call
    for wrong in (
        {"name": "A B"},
        {"port": 0},
        {"ae_title": None},
        {"max_associations": 65},
        {"time_zone": "Mars/Base"},
        {"unknown": 1},
    ):
        given = {"name": "X", **a_destination(104), **wrong}
        await call("POST", "/destinations", 422, json=given)
    half = await call("POST", "/destinations", 422, json={"name": "X", "ae_title": "A"})
    assert "needs ae_title, host and port" in json.dumps(half)
    await call("POST", "/transmit/jobs", 422, json={"destination": "X"})
    asked = {"destination": "X", "study_instance_uid": "1.2.3"}
    await call("POST", "/transmit/jobs", 404, json=asked)
    await call("POST", "/destinations", 201, json={"name": "X", **a_destination(free_port())})
    missing = await call("POST", "/transmit/jobs", 404, json=asked)
    assert missing["name"] == "STUDY_NOT_FOUND"
    for path in (f"/transmit/jobs/{'0' * 32}", f"/transmit/jobs/{'0' * 32}/instances"):
        await call("GET", path, 404)
    await call("GET", "/transmit/jobs/nonsense", 422)
    await call("POST", f"/transmit/jobs/{'0' * 32}/retry", 404)
    await call("GET", "/transmit/jobs?state=ASLEEP", 422)
    await call("POST", "/rules", 404, json={"name": "R", "destinations": ["NOBODY"]})
    await call("POST", "/rules", 422, json={"name": "R"})
    await call("POST", "/rules/dry-run", 404, json={"study_instance_uid": "1.2.3"})


async def test_without_transmit_the_answer_says_when_to_come_again(services: Services) -> None:
    async with both_of(services) as both:
        answer = await both.api.client.post(
            "/api/v1/destinations", json={"name": "X", **a_destination(104)}
        )
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.json()["name"] == "SERVICE_AWAY"
        assert (await both.api.client.get("/api/v1/destinations")).json()["data"] == []


async def test_who_may_do_what(both: Both) -> None:
    anonymous = both.api.anonymous
    for method, path in (
        ("GET", "/destinations"),
        ("POST", "/destinations/X/echo"),
        ("POST", "/transmit/jobs"),
        ("POST", "/rules/dry-run"),
    ):
        answer: httpx.Response = await anonymous.request(method, f"/api/v1{path}", json={})
        assert answer.status_code == 401


@pytest.mark.req("TRX-07")
@pytest.mark.req("API-15")
async def test_rules_are_explained_and_then_send(both: Both) -> None:
    call = both.call
    with ScriptedPeer() as ct, ScriptedPeer(Script()) as rest:
        for name, port in (("CT", ct.port), ("REST", rest.port)):
            await call("POST", "/destinations", 201, json={"name": name, **a_destination(port)})
        rule = {
            "name": "ct-first",
            "position": 1,
            "destinations": ["CT"],
            "priority": "high",
            "conditions": {"modalities": ["ct"], "study_descriptions": ["*thorax*"]},
            "stop": True,
        }
        await call("POST", "/rules", 201, json=rule)
        everything = {"position": 2, "destinations": ["REST"], "description": "what is left"}
        await call("PUT", "/rules/everything-else", 201, json=everything)
        off = {"position": 0, "enabled": False, "destinations": ["REST"]}
        await call("PUT", "/rules/off", 201, json=off)
        names = [one["name"] for one in (await call("GET", "/rules", 200))["data"]]
        assert names == ["off", "ct-first", "everything-else"]
        await call("DELETE", "/destinations/CT", 409)
        thorax = await both.desk.study(3, StudyDescription="CT Thorax nativ")
        other = await both.desk.study(2, Modality="MR")
        told = await call("POST", "/rules/dry-run", 200, json={"study_instance_uid": thorax.uid})
        first, second, third = told["series"][0]["rules"]
        assert first["skipped"] == "disabled"
        assert second["matched"]
        assert second["conditions"] == [
            {"condition": "modalities", "matched": True, "expected": "ct", "found": "CT"},
            {
                "condition": "study_descriptions",
                "matched": True,
                "expected": "*thorax*",
                "found": "CT Thorax nativ",
            },
        ]
        assert third["skipped"] == "stopped by ct-first"
        told = await call("POST", "/rules/dry-run", 200, json={"study_instance_uid": other.uid})
        assert [one["matched"] for one in told["series"][0]["rules"]] == [False, False, True]
        assert ct.stored == rest.stored == []

        await both.desk.completed(thorax, revision=1, times=3)
        await both.desk.completed(other, revision=1)
        await both.desk.jobs_are(2, "SENT")
        assert set(ct.uids) == set(thorax.digests)
        assert set(rest.uids) == set(other.digests)
        more = await both.desk.add_to(thorax, 2)
        await both.desk.completed(thorax, revision=2)
        await both.desk.jobs_are(3, "SENT")
        assert len(ct.stored) == 5
        assert set(ct.uids[3:]) == more
        told = await call("POST", "/rules/dry-run", 200, json={"study_instance_uid": thorax.uid})
        assert told["already_routed"] == [{"rule": "ct-first", "destination": "CT", "instances": 5}]
        await call("DELETE", "/rules/ct-first", 204)
        await call("GET", "/rules/ct-first", 404)
    log = both.desk.services.running["transmit"].log.read_text()
    assert "Thorax" not in log


@pytest.mark.req("LIC-04")
async def test_of_several_at_the_same_moment_no_more_are_added_than_the_licence_is_for(
    both: Both,
) -> None:
    limits = {"destinations": 2}
    await tell(both.api, state="valid", entitlements=limits, features=("*",), number=1)
    answers = await asyncio.gather(
        *(
            both.api.client.post("/api/v1/destinations", json=a_destination(104, name=f"P{number}"))
            for number in range(8)
        )
    )
    assert sorted(one.status_code for one in answers) == [201] * 2 + [402] * 6
    assert {one.json()["detail"] for one in answers if one.status_code == 402} == {
        "The licence is for 2 destinations, and there are 2."
    }
    there = (await both.call("GET", "/destinations", 200))["data"][0]["name"]
    await both.call("PUT", f"/destinations/{there}", 200, json=a_destination(105))
