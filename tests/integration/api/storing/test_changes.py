"""DELETE, PUT and PATCH by DICOMweb, what stands in their way; and clients that others wrote."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.conftest import PostgresServer, RabbitServer
from tests.integration.api.storing.stowing import Stowing, stowing
from tests.integration.transmit.test_stow import orthanc
from tests.support.builders import a_data_set, new_uid
from tests.support.stow import a_file

pytestmark = pytest.mark.asyncio(loop_scope="module")
OLD = "20100101"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stow(
    postgres_server: PostgresServer, rabbitmq_server: RabbitServer
) -> AsyncIterator[Stowing]:
    async with stowing(postgres_server, rabbitmq_server) as made:
        yield made


@pytest.mark.req("API-11")
async def test_an_instance_a_series_and_the_study_are_deleted(stow: Stowing) -> None:
    study, series = new_uid(), new_uid()
    sets = [
        a_data_set(StudyInstanceUID=study, SeriesInstanceUID=series, StudyDate=OLD),
        a_data_set(StudyInstanceUID=study, SeriesInstanceUID=series, StudyDate=OLD),
        a_data_set(StudyInstanceUID=study, StudyDate=OLD),
        a_data_set(StudyInstanceUID=study, StudyDate=OLD),
    ]
    assert (await stow.store(map(a_file, sets))).status_code == 200
    for one in sets:
        await stow.kept(str(one.SOPInstanceUID))
    first = f"/dicom-web/studies/{study}/series/{series}"
    paths = [
        f"{first}/instances/{sets[0].SOPInstanceUID}",
        first,
        f"/dicom-web/studies/{study}/series/{sets[2].SeriesInstanceUID}",
        f"/dicom-web/studies/{study}",
    ]
    each = [
        f"/dicom-web/studies/{study}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"
        for one in sets
    ]
    objects = [
        row["object_key"]
        for row in await stow.fetch(
            "SELECT object_key FROM index.instance WHERE sop_instance_uid = ANY($1)",
            [str(one.SOPInstanceUID) for one in sets],
        )
    ]
    for _ in range(2):  # then they are known, and must not outlive what is deleted
        for address in each:
            assert (await stow.api.client.get(address)).status_code == 200
    for path, left in zip(paths, (3, 2, 1, 0), strict=True):
        answer = await stow.api.client.delete(path)
        assert (answer.status_code, answer.content) == (204, b""), answer.text
        if not left:  # their objects are removed in the end, and nobody tells the api
            for key in objects:
                (stow.services.store / key).unlink(missing_ok=True)
        found = await stow.api.client.get(
            "/dicom-web/instances", params={"StudyInstanceUID": study}
        )
        assert len(found.json() if found.status_code == 200 else []) == left
        assert (await stow.api.client.get(path)).status_code == 404
        assert (await stow.api.client.delete(path)).status_code == 404
        shown = [(await stow.api.client.get(address)).status_code for address in each]
        assert (shown.count(200), shown.count(404)) == (left, 4 - left)


@pytest.mark.req("STO-04")
async def test_retention_hold_and_rights_stand_in_the_way(stow: Stowing) -> None:
    new, held = a_data_set(StudyDate="20260101"), a_data_set(StudyDate=OLD)
    assert (await stow.store([a_file(new), a_file(held)])).status_code == 200
    for one in (new, held):
        await stow.kept(str(one.SOPInstanceUID))
    hold = {"exam_id": str(held.StudyInstanceUID), "reason": "a trial"}
    assert (await stow.api.client.post("/api/v1/legal-holds", json=hold)).status_code == 201
    for one in (new, held):
        study = f"/dicom-web/studies/{one.StudyInstanceUID}"
        series = f"{study}/series/{one.SeriesInstanceUID}"
        for path in (study, series, f"{series}/instances/{one.SOPInstanceUID}"):
            answer = await stow.api.client.delete(path)
            assert answer.status_code == 409, answer.text
            assert (await stow.api.anonymous.delete(path)).status_code == 401
    assert (await stow.api.client.delete("/dicom-web/studies/1.2.3")).status_code == 404


async def test_what_was_deleted_can_be_restored(stow: Stowing) -> None:
    study = new_uid()
    one, other = (a_data_set(StudyInstanceUID=study, StudyDate=OLD) for _ in range(2))
    assert (await stow.store([a_file(one), a_file(other)])).status_code == 200
    for data_set in (one, other):
        await stow.kept(str(data_set.SOPInstanceUID))
    path = f"/dicom-web/studies/{study}/series/{one.SeriesInstanceUID}"
    assert (await stow.api.client.delete(path)).status_code == 204
    jobs = await stow.api.client.get("/api/v1/study-removals", params={"study_instance_uid": study})
    (job,) = jobs.json()["data"]
    assert job["series_instance_uid"] == one.SeriesInstanceUID
    assert job["sop_instance_uid"] is None
    answer = await stow.api.client.post(
        f"/api/v1/study-removals/{job['job_id']}/restore", json={"reason": "it was needed"}
    )
    assert answer.status_code == 202
    await stow.kept(str(one.SOPInstanceUID))


@pytest.mark.req("API-11")
async def test_metadata_of_a_study_are_changed_by_put_and_patch(stow: Stowing) -> None:
    one = a_data_set()
    study = str(one.StudyInstanceUID)
    assert (await stow.store([a_file(one)])).status_code == 200
    await stow.kept(str(one.SOPInstanceUID))
    client, path = stow.api.client, f"/dicom-web/studies/{study}"
    kind = {"content-type": "application/dicom+json"}
    said = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "New^Name"}]},
        "00080020": {"vr": "DA", "Value": ["20200102"]},
        "00080030": {"vr": "TM", "Value": ["1122"]},
        "00080050": {"vr": "SH"},
        "0020000D": {"vr": "UI", "Value": [study]},
    }
    assert (await client.put(path, json=said, headers=kind)).status_code == 428
    shown = await client.get(f"/api/v1/studies/{study}")
    etag = shown.headers["etag"]
    wrong = kind | {"if-match": '"7-7"'}
    assert (await client.put(path, json=said, headers=wrong)).status_code == 412
    answer = await client.put(path, json=[said], headers=kind | {"if-match": etag})
    assert (answer.status_code, answer.content) == (204, b""), answer.text
    (found,) = (await client.get(path + "/metadata")).json()
    assert found["00100010"]["Value"] == [{"Alphabetic": "New^Name"}]
    assert found["00080020"]["Value"] == ["20200102"]
    assert found["00080030"]["Value"] == ["112200"]
    assert found["00080050"] == {"vr": "SH"}
    assert found["00100020"]["Value"] == ["PLANTED-1"]

    assert (
        await client.patch(path, json=said, headers=kind | {"if-match": etag})
    ).status_code == 412
    etag = answer.headers["etag"]
    less = {"00081030": {"vr": "LO", "Value": ["Thorax"]}}
    answer = await client.patch(path, json=less, headers=kind | {"if-match": etag})
    assert answer.status_code == 204
    (found,) = (await client.get(path + "/metadata")).json()
    assert found["00081030"]["Value"] == ["Thorax"]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ([], 400),
        ("x", 400),
        ({"0020000D": {"vr": "UI", "Value": ["1.2.3"]}}, 400),
        ({"00080060": {"vr": "CS", "Value": ["MR"]}}, 422),
        ({"PatientName": {}}, 422),
        ({"00100010": {"vr": "PN", "Value": ["A", "B"]}}, 422),
        ({"00100010": {"vr": "PN", "Value": [{"Alphabetic": 1}]}}, 422),
        ({"00080020": {"vr": "DA", "Value": ["yesterday"]}}, 422),
        ({"00080020": {"vr": "DT", "Value": ["20200101"]}}, 422),
        ({"00080050": {"vr": "SH", "Value": ["x" * 17]}}, 422),
    ],
)
async def test_metadata_that_cannot_be(stow: Stowing, said: Any, status: int) -> None:
    one = a_data_set(SOPInstanceUID="2.25.1", StudyInstanceUID="2.25.2")
    assert (await stow.store([a_file(one)])).status_code == 200
    await stow.kept("2.25.1")
    headers = {"content-type": "application/dicom+json", "if-match": "*"}
    answer = await stow.api.client.put("/dicom-web/studies/2.25.2", json=said, headers=headers)
    assert answer.status_code == status, answer.text
    plain = await stow.api.client.put("/dicom-web/studies/2.25.2", content=b"x")
    assert plain.status_code == 415


@pytest.mark.filterwarnings("ignore")
async def test_dicomweb_client_stores_and_deletes(stow: Stowing) -> None:
    study = new_uid()
    sets = []
    for _ in range(3):
        one = a_data_set(StudyInstanceUID=study, StudyDate=OLD)
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        sets.append(one)
    session = requests.Session()
    session.headers["Authorization"] = stow.api.client.headers["authorization"]
    client = DICOMwebClient(f"{stow.api.url}/dicom-web", session=session)
    said = await asyncio.to_thread(client.store_instances, sets, study)
    assert {str(one.ReferencedSOPInstanceUID) for one in said.ReferencedSOPSequence} == {
        str(one.SOPInstanceUID) for one in sets
    }
    assert "FailedSOPSequence" not in said
    for one in sets:
        await stow.kept(str(one.SOPInstanceUID))
    first, second, _ = ((str(one.SeriesInstanceUID), str(one.SOPInstanceUID)) for one in sets)
    await asyncio.to_thread(client.delete_instance, study, *first)
    assert await left(stow, study) == 2
    await asyncio.to_thread(client.delete_series, study, second[0])
    assert await left(stow, study) == 1
    await asyncio.to_thread(client.delete_study, study)
    assert await left(stow, study) == 0


async def left(stow: Stowing, study: str) -> int:
    found = await stow.api.client.get("/dicom-web/instances", params={"StudyInstanceUID": study})
    return len(found.json()) if found.status_code == 200 else 0


async def test_orthanc_sends_by_stow(stow: Stowing, tmp_path: Path) -> None:
    darkroom = {
        "Url": f"{stow.api.url}/dicom-web/",
        "HttpHeaders": {"Authorization": stow.api.client.headers["authorization"]},
    }
    sets = [a_data_set(StudyInstanceUID="2.25.77", PixelData=bytes(90_000)) for _ in range(5)]
    login = httpx.BasicAuth("darkroom", "open sesame")
    async with (
        orthanc(tmp_path / "orthanc", darkroom=darkroom) as url,
        httpx.AsyncClient(base_url=url, auth=login, trust_env=False, timeout=60) as client,
    ):
        for one in sets:
            (await client.post("/instances", content=a_file(one))).raise_for_status()
        (study,) = (await client.get("/studies")).json()
        asked = {"Resources": [study], "Synchronous": True}
        answer = await client.post("/dicom-web/servers/darkroom/stow", json=asked)
        assert answer.status_code == 200, answer.text
    for one in sets:
        await stow.kept(str(one.SOPInstanceUID))
