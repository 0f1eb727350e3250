"""Search, filter values and detail of studies as examinations (API-07, API-19, API-12)."""

import httpx
import pytest

from darkroom_api.studies.examinations import Examinations
from darkroom_common.postgres.pool import open_database
from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set
from tests.support.services import role_url

SEARCH = "/api/v1/studies/search"


async def say(api: Api, exam_id: str, status: str | None = None, physician: str = "") -> None:
    exams = Examinations(api.seed.keys, api.seed.blind)
    url = role_url(api.services.superuser_url, "darkroom_api")
    async with open_database(url, service="test") as database, database.transaction() as db:
        if status:
            await exams.set_status(db, [exam_id], status, by="x", reason="")  # type: ignore[arg-type]
        if physician:
            await exams.assign(db, [exam_id], physician, by="x")


async def found(api: Api, **query: str) -> list[str]:
    answer = await api.client.get(SEARCH, params=query)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["total"] == len(body["data"])
    return sorted(one["exam_id"] for one in body["data"])


@pytest.fixture
async def clinic(api: Api) -> Api:
    """Three studies that differ in everything that is searched by."""
    await api.seed.add(
        a_data_set(
            SpecificCharacterSet="ISO_IR 192",
            PatientName="Müller^Anna Maria",
            PatientID="P-100",
            AccessionNumber="A1",
            StudyDescription="CT chest 100% contrast",
            StudyDate="20260103",
            StudyTime="233000",
            Modality="CT",
            TimezoneOffsetFromUTC="-0200",
            InstitutionName="City Hospital",
        ),
        a_data_set(
            SpecificCharacterSet="ISO_IR 192",
            PatientName="Mueller^Anton=山田^太郎",
            PatientID="P-200",
            AccessionNumber="B2",
            StudyDescription="MR head",
            StudyDate="20260201",
            Modality="MR",
        ),
        a_data_set(
            SpecificCharacterSet="ISO_IR 192",
            PatientName="O'Neil_x^Zoë",
            PatientID="P-300",
            AccessionNumber="C/3",
            StudyDescription="A" * 20 + " knee",
            StudyDate="20260301",
            Modality="CR",
        ),
    )
    await say(api, "A1", "completed", "Dr. Jane Smith")
    await say(api, "B2", "in_progress")
    return api


FREE_TEXT: list[tuple[str, list[str]]] = [
    ("muller", ["A1"]),
    ("anna MÜLLER", ["A1"]),
    ("m", ["A1", "B2"]),
    ("山田", ["B2"]),
    ("p-300", ["C/3"]),
    ("P 1", ["A1"]),
    ("c/3", ["C/3"]),
    ("chest mull", ["A1"]),
    ("100%", ["A1"]),
    ("o'neil", ["C/3"]),
    ("a" * 20, ["C/3"]),
    ("a" * 19 + "b", []),
    ("'; DROP TABLE index.study; --", []),
    ("%", []),
    ("_", []),
    ("\\", []),
    ("😀", []),
    ("  ", ["A1", "B2", "C/3"]),
    ("", ["A1", "B2", "C/3"]),
    ("{}{0}", []),
]


@pytest.mark.req("API-19")
async def test_free_text(clinic: Api) -> None:
    for q, exams in FREE_TEXT:
        assert await found(clinic, q=q) == exams, q


@pytest.mark.req("API-19")
async def test_what_examinations_are_narrowed_by(clinic: Api) -> None:
    cases: list[tuple[dict[str, str], list[str]]] = [
        ({"exam_status": "completed"}, ["A1"]),
        ({"exam_status": "pending"}, ["C/3"]),
        ({"exam_status": "cancelled"}, []),
        ({"physician": "smith jane"}, ["A1"]),
        ({"physician": "Dr. Jane Smith", "exam_status": "in_progress"}, []),
        ({"physician": "%"}, []),
        ({"modality": "CT,MR"}, ["A1", "B2"]),
        ({"start_date": "2026-01-03", "end_date": "2026-02-01"}, ["A1", "B2"]),
        ({"start_date": "2026-02-02"}, ["C/3"]),
        ({"exam_source": "SCANNER"}, ["A1", "B2", "C/3"]),
        ({"exam_source": "NOBODY"}, []),
        ({"status": "receiving", "q": "head"}, ["B2"]),
    ]
    for query, exams in cases:
        assert await found(clinic, **query) == exams, query
    values = (await clinic.client.get("/api/v1/studies/filters")).json()
    assert values == {
        "exam_status": ["pending", "in_progress", "completed"],
        "exam_source": ["SCANNER"],
        "modality": ["CR", "CT", "MR"],
        "physician": ["Dr. Jane Smith"],
    }
    item = (await clinic.client.get(SEARCH, params={"q": "chest"})).json()["data"][0]
    assert item["order_datetime"] == "2026-01-04T01:30:00Z"
    assert (item["institution"], item["exam_source"]) == ("City Hospital", "SCANNER")
    assert (item["exam_status"], item["physician_name"]) == ("completed", "Dr. Jane Smith")


