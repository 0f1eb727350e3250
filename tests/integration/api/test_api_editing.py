"""PATCH of a study, and patients merged, moved and split, with metadata at work behind."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO

import httpx
import pytest
from pydicom import dcmread

from tests.integration.api.conftest import Api, running_api
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared
from tests.support.services import Services
from tests.support.waiting import until

JANE = {"PatientID": "J-1", "PatientName": "Doe^Jane", "PatientSex": "F", "StudyDate": "20260101"}


@pytest.fixture
async def house(services: Services) -> AsyncIterator[Api]:
    """An api, whose metadata is started by `done`."""
    async with running_api(services) as made:
        yield made


async def done(api: Api, accepted: httpx.Response) -> str:
    """Wait until a job has ended; return its state and reason."""
    assert accepted.status_code == 202, accepted.text
    if "metadata" not in api.services.running:
        # Read your writes: the job is there before anybody has heard of it.
        shown = (await api.client.get(accepted.json()["status_url"])).json()
        assert shown["state"] == "ACCEPTED"
        await api.services.start("metadata")

    async def ended() -> bool:
        shown = (await api.client.get(accepted.json()["status_url"])).json()
        return shown["finished_at"] is not None

    await until(ended)
    shown = (await api.client.get(accepted.json()["status_url"])).json()
    return f"{shown['state']} {shown['reason']}".strip()


async def patch(api: Api, exam_id: str, etag: str | None = None, **body: object) -> httpx.Response:
    path = f"/api/v1/studies/{exam_id}"
    if etag is None:
        etag = (await api.client.get(path)).headers["etag"]
    return await api.client.patch(path, json=body, headers={"If-Match": etag} if etag else {})


@pytest.mark.req("API-12")
async def test_what_is_ours_changes_at_once_and_two_do_not_overwrite_each_other(house: Api) -> None:
    await house.seed.add(a_data_set(AccessionNumber="A1", **JANE))
    seen = await house.client.get("/api/v1/studies/A1")
    assert (await patch(house, "A1", "", exam_status="completed")).status_code == 428
    mine = await patch(house, "A1", seen.headers["etag"], exam_status="completed")
    assert (mine.status_code, mine.json()["exam_status"]) == (200, "completed")
    theirs = await patch(house, "A1", seen.headers["etag"], physician_name="Dr. X", reason="why")
    assert (theirs.status_code, theirs.json()["code"]) == (412, 4009)
    again = await patch(house, "A1", mine.headers["etag"], physician_name="Dr. X", reason="why")
    assert again.status_code == 200
    (newest, *_) = again.json()["history"]
    assert (newest["field"], newest["old"], newest["new"]) == ("physician_name", "", "Dr. X")
    assert (newest["reason"], newest["by"]) == ("why", "admin")
    same = await patch(house, "A1", again.headers["etag"], physician_name="Dr. X")
    assert same.headers["etag"] == again.headers["etag"]
    etag = same.headers["etag"]
    answers = await asyncio.gather(
        *(patch(house, "A1", etag, physician_name=f"Dr. {n}") for n in range(5))
    )
    assert sorted(one.status_code for one in answers) == [200, 412, 412, 412, 412]
    log = (await house.client.get("/api/v1/audit-logs?action=STUDY_UPDATE")).json()["data"]
    assert len(log) == 3
    told = [one["details"]["changes"][0] for one in log]
    assert told[1] == {"field": "physician_name", "old": "", "new": "Dr. X"}
    url = house.services.superuser_url
    rows = await Prepared(url).fetch("SELECT log::text AS log FROM api.audit_log AS log")
    assert rows
    assert not any("Dr. X" in row["log"] for row in rows)


async def test_what_objects_say_is_edited_and_every_way_to_see_it_agrees(house: Api) -> None:
    study = a_data_set(AccessionNumber="A1", **JANE)
    uid = study.StudyInstanceUID
    await house.seed.add(study)
    seen = (await house.client.get("/api/v1/studies/A1")).headers["etag"]
    path = f"/dicom-web/studies/{uid}/series/{study.SeriesInstanceUID}"
    one = f"{path}/instances/{study.SOPInstanceUID}"
    for _ in range(2):  # then it is known where it is
        assert b"Doe^Jane" in (await house.client.get(one)).content
    change = {
        "patient_name": "Roe^Jane",
        "patient_birth_date": "1970-02-03",
        "study_date": "2026-01-02",
        "accession_number": "B2",
        "exam_status": "in_progress",
    }
    key = {"If-Match": seen, "Idempotency-Key": "one"}
    path = "/api/v1/studies/A1"
    accepted = await house.client.patch(path, json=change, headers=key)
    repeated = await house.client.patch(path, json=change, headers=key)
    assert repeated.json() == accepted.json()
    assert (await patch(house, "A1", seen, description="late")).status_code == 412
    assert await done(house, accepted) == "DONE"
    shown = (await house.client.get("/api/v1/studies/B2")).json()
    assert (shown["patient_name"], shown["patient_birth_date"]) == ("Roe^Jane", "19700203")
    assert (shown["study_date"], shown["exam_status"]) == ("2026-01-02", "in_progress")
    changes = {one["field"]: (one["old"], one["new"]) for one in shown["history"]}
    assert changes["PatientName"] == ("Doe^Jane", "Roe^Jane")
    assert changes["StudyDate"] == ("20260101", "20260102")
    assert (await house.client.get("/api/v1/studies/A1")).status_code == 404
    qido = await house.client.get("/dicom-web/studies", params={"PatientName": "Roe*"})
    assert [one["0020000D"]["Value"] for one in qido.json()] == [[uid]]
    wado = (await house.client.get(f"/dicom-web/studies/{uid}/metadata")).json()
    assert wado[0]["00100010"]["Value"] == [{"Alphabetic": "Roe^Jane"}]
    whole = await house.client.get(
        f"/dicom-web/studies/{uid}",
        headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
    )
    for shown in (whole, await house.client.get(one)):
        assert b"Roe^Jane" in shown.content
        assert b"Doe^Jane" not in shown.content


async def test_what_is_refused_before_there_is_a_job(house: Api) -> None:
    await house.seed.add(a_data_set(AccessionNumber="A1", **JANE))
    await house.seed.add(a_data_set(AccessionNumber="B2", PatientID="OTHER", PatientName="O^O"))
    shared = a_data_set(AccessionNumber="C3", **JANE)
    beside = a_data_set(
        StudyInstanceUID=shared.StudyInstanceUID,
        AccessionNumber="C3",
        PatientID="OTHER",
        PatientName="O^O",
    )
    await house.seed.add(shared)
    await house.seed.add(beside)
    for wrong in (
        {"patient_name": "x" * 65},
        {"patient_name": "a^b^c^d^e^f"},
        {"patient_name": "a\\b"},
        {"patient_name": None},
        {"patient_id": ""},
        {"patient_sex": "female"},
        {"patient_birth_date": "1970-02-30"},
        {"accession_number": "x" * 17},
        {"description": "a\nb"},
        {"exam_status": "done"},
        {"status": "archived"},
        {"whole_patient": True, "description": "x"},
    ):
        answer = await patch(house, "A1", **wrong)
        assert answer.status_code == 422, wrong
    assert (await patch(house, "A1", patient_id="OTHER")).status_code == 409
    uid = str(shared.StudyInstanceUID)
    assert (await patch(house, uid, description="x")).status_code == 409
    assert (await patch(house, "nobody", "x", description="x")).status_code == 404
    known, nobody = {"patient_id": "J-1"}, {"patient_id": "nobody"}
    for path, body, status in (
        ("merge", {"source": known, "target": known}, 422),
        ("merge", {"source": known, "target": nobody}, 422),
        ("move", {"exam_id": "A1", "target": nobody}, 422),
        ("move", {"exam_id": "nobody", "target": known}, 404),
        ("split", {"exam_id": "A1", "patient": {**known, "patient_name": "A"}}, 409),
    ):
        answer = await house.client.post(f"/api/v1/patients/{path}", json=body)
        assert answer.status_code == status, (path, answer.text)
    assert (await house.client.get("/api/v1/study-edits")).json()["total"] == 0


@pytest.mark.req("MET-06")
async def test_patients_by_rest(house: Api) -> None:
    await house.seed.add(a_data_set(AccessionNumber="A1", **JANE))
    await house.seed.add(a_data_set(AccessionNumber="A2", **JANE))
    await house.seed.add(a_data_set(AccessionNumber="B2", PatientID="OTHER", PatientName="O^O"))
    source, target = {"patient_id": "J-1"}, {"patient_id": "OTHER"}
    post = house.client.post
    body = {"source": source, "target": target, "reason": "one and the same"}
    assert await done(house, await post("/api/v1/patients/merge", json=body)) == "DONE"
    found = await house.client.get("/api/v1/studies/search", params={"patient_id": "OTHER"})
    assert found.json()["total"] == 3
    new = {"patient_id": "NEW", "patient_name": "New^One", "patient_birth_date": "1980-01-01"}
    body = {"exam_id": "A1", "patient": new}
    assert await done(house, await post("/api/v1/patients/split", json=body)) == "DONE"
    body = {"exam_id": "A2", "target": {"patient_id": "NEW"}}
    assert await done(house, await post("/api/v1/patients/move", json=body)) == "DONE"
    found = await house.client.get("/api/v1/studies/search", params={"q": "new one"})
    assert {one["exam_id"] for one in found.json()["data"]} == {"A1", "A2"}
    accepted = await patch(house, "A1", patient_name="Newer^One", whole_patient=True)
    assert await done(house, accepted) == "DONE"
    found = await house.client.get("/api/v1/studies/search", params={"q": "newer"})
    assert found.json()["total"] == 2


@pytest.mark.req("MET-06")
async def test_a_study_that_is_moved_keeps_its_uids_and_is_the_others_wherever_it_is_seen(
    house: Api,
) -> None:
    study = new_uid()
    series = new_uid()
    images = [
        a_data_set(StudyInstanceUID=study, SeriesInstanceUID=series, AccessionNumber="A1", **JANE)
        for _ in range(2)
    ]
    kept = await house.seed.add(*images)
    other = {"PatientID": "O", "PatientName": "Other^One", "PatientSex": "M"}
    await house.seed.add(a_data_set(AccessionNumber="O1", PatientBirthDate="19610203", **other))
    get, base = house.client.get, f"/dicom-web/studies/{study}"
    one = f"{base}/series/{series}/instances/{images[0].SOPInstanceUID}"
    seen = {path: (await get(path)).headers["etag"] for path in (base, f"{base}/metadata", one)}
    body = {"exam_id": "A1", "target": {"patient_id": "O"}}
    assert await done(house, await house.client.post("/api/v1/patients/move", json=body)) == "DONE"
    for level in ("studies", "series", "instances"):
        of_jane = (await get(f"/dicom-web/{level}", params={"PatientID": "J-1"})).json()
        assert of_jane == [], level
        found = (
            await get(f"/dicom-web/{level}", params={"PatientID": "O", "StudyInstanceUID": study})
        ).json()
        assert len(found) == (2 if level == "instances" else 1), level
        assert {said["00100010"]["Value"][0]["Alphabetic"] for said in found} == {"Other^One"}
    for path, etag in seen.items():
        again = await get(path, headers={"If-None-Match": etag})
        assert (again.status_code, again.headers["etag"] == etag) == (200, False), path
        assert (await get(path, headers={"If-Match": etag})).status_code == 412, path
    told = (await get(f"{base}/metadata")).json()
    uids = {image.SOPInstanceUID for image in images}
    assert {said["00080018"]["Value"][0] for said in told} == uids
    for said in told:
        assert said["00100020"]["Value"] == ["O"]
        assert said["00100030"]["Value"] == ["19610203"]
        assert (said["0020000D"]["Value"], said["0020000E"]["Value"]) == ([study], [series])
        assert said["00080050"]["Value"] == ["A1"]
    taken = await get(one, headers={"Accept": "application/dicom"})
    file = dcmread(BytesIO(taken.content))
    assert (file.PatientID, str(file.PatientName), file.PatientSex) == ("O", "Other^One", "M")
    assert (file.StudyInstanceUID, file.SOPInstanceUID) == (study, images[0].SOPInstanceUID)
    assert file.PixelData == images[0].PixelData
    assert file.StudyDate == JANE["StudyDate"]
    wado = {"requestType": "WADO", "studyUID": study, "seriesUID": series}
    wado |= {"objectUID": file.SOPInstanceUID, "contentType": "application/dicom"}
    assert (await get("/dicom-web/wado", params=wado)).content == taken.content
    # The objects as they came are kept, and can be put in force again.
    query = {"kind": "correction", "study_instance_uid": study}
    listed = (await get("/api/v1/conflicts", params=query)).json()["data"]
    came = [(await get(f"/api/v1/conflicts/{row['conflict_id']}/object")).content for row in listed]
    assert len(came) == len(kept)
    for whole in kept:  # UIDs are of several lengths, and so are they
        assert [body for body in came if body.endswith(whole)], whole
