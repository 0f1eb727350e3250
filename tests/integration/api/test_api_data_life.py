"""The life of data by REST: holds, what retention lets go, all of a person, and their erasure."""

import io
import json
import zipfile
from typing import Any

import httpx
import pypdf
import pytest

from tests.integration.api.conftest import Api, running_api
from tests.integration.api.people import signed_in
from tests.integration.api.test_api_editing import done
from tests.integration.api.test_api_exports import finished, sql
from tests.support.builders import a_data_set
from tests.support.services import Services
from tests.support.shown import example_after
from tests.support.waiting import until

OLD = {"StudyDate": "20100101", "PatientID": "P-17", "PatientName": "Planted^Name"}
WHY = {"reason": "asked for"}
PATIENT = {"patient": {"patient_id": "P-17"}, **WHY}
RULES = [{"description": "*screening*", "years": 40}]


@pytest.fixture
async def ward(services: Services) -> Any:
    services.extra |= {"RETENTION_RULES": json.dumps(RULES), "PURGE_PER_MINUTE": "0"}
    async with running_api(services) as api:
        yield api


async def delete(api: Api, exam_id: str) -> httpx.Response:
    return await api.client.request("DELETE", f"/api/v1/studies/{exam_id}", json=WHY)


@pytest.mark.req("STO-04")
async def test_holds_rules_and_plan_say_the_same(ward: Api) -> None:
    client = ward.client
    sets = {
        name: a_data_set(AccessionNumber=name, **{**OLD, **more})
        for name, more in {
            "FREE": {"PatientID": "F"},
            "HELD": {},
            "SCREEN": {"PatientID": "S", "StudyDescription": "Screening"},
            "NEW": {"PatientID": "F", "StudyDate": "20260101"},
        }.items()
    }
    await ward.seed.add(*sets.values())
    uids = {name: str(one.StudyInstanceUID) for name, one in sets.items()}
    held = await client.post("/api/v1/patient-holds", json={**PATIENT, "owner": "legal"})
    assert held.status_code == 201, held.text
    told = held.json()
    assert (told["studies"], told["owner"], told["by"]) == (1, "legal", "admin")
    again = await client.post("/api/v1/patient-holds", json=PATIENT)
    nobody = {**PATIENT, "patient": {"patient_id": "nobody"}}
    unknown = await client.post("/api/v1/patient-holds", json=nobody)
    assert (again.status_code, unknown.status_code) == (409, 422)
    (shown,) = (await client.get("/api/v1/patient-holds")).json()["data"]
    assert shown == told
    # Every interface obeys, and the dry run says so before.
    for name, status in (("HELD", 409), ("SCREEN", 409), ("NEW", 409)):
        assert (await delete(ward, name)).status_code == status, name
    refused = await client.delete(f"/dicom-web/studies/{uids['HELD']}")
    assert refused.status_code == 409
    await ward.services.start("metadata")

    async def planned() -> Any:
        found = (await client.get("/api/v1/retention/runs")).json()["data"]
        return found and all(one["state"] == "DONE" for one in found) and found

    runs = await until(planned)
    assert all(one["action"] == "plan" and one["is_current"] for one in runs)
    assert (runs[-1]["due"], runs[-1]["held"], runs[-1]["marked"]) == (2, 1, 0)
    plan = (await client.get("/api/v1/retention/plan")).json()["data"]
    assert {(one["study_instance_uid"], one["held"], one["why"]) for one in plan} == {
        (uids["FREE"], False, "RETENTION_YEARS: 7 years"),
        (uids["HELD"], True, "RETENTION_YEARS: 7 years"),
    }
    later = (await client.get("/api/v1/retention/plan?on=2051-01-01&page_size=1")).json()
    assert later["total"] == 4
    summed = (await client.get("/api/v1/retention?on=2051-01-01")).json()
    assert [(one["rule"], one["studies"], one["held"]) for one in summed["due"]] == [
        (0, 3, 1),
        (1, 1, 0),
    ]
    link = (await client.get("/api/v1/retention/plan?on=2051-01-01&page_size=3")).links["next"]
    rest = (await client.get(link["url"])).json()["data"]
    assert [one["study_instance_uid"] for one in rest] == [uids["SCREEN"]]
    recalled = await client.post("/api/v1/studies/NEW/recall", json={})
    assert await done(ward, recalled) == "DONE"  # there is one store: it is there
    (recall,) = (await client.get("/api/v1/study-recalls")).json()["data"]
    assert (recall["study_instance_uid"], recall["bytes"]) == (uids["NEW"], 0)
    # What is deleted can be held until it is purged, and the hold keeps it.
    assert await done(ward, await delete(ward, "FREE")) == "DONE"
    late = await client.post("/api/v1/legal-holds", json={"exam_id": uids["FREE"], **WHY})
    assert late.status_code == 201, late.text
    ended = await client.delete(f"/api/v1/patient-holds/{told['hold_id']}")
    assert ended.status_code == 204
    assert (await client.delete(f"/api/v1/patient-holds/{told['hold_id']}")).status_code == 404
    page = await client.get("/system/retention")
    assert page.status_code == 200
    assert uids["FREE"] in page.text


