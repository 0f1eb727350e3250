"""Changes of many examinations: each item is told, and many of them are a job (API-09)."""

from typing import Any

import pytest

from darkroom_api.bulk.routes import AT_ONCE
from tests.integration.api.conftest import Api
from tests.integration.api.people import signed_in
from tests.support.builders import a_data_set
from tests.support.database import Prepared
from tests.support.waiting import until

pytestmark = pytest.mark.req("API-09")
STATUS = "/api/v1/studies/bulk/update-status"
ASSIGN = "/api/v1/studies/bulk/assign-physician"
UNKNOWN = "There is no such study, series or instance."


@pytest.fixture
async def clinic(api: Api) -> Api:
    """Three studies, two more under one accession number, and one without."""
    for number in ("A1", "A2", "A3", "TWICE", "TWICE", ""):
        await api.seed.add(
            a_data_set(PatientName="Doe^Jane", AccessionNumber=number, StudyDate="20260101")
        )
    return api


async def post(api: Api, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await api.client.post(path, json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def exams(api: Api) -> dict[str, tuple[str, str]]:
    found = (await api.client.get("/api/v1/studies/search")).json()["data"]
    return {one["exam_id"]: (one["exam_status"], one["physician_name"]) for one in found}


async def sql(api: Api, statement: str) -> list[Any]:
    return await Prepared(api.services.superuser_url).fetch(statement)


async def test_each_item_is_told(clinic: Api) -> None:
    found = (await clinic.client.get("/api/v1/studies/search")).json()["data"]
    uid = next(one["study_instance_uid"] for one in found if not one["accession_number"])
    ids = ["A1", "gone", "A2", "A1", "TWICE", uid, "x" * 200]
    answer = await post(
        clinic, STATUS, exam_ids=ids, new_status="completed", reason="Batch processing completed"
    )
    assert (answer["updated"], answer["failed"]) == (3, 3)
    errors = {one["exam_id"]: (one["code"], one["message"]) for one in answer["errors"]}
    assert list(errors) == ["gone", "TWICE", "x" * 200]
    assert errors["gone"] == errors["x" * 200] == (2003, UNKNOWN)
    assert errors["TWICE"][0] == 2003
    assert "Several studies" in errors["TWICE"][1]
    now = await exams(clinic)
    assert {key for key, (status, _) in now.items() if status == "completed"} == {"A1", "A2", uid}
    detail = (await clinic.client.get("/api/v1/studies/A1")).json()
    assert detail["history"][0]["reason"] == "Batch processing completed"
    again = await post(clinic, STATUS, exam_ids=["A1"], new_status="completed")
    assert again == {"updated": 1, "failed": 0, "errors": []}
    assert len((await clinic.client.get("/api/v1/studies/A1")).json()["history"]) == 1
    rows = await sql(clinic, "SELECT details::text FROM api.audit_log WHERE action = 'BULK_UPDATE'")
    assert len(rows) == 2
    assert "A1" not in str(rows)
    assigned = await post(clinic, ASSIGN, exam_ids=["A3", "gone"], physician_name="Dr. Jané Smith")
    assert (assigned["assigned"], assigned["failed"]) == (1, 1)
    assert (await exams(clinic))["A3"] == ("pending", "Dr. Jané Smith")
    for path, body in (
        (STATUS, {"exam_ids": [], "new_status": "completed"}),
        (STATUS, {"exam_ids": ["A1"], "new_status": "done"}),
        (STATUS, {"exam_ids": [1], "new_status": "completed"}),
        (STATUS, {"exam_ids": ["A1"], "new_status": "completed", "more": 1}),
        (ASSIGN, {"exam_ids": ["A1"], "physician_name": " "}),
        (ASSIGN, {"exam_ids": ["A1"], "physician_name": "a\nb"}),
    ):
        await post(clinic, path, 422, **body)
    headers = {"content-type": "application/json"}
    long = await clinic.client.post(STATUS, content=b"x" * (9 << 20), headers=headers)
    assert long.status_code == 413


async def test_who_may_change_many(clinic: Api) -> None:
    async with signed_in(clinic, "radiologist") as radiologist, signed_in(clinic, "viewer") as v:
        status = {"exam_ids": ["A1"], "new_status": "completed"}
        assigned = {"exam_ids": ["A1"], "physician_name": "x"}
        assert (await radiologist.post(STATUS, json=status)).status_code == 403
        assert (await radiologist.post(ASSIGN, json=assigned)).status_code == 200
        assert (await v.post(STATUS, json=status)).status_code == 403
        assert (await v.post(ASSIGN, json=assigned)).status_code == 403


async def test_more_than_five_thousand_are_a_job(clinic: Api) -> None:
    ids = ["A1", *(f"no-{number}" for number in range(AT_ONCE)), "A2"]
    body = {"exam_ids": ids, "new_status": "in_progress"}
    headers = {"idempotency-key": "many"}
    answers = [await clinic.client.post(STATUS, json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202], answers[0].text
    assert answers[0].json() == answers[1].json()
    url = answers[0].json()["status_url"]
    assert answers[0].headers["location"] == url

    async def over() -> dict[str, Any] | None:
        answer = await clinic.client.get(url)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found if found["status"] in ("completed", "failed") else None

    found = await until(over)
    assert (found["status"], found["progress"]) == ("completed", 100)
    assert (found["total"], found["done"], found["failed"]) == (AT_ONCE + 2, 2, AT_ONCE)
    assert len(found["errors"]) == 1000
    assert found["errors"][0] == {"exam_id": "no-0", "code": 2003, "message": UNKNOWN}
    etag = (await clinic.client.get(url)).headers["etag"]
    assert (await clinic.client.get(url, headers={"if-none-match": etag})).status_code == 304
    now = await exams(clinic)
    assert (now["A1"][0], now["A2"][0], now["A3"][0]) == ("in_progress", "in_progress", "pending")
    rows = await sql(clinic, "SELECT sealed, errors FROM api.bulk_change")
    assert len(rows) == 1
    assert "no-0" not in str(rows)
    async with signed_in(clinic, "medical_admin") as other:
        assert (await other.get(url)).status_code == 404
        assert (await other.get("/api/v1/bulk/jobs")).json()["total"] == 0
    assert (await clinic.client.get("/api/v1/bulk/jobs")).json()["total"] == 1