WRONG: list[dict[str, str]] = [
    {"q": "x" * 257},
    {"q": " ".join(f"w{n}" for n in range(21))},
    {"exam_status": "done"},
    {"status": "deleted"},
    {"start_date": "2026-02-30"},
    {"start_date": "2026-02-03", "end_date": "2026-02-02"},
    {"exam_source": "x" * 17},
    {"sort": "patient_name"},
    {"cursor": "AAAA"},
]


async def test_what_cannot_be_searched_by(api: Api) -> None:
    for query in WRONG:
        answer = await api.client.get(SEARCH, params=query)
        assert answer.status_code in (400, 422), query
        assert answer.json()["code"] == 4001


@pytest.mark.req("API-19")
async def test_detail_by_either_name(clinic: Api) -> None:
    """`sent_to` and `printed_on` stand in the tests of those who send and print."""
    one: httpx.Response = await clinic.client.get("/api/v1/studies/A1")
    shown = one.json()
    assert shown["series"][0]["instances_url"].startswith("/dicom-web/studies/2.25.")
    assert [(c["field"], c["old"], c["new"]) for c in shown["history"]] == [
        ("physician_name", "", "Dr. Jane Smith"),
        ("exam_status", "pending", "completed"),
    ]
    by_uid = await clinic.client.get(f"/api/v1/studies/{shown['study_instance_uid']}")
    assert by_uid.json() == shown
    assert by_uid.headers["etag"] == one.headers["etag"]
    known = {"If-None-Match": one.headers["etag"]}
    assert (await clinic.client.get("/api/v1/studies/A1", headers=known)).status_code == 304
    await say(clinic, "A1", "cancelled")
    assert (await clinic.client.get("/api/v1/studies/A1", headers=known)).status_code == 200
    slashed = await clinic.client.get("/api/v1/studies/C%2F3")
    assert slashed.json()["accession_number"] == "C/3"
    await clinic.seed.add(a_data_set(AccessionNumber="A1"))
    several = await clinic.client.get("/api/v1/studies/A1")
    assert several.status_code == 409
    assert shown["study_instance_uid"] in several.json()["candidates"]
    assert len(several.json()["candidates"]) == 2
    for missing in ("nobody", "1.2.3", "x" * 65, "%00"):
        answer = await clinic.client.get(f"/api/v1/studies/{missing}")
        assert answer.status_code in (404, 422), missing


async def test_a_study_whose_accession_number_is_the_path_of_a_route(clinic: Api) -> None:
    await clinic.seed.add(a_data_set(AccessionNumber="search", PatientName="Path^Taken"))
    listed = await clinic.client.get("/api/v1/studies", params={"accession_number": "search"})
    (one,) = listed.json()["data"]
    assert (one["accession_number"], one["exam_id"]) == ("search", one["study_instance_uid"])
    shown = await clinic.client.get(f"/api/v1/studies/{one['exam_id']}")
    assert shown.json()["patient_name"] == "Path^Taken"
    body = {"exam_ids": ["search"], "new_status": "completed"}  # a body names it as it is
    done = await clinic.client.post("/api/v1/studies/bulk/update-status", json=body)
    assert (done.json()["updated"], done.json()["failed"]) == (1, 0)


async def test_a_deleted_study_is_nowhere(clinic: Api) -> None:
    async with clinic.seed.database.acquire() as db:
        await db.execute("UPDATE index.study SET status = 'deleted'")
    assert await found(clinic) == []
    assert (await clinic.client.get("/api/v1/studies/A1")).json()["code"] == 2001
    values = (await clinic.client.get("/api/v1/studies/filters")).json()
    assert (values["exam_status"], values["exam_source"], values["modality"]) == ([], [], [])