async def require_package(ward: Api, old: Any, kept: Any, bodies: list[bytes]) -> None:
    """Ask for all of the person, and look at what comes."""
    client = ward.client
    asked = await client.post("/api/v1/patients/export", json=PATIENT)
    assert asked.status_code == 202, asked.text
    found = await finished(ward, asked.json()["job_id"])
    assert found["message"] == "2 objects"
    whole = await client.get(found["download_url"])
    part = await client.get(found["download_url"], headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    with zipfile.ZipFile(io.BytesIO(whole.content)) as file:
        assert file.testzip() is None
        names = set(file.namelist())
        objects = {
            f"objects/{one.StudyInstanceUID}/{one.SOPInstanceUID}.dcm": body
            for one, body in zip((old, kept), bodies, strict=False)
        }
        assert {name for name in names if name.startswith("objects/")} == set(objects)
        assert all(file.read(name).endswith(body) for name, body in objects.items())
        told = {name: json.loads(file.read(name)) for name in names if name.endswith(".json")}
    assert len(told["studies.json"]) == 2
    assert "Planted^Name" in json.dumps(told["studies.json"])
    uid = str(old.StudyInstanceUID)
    seen = [one for one in told["access.json"] if one["resource_id"] == uid]
    assert [(one["username"], one["action"]) for one in seen] == [("admin", "STUDY_READ")]
    assert "00100010" in told[f"headers/{uid}.json"][0]
    stored = [path.read_bytes() for path in ward.services.store.rglob("*") if path.is_file()]
    assert not any(b"Planted^Name" in data and b"PK\x03\x04" in data for data in stored)


def require_example(said: dict[str, Any]) -> None:
    """See that the page shows what a dry run says."""
    page = json.loads(example_after("data-life.md", '"dry_run": true}'))
    assert page.keys() == said.keys()
    assert page["studies"][0].keys() == said["studies"][0].keys()


async def test_all_of_a_person_is_one_file_and_goes_as_far_as_it_may(ward: Api) -> None:
    client = ward.client
    old, kept = (
        a_data_set(AccessionNumber="OLD", **OLD),
        a_data_set(AccessionNumber="KEPT", **{**OLD, "StudyDate": "20260101"}),
    )
    other = a_data_set(AccessionNumber="OTHER", **{**OLD, "PatientID": "P-18"})
    bodies = await ward.seed.add(old, kept, other)
    assert (await client.get("/api/v1/studies/OLD")).status_code == 200
    async with signed_in(ward, "medical_admin") as doctor:
        for path in ("export", "erase"):
            answer = await doctor.post(f"/api/v1/patients/{path}", json=PATIENT)
            assert answer.status_code == 403, path
    await require_package(ward, old, kept, bodies)
    uid = str(old.StudyInstanceUID)
    dry = await client.post("/api/v1/patients/erase", json={**PATIENT, "dry_run": True})
    assert dry.status_code == 200, dry.text
    states = {one["study_instance_uid"]: one for one in dry.json()["studies"]}
    assert states[uid]["outcome"] == "to_erase"
    stays = states[str(kept.StudyInstanceUID)]
    assert (stays["outcome"], stays["why"]) == ("kept", "RETENTION_YEARS: 7 years")
    require_example(dry.json())
    assert (await client.get("/api/v1/studies/OLD")).status_code == 200
    assert (await client.get("/api/v1/erasures")).json()["total"] == 0

    once = {"idempotency-key": "erase 17"}
    erased = await client.post("/api/v1/patients/erase", json=PATIENT, headers=once)
    assert erased.status_code == 202, erased.text
    place = erased.headers["location"]
    again = await client.post("/api/v1/patients/erase", json=PATIENT, headers=once)
    assert (again.status_code, again.headers["location"]) == (202, place)
    assert (await client.get("/api/v1/erasures")).json()["total"] == 1
    await ward.services.start("metadata")

    async def state() -> Any:
        shown = (await client.get(place)).json()
        by_uid = {one["study_instance_uid"]: one["state"] for one in shown["studies"]}
        return by_uid[uid], shown["complete"]

    await until(lambda: _is(state, ("deleted", False)))
    await sql(ward, "UPDATE index.removal SET purge_after = now() - interval '1 s'")
    await sql(ward, "UPDATE index.removal SET finished_at = now() + interval '1 s'")
    metadata = ward.services.running["metadata"]
    await metadata.stop()
    await metadata.start()  # looks for what is to be purged
    await until(lambda: _is(state, ("erased", True)))
    (short,) = (await client.get("/api/v1/erasures")).json()["data"]
    assert (short["studies"], short["erasable"]) == (2, 1)
    document = await client.get(f"{place}/certificate")
    assert document.headers["content-type"] == "application/pdf"
    text = "".join(
        page.extract_text() for page in pypdf.PdfReader(io.BytesIO(document.content)).pages
    )
    assert "P-17" in text
    assert "erased" in text
    assert "audit log" in text
    rows = (await client.get("/api/v1/audit-logs?resource_type=patient")).json()["data"]
    assert len([row for row in rows if row["action"] == "STUDY_DELETE"]) == 2
    assert (await client.get("/api/v1/studies/OTHER")).status_code == 200
    assert (await client.get("/api/v1/studies/KEPT")).status_code == 200
    assert (await sql(ward, "SELECT count(*) FROM index.study"))[0][0] == 2


async def _is(ask: Any, wanted: object) -> bool:
    return bool(await ask() == wanted)
