"""Conflicts by REST, from a C-STORE on: the list of trouble, both sides, and decisions."""

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import asyncpg
import httpx
import pytest
from pydicom.dataset import Dataset

from tests.integration.api.conftest import Api
from tests.integration.api.test_api_auth import PASSWORD, add_user
from tests.support.builders import a_data_set, encode, new_uid
from tests.support.dicom_peer import send
from tests.support.waiting import until

BASE = "/api/v1/conflicts"
JSON = {"accept": "application/dicom+json"}


@dataclass
class Trouble:
    """A house that has received what disagrees."""

    api: Api
    client: httpx.AsyncClient
    shared: dict[str, str]
    first: Dataset
    other: Dataset
    """The same SOP instance UID as `first`, other bytes."""

    async def send(self, *sets: Dataset) -> None:
        for one in sets:  # one UID comes twice
            objects = [(str(one.SOPInstanceUID), encode(one))]
            answers = await asyncio.to_thread(send, self.api.services.dicom_port, objects)
            assert set(answers.values()) == {0}

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def listed(self, count: int, **query: Any) -> list[dict[str, Any]]:
        async def come() -> list[dict[str, Any]] | None:
            found = await self.get(BASE, state="open", **query)
            return found["data"] if found["total"] == count else None

        return await until(come, f"{count} conflicts")

    async def decided(self, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        answer = await self.client.post(f"{BASE}/{path}", json=body or {}, headers=headers)
        assert answer.status_code == 202, answer.text
        address = answer.headers["location"]
        assert (await self.get(address))["job_id"] == answer.json()["job_id"]

        async def ended() -> Any:
            job = await self.get(address)
            return job if job["finished_at"] else None

        job: dict[str, Any] = await until(ended, "the end of the job")
        assert job["state"] == "DONE", job
        return job

    async def qido(self, level: str, **keys: str) -> list[Any]:
        found = await self.client.get(f"/dicom-web/{level}", params=keys, headers=JSON)
        return [] if found.status_code == 204 else list(found.json())


@pytest.fixture
async def trouble(api: Api) -> Trouble:
    await api.services.start("metadata", "ingest")
    shared = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    one = {"PatientID": "FIRST", "PatientName": "Planted^First"}
    first = a_data_set(**shared, **one, InstanceNumber=1)
    other = a_data_set(**shared, **one, InstanceNumber=2, SOPInstanceUID=first.SOPInstanceUID)
    made = Trouble(api, api.client, shared, first, other)
    two = {"PatientID": "OTHER", "PatientName": "Planted^Other"}
    await made.send(first)
    await made.send(other, *(a_data_set(**shared, **two) for _ in range(3)))
    return made


@pytest.mark.req("MET-06", "STO-03", "ING-15")
async def test_conflicts_are_listed_shown_fetched_and_resolved(trouble: Trouble) -> None:
    client = trouble.client
    found = {one["kind"]: one for one in await trouble.listed(2)}
    assert set(found) == {"instance", "patient"}
    assert found["patient"]["attributes"] == ["PatientID", "PatientName"]
    for name in ("kind", "study_instance_uid"):
        page = await trouble.get(BASE, **{name: found["patient"][name]})
        assert found["patient"] in page["data"]
    detail = await trouble.get(f"/api/v1/studies/{trouble.shared['StudyInstanceUID']}")
    assert detail["patient_id"] == "FIRST"
    assert len(detail["conflicts"]) == 2

    # each is found under its own patient, and metadata says the same
    assert len(await trouble.qido("instances", PatientID="FIRST")) == 1
    assert len(await trouble.qido("instances", PatientID="OTHER")) == 3
    assert len(await trouble.qido("studies", PatientID="OTHER")) == 1

    # both sides, and what differs
    patient = await client.get(f"{BASE}/{found['patient']['conflict_id']}")
    sides = patient.json()
    assert [sides[side]["patient"]["patient_id"] for side in ("first", "other")] == [
        "FIRST",
        "OTHER",
    ]
    assert [sides[side]["instances"] for side in ("first", "other")] == [1, 3]
    assert {one["keyword"] for one in sides["differences"]} == {"PatientID", "PatientName"}
    known = {"if-none-match": patient.headers["etag"]}
    assert (await client.get(str(patient.url), headers=known)).status_code == 304
    number = found["instance"]["conflict_id"]
    (difference,) = (await trouble.get(f"{BASE}/{number}"))["differences"]
    assert (difference["keyword"], difference["first"], difference["other"]) == (
        "InstanceNumber",
        "1",
        "2",
    )
    fetched = await client.get(f"{BASE}/{number}/object")
    assert fetched.headers["content-type"] == "application/dicom"
    assert fetched.content.endswith(encode(trouble.other))


@pytest.mark.req("STO-03")
async def test_promoted_bytes_are_what_everybody_gets(trouble: Trouble) -> None:
    client = trouble.client
    await trouble.listed(2)
    (listed,) = await trouble.listed(1, kind="instance")
    number = listed["conflict_id"]
    path = "/".join(
        [
            f"/dicom-web/studies/{trouble.shared['StudyInstanceUID']}",
            f"series/{trouble.shared['SeriesInstanceUID']}",
            f"instances/{trouble.first.SOPInstanceUID}",
        ]
    )
    plain = {"accept": "application/dicom"}
    for _ in range(2):  # then it is known where it is
        assert (await client.get(path, headers=plain)).content.endswith(encode(trouble.first))
    key = {"idempotency-key": "once"}
    twice = [await client.post(f"{BASE}/{number}/promote", json={}, headers=key) for _ in range(2)]
    assert twice[0].json() == twice[1].json()
    await trouble.listed(1)
    assert (await client.get(path, headers=plain)).content.endswith(encode(trouble.other))
    fetched = await client.get(f"{BASE}/{number}/object")
    assert fetched.content.endswith(encode(trouble.first))
    # what was in force before is deleted only by whoever has seen that it is that
    why = {"reason": "meant for what was promoted meanwhile"}
    late = await client.post(f"{BASE}/{number}/discard", json=why)
    assert (late.status_code, late.json()["code"]) == (409, 4008)
    etag = (await client.get(f"{BASE}/{number}")).headers["etag"]
    await trouble.decided(f"{number}/discard", why, **{"if-match": etag})
    assert (await trouble.get(f"{BASE}/{number}"))["state"] == "discarded"


@pytest.mark.req("MET-06")
async def test_merged_instances_are_of_the_first_patient_everywhere(trouble: Trouble) -> None:
    client = trouble.client
    await trouble.listed(2)
    (listed,) = await trouble.listed(1, kind="patient")
    number = listed["conflict_id"]
    etag = (await client.get(f"{BASE}/{number}")).headers["etag"]
    # what was asked with another version in mind is refused
    stale = await client.post(f"{BASE}/{number}/merge", json={}, headers={"if-match": '"7.0"'})
    assert (stale.status_code, stale.json()["code"]) == (412, 4009)
    job = await trouble.decided(
        f"{number}/merge", {"reason": "typed wrongly"}, **{"if-match": etag}
    )
    assert (job["instances"], job["requested_by"]) == (3, "admin")
    assert await trouble.qido("instances", PatientID="OTHER") == []
    instances = await trouble.qido("instances", PatientID="FIRST")
    study = f"/dicom-web/studies/{trouble.shared['StudyInstanceUID']}"
    metadata = (await client.get(f"{study}/metadata", headers=JSON)).json()
    assert len(instances) == len(metadata) == 4
    assert {one["00100020"]["Value"][0] for one in metadata} == {"FIRST"}
    (shown,) = await trouble.qido("studies", PatientID="FIRST")
    assert shown["00201208"]["Value"] == [4]
    detail = await trouble.get(f"{BASE}/{number}")
    assert (detail["state"], detail["resolved_by"], detail["other"]) == ("merged", "admin", None)
    assert detail["decisions"][0]["why"] == "typed wrongly"
    late = await client.post(f"{BASE}/{number}/split", json={})
    assert (late.status_code, late.json()["code"]) == (409, 4008)
    assert (await trouble.get("/api/v1/conflict-decisions", state="DONE"))["total"] == 1


async def test_what_the_worker_would_refuse_is_refused_at_once(trouble: Trouble) -> None:
    client = trouble.client
    found = {one["kind"]: one["conflict_id"] for one in await trouble.listed(2)}
    for path, body, status in (
        (f"{found['instance']}/discard", {}, 422),
        (f"{found['instance']}/discard", {"reason": ""}, 422),
        (f"{found['instance']}/merge", {}, 409),
        (f"{found['patient']}/promote", {}, 409),
        (f"{found['patient']}/move", {}, 422),
        (f"{found['patient']}/move", {"patient_id": "NOBODY"}, 422),
        (f"{found['patient']}/move", {"patient_id": "a\x00b"}, 422),
        (f"{found['patient']}/merge", {"patient_id": "FIRST"}, 422),
        (f"{found['patient']}/burn", {}, 404),
        ("999999/merge", {}, 404),
        ("x/merge", {}, 422),
    ):
        answer = await client.post(f"{BASE}/{path}", json=body)
        assert answer.status_code == status, (path, answer.text)
        assert "NOBODY" not in answer.text
    assert (await client.get(f"{BASE}/999999")).status_code == 404
    assert (await client.get(f"{BASE}/999999/object")).status_code == 404
    assert (await trouble.get("/api/v1/conflict-decisions"))["total"] == 0
    job = await trouble.decided(f"{found['instance']}/discard", {"reason": "sent by mistake"})
    assert job["action"] == "discard"
    shown = await trouble.get(f"{BASE}/{found['instance']}")
    assert (shown["state"], shown["removed_at"]) == ("discarded", None)
    assert shown["remove_after"] is not None


@pytest.mark.req("API-22")
async def test_a_decision_is_kept_while_metadata_is_stopped(trouble: Trouble) -> None:
    (listed,) = await trouble.listed(1, kind="instance")
    number = listed["conflict_id"]
    assert await trouble.api.services.running["metadata"].stop() == 0
    answer = await trouble.client.post(f"{BASE}/{number}/keep", json={"reason": "both are right"})
    address = answer.headers["location"]
    job = await trouble.get(address)
    assert (job["state"], job["conflict_id"], job["action"]) == ("ACCEPTED", number, "keep")
    assert (await trouble.get("/api/v1/conflict-decisions", state="ACCEPTED"))["total"] == 1
    assert (await trouble.get(BASE, state="open", kind="instance"))["total"] == 1
    # one at a time: what metadata would refuse is refused
    second = await trouble.client.post(f"{BASE}/{number}/promote", json={})
    assert (second.status_code, second.json()["code"]) == (409, 4008)
    await trouble.api.services.start("metadata")

    async def done() -> bool:
        return bool((await trouble.get(address))["state"] == "DONE")

    await until(done, "the decision carried out")
    assert (await trouble.get(BASE, state="kept"))["total"] == 1
    cancelled = await trouble.client.post(f"{address}/cancel")
    assert (cancelled.status_code, cancelled.json()["code"]) == (409, 4008)


async def test_a_list_of_many_is_read_to_its_end_page_by_page(trouble: Trouble) -> None:
    await trouble.listed(2)
    sets = [a_data_set(**trouble.shared, PatientID="FIRST", InstanceNumber=n) for n in range(120)]
    for one in sets:
        one.SOPInstanceUID = trouble.first.SOPInstanceUID
    await trouble.api.seed.add(*sets)
    study = trouble.shared["StudyInstanceUID"]
    for sort in ("-received_at", "received_at"):
        seen: list[dict[str, Any]] = []
        query = {"sort": sort, "page_size": 50, "study_instance_uid": study}
        path = f"{BASE}?{urlencode(query)}"
        while path:
            answer = await trouble.client.get(path)
            assert answer.json()["total"] == 122
            seen += answer.json()["data"]
            path = answer.links["next"]["url"] if "next" in answer.links else ""
        assert len({one["conflict_id"] for one in seen}) == len(seen) == 122
        moments = [one["received_at"] for one in seen]
        assert moments == sorted(moments, reverse=sort.startswith("-"))


@pytest.mark.req("API-02")
async def test_patients_are_shown_to_those_who_may_read_studies_alone(trouble: Trouble) -> None:
    (conflict,) = await trouble.listed(1, kind="patient")
    await add_user(trouble.api, "olga", "technician")
    db = await asyncpg.connect(trouble.api.services.superuser_url)
    await db.execute(
        "INSERT INTO api.role (name, title) VALUES ('desk', 'Desk');"
        "INSERT INTO api.role_permission (role, permission) VALUES ('desk', 'conflicts:read')"
    )
    await db.close()
    await add_user(trouble.api, "dora", "desk")
    seen = {}
    for name in ("olga", "dora"):
        tokens = (await trouble.api.sign_in(name, PASSWORD)).json()
        headers = {"authorization": f"Bearer {tokens['access_token']}"}
        path = f"{BASE}/{conflict['conflict_id']}"
        seen[name] = await trouble.api.anonymous.get(path, headers=headers)
        merge = await trouble.api.anonymous.post(f"{path}/merge", json={}, headers=headers)
        assert merge.status_code == 403
        got = await trouble.api.anonymous.get(f"{path}/object", headers=headers)
        assert got.status_code == (200 if name == "olga" else 403)
    assert "Planted" in seen["olga"].text
    assert "Planted" not in seen["dora"].text
    assert "OTHER" not in seen["dora"].text
    assert seen["dora"].json()["differences"] is None
