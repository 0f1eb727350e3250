"""Exports: asked for, made by a process of their own, fetched whole or in part, gone (API-08).

The files are read by programs of others: openpyxl, pypdf, Python's csv.
"""

import asyncio
import csv
import datetime as dt
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openpyxl
import pypdf
import pytest

from tests.integration.api.conftest import Api, running_api
from tests.integration.api.people import signed_in
from tests.support.builders import a_data_set
from tests.support.database import Prepared
from tests.support.services import Services
from tests.support.waiting import until

pytestmark = pytest.mark.req("API-08")
EXPORT = "/api/v1/studies/export"
NAMES = ("Müller^Zoë", "=2+5^cmd", "山田^太郎", 'O\'Neil "x", y^Ann')
AT_ONCE = 2
COLUMNS = ["exam_id", "patient_name", "study_date", "order_datetime", "instance_count"]


@pytest.fixture
async def clinic(services: Services) -> AsyncIterator[Api]:
    services.extra |= {"LIMIT_EXPORTS": "100000/hour", "EXPORTS_AT_ONCE": str(AT_ONCE)}
    async with running_api(services) as api:
        for number, name in enumerate(NAMES):
            await api.seed.add(
                a_data_set(
                    SpecificCharacterSet="ISO_IR 192",
                    PatientName=name,
                    PatientID=f"-P{number}",
                    AccessionNumber=f"A{number}",
                    StudyDescription="@SUM(A1)",
                    StudyDate=f"2026010{number + 1}",
                    StudyTime="101112",
                    Modality="CT",
                )
            )
        yield api


async def sql(api: Api, statement: str, *values: object) -> list[Any]:
    return await Prepared(api.services.superuser_url).fetch(statement, *values)


async def ask(api: Api, status: int = 202, **body: Any) -> dict[str, Any]:
    answer = await api.client.post(EXPORT, json={"format": "csv", **body})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def status_of(api: Api, job: str, client: httpx.AsyncClient | None = None) -> dict[str, Any]:
    answer = await (client or api.client).get(f"/api/v1/exports/{job}/status")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def finished(api: Api, job: str, state: str = "completed") -> dict[str, Any]:
    async def over() -> dict[str, Any] | None:
        found = await status_of(api, job)
        return found if found["status"] in ("completed", "failed") else None

    found: dict[str, Any] = await until(over)
    assert found["status"] == state, found
    return found


async def made(api: Api, **body: Any) -> httpx.Response:
    job = (await ask(api, **body))["job_id"]
    found = await finished(api, job)
    answer = await api.client.get(found["download_url"])
    assert answer.status_code == 200, answer.text
    assert len(answer.content) == found["file_size"] == int(answer.headers["content-length"])
    return answer


async def test_a_csv_file_has_what_the_search_finds_and_no_formula(clinic: Api) -> None:
    answer = await made(clinic, columns=[*COLUMNS, "patient_id", "description"])
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="studies-2')
    assert answer.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))
    assert rows[0][:3] == ["Exam ID", "Patient name", "Study date"]
    assert [row[:5] for row in rows[1:]] == [
        ["A3", NAMES[3], "2026-01-04", "2026-01-04 10:11:12", "1"],
        ["A2", NAMES[2], "2026-01-03", "2026-01-03 10:11:12", "1"],
        ["A1", "'=2+5^cmd", "2026-01-02", "2026-01-02 10:11:12", "1"],
        ["A0", NAMES[0], "2026-01-01", "2026-01-01 10:11:12", "1"],
    ]
    assert {row[5][:2] for row in rows[1:]} == {"'-"}
    assert {row[6] for row in rows[1:]} == {"'@SUM(A1)"}


async def test_filters_are_those_of_the_search(clinic: Api) -> None:
    answer = await made(clinic, filters={"q": "muller", "start_date": "2026-01-01"})
    assert len(answer.text.splitlines()) == 2
    answer = await made(clinic, filters={"exam_status": "completed"})
    assert len(answer.text.splitlines()) == 1  # the heading
    answer = await made(clinic, filters={"q": "!!"})
    assert len(answer.text.splitlines()) == 1


async def test_an_excel_file_has_texts_dates_and_numbers(clinic: Api) -> None:
    answer = await made(clinic, format="excel", columns=COLUMNS)
    assert "spreadsheetml" in answer.headers["content-type"]
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    sheet = book.active
    assert sheet is not None
    rows = list(sheet.iter_rows())
    assert [cell.value for cell in rows[0]][:2] == ["Exam ID", "Patient name"]
    third = rows[3]
    assert (third[1].value, third[1].data_type, third[1].quotePrefix) == (NAMES[1], "s", True)
    assert third[2].value.isoformat() == "2026-01-02T00:00:00"  # type: ignore[union-attr]
    assert third[3].value.isoformat() == "2026-01-02T10:11:12"  # type: ignore[union-attr]
    assert third[4].value == 1
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == "A1:E5"
    assert book.properties.title == "Studies"


async def test_a_pdf_file_has_a_title_page_numbers_and_every_script(clinic: Api) -> None:
    answer = await made(clinic, format="pdf", columns=COLUMNS)
    assert answer.content.startswith(b"%PDF-")
    document = pypdf.PdfReader(io.BytesIO(answer.content))
    assert document.metadata is not None
    assert document.metadata.title == "Studies"
    text = document.pages[0].extract_text()
    assert "4 studies" in text
    for name in NAMES:
        assert name in text
    assert "Page 1 of" in text


async def test_ranges_of_a_sealed_file(clinic: Api) -> None:
    whole = await made(clinic)
    url, etag = whole.url, whole.headers["etag"]
    part = await clinic.client.get(url, headers={"range": "bytes=3-9"})
    assert (part.status_code, part.content) == (206, whole.content[3:10])
    assert part.headers["content-range"] == f"bytes 3-9/{len(whole.content)}"
    tail = await clinic.client.get(url, headers={"range": "bytes=-5", "if-range": etag})
    assert (tail.status_code, tail.content) == (206, whole.content[-5:])
    other = await clinic.client.get(url, headers={"range": "bytes=-5", "if-range": '"x"'})
    assert (other.status_code, other.content) == (200, whole.content)
    assert (await clinic.client.get(url, headers={"if-none-match": etag})).status_code == 304
    beyond = await clinic.client.get(url, headers={"range": "bytes=1000000-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(whole.content)}"


async def test_nothing_lies_in_the_clear(clinic: Api) -> None:
    await made(clinic, filters={"q": "muller"})
    files = [path for path in clinic.services.store.rglob("*") if path.is_file()]
    exported = [path for path in files if ".exports" in path.parts]
    assert len(exported) == 1
    assert exported[0].read_bytes().startswith(b"DRS1")
    assert b"ller" not in exported[0].read_bytes()
    rows = await sql(clinic, "SELECT filters FROM api.export")
    assert "muller" not in str(rows)


async def test_the_same_request_with_the_same_key_is_one_export(clinic: Api) -> None:
    headers = {"idempotency-key": "once"}
    body = {"format": "csv"}
    answers = await asyncio.gather(
        *(clinic.client.post(EXPORT, json=body, headers=headers) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {202}
    job = answers[0].json()["job_id"]
    assert {answer.json()["job_id"] for answer in answers} == {job}
    assert answers[0].headers["location"] == f"/api/v1/exports/{job}/status"
    other = await clinic.client.post(EXPORT, json={"format": "pdf"}, headers=headers)
    assert other.status_code == 422
    listed = (await clinic.client.get("/api/v1/exports")).json()
    assert listed["total"] == 1
    assert (await clinic.client.delete(f"/api/v1/exports/{job}")).status_code == 204
    again = await clinic.client.post(EXPORT, json=body, headers=headers)
    assert again.status_code == 202, again.text
    assert again.json()["job_id"] != job


REFUSED: tuple[dict[str, Any], ...] = (
    {"format": "xml"},
    {"format": "csv", "columns": []},
    {"format": "csv", "columns": ["password"]},
    {"format": "csv", "columns": ["exam_id", "exam_id"]},
    {"format": "csv", "filters": {"page": 2}},
    {"format": "csv", "filters": {"start_date": "2026-02-01", "end_date": "2026-01-01"}},
    {"format": "csv", "more": 1},
    {},
)


async def test_what_makes_no_export_is_refused_at_once(clinic: Api) -> None:
    for body in REFUSED:
        answer = await clinic.client.post(EXPORT, json=body)
        assert answer.status_code in (400, 422), (body, answer.text)
    assert (await clinic.client.get("/api/v1/exports")).json()["total"] == 0


async def test_whose_an_export_is(clinic: Api) -> None:
    own, shared = (await ask(clinic))["job_id"], (await ask(clinic, shared=True))["job_id"]
    await finished(clinic, own)
    await finished(clinic, shared)
    async with (
        signed_in(clinic, "radiologist") as radiologist,
        signed_in(clinic, "viewer") as viewer,
        signed_in(clinic, "technician") as technician,
    ):
        for other in (radiologist, viewer):
            for path in (f"{own}/status", f"{own}/download"):
                assert (await other.get(f"/api/v1/exports/{path}")).status_code == 404
            assert (await other.delete(f"/api/v1/exports/{shared}")).status_code == 404
            assert (await other.get(f"/api/v1/exports/{shared}/download")).status_code == 200
            listed = (await other.get("/api/v1/exports")).json()
            assert [one["job_id"] for one in listed["data"]] == [shared]
        assert (await viewer.post(EXPORT, json={"format": "csv"})).status_code == 403
        mine = (await radiologist.post(EXPORT, json={"format": "csv"})).json()["job_id"]
        assert (await clinic.client.get(f"/api/v1/exports/{mine}/status")).status_code == 404
        assert (await technician.get(f"/api/v1/exports/{shared}/status")).status_code == 404
        assert (await technician.get("/api/v1/exports")).json()["total"] == 0


async def test_a_file_expires_and_is_removed(clinic: Api) -> None:
    job = (await ask(clinic))["job_id"]
    found = await finished(clinic, job)
    ends, began = (dt.datetime.fromisoformat(found[key]) for key in ("expires_at", "finished_at"))
    assert dt.timedelta(hours=23, minutes=59) < ends - began < dt.timedelta(hours=24, minutes=1)
    await sql(clinic, "UPDATE api.export SET expires_at = now() - interval '1 second'")
    gone = await clinic.client.get(f"/api/v1/exports/{job}/download")
    assert gone.status_code == 410
    assert "expired" in gone.json()["detail"]
    assert (await status_of(clinic, job))["download_url"] is None
    other = (await ask(clinic))["job_id"]
    await finished(clinic, other)
    shown = await clinic.client.get(f"/api/v1/exports/{other}/status")
    known = {"If-None-Match": shown.headers["etag"]}
    again = await clinic.client.get(f"/api/v1/exports/{other}/status", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    stale = await clinic.client.delete(f"/api/v1/exports/{other}", headers={"If-Match": '"0"'})
    assert (stale.status_code, stale.json()["code"]) == (412, 4009)
    seen = {"If-Match": shown.headers["etag"]}
    assert (await clinic.client.delete(f"/api/v1/exports/{other}", headers=seen)).status_code == 204
    assert (await clinic.client.get(f"/api/v1/exports/{other}/status")).status_code == 404
    assert (await clinic.client.delete(f"/api/v1/exports/{other}")).status_code == 404

    async def empty() -> bool:
        found = [path for path in (clinic.services.store / ".exports").rglob("*") if path.is_file()]
        return not found

    await until(empty)
    assert (await clinic.client.get(f"/api/v1/exports/{job}/download")).status_code == 410


async def test_an_export_that_cannot_be_made_says_so(clinic: Api) -> None:
    await sql(clinic, "UPDATE index.study SET phi_key = 7")
    job = (await ask(clinic))["job_id"]
    found = await finished(clinic, job, "failed")
    assert (found["code"], found["name"]) == (2002, "EXPORT_FAILED")
    assert found["message"] == "PHI_KEYS lacks the key of a row"
    answer = await clinic.client.get(f"/api/v1/exports/{job}/download")
    assert (answer.status_code, answer.json()["code"]) == (409, 2002)


async def test_what_was_asked_for_is_audited(clinic: Api) -> None:
    await made(clinic, filters={"q": "muller"})
    rows = await sql(
        clinic,
        "SELECT action, details::text FROM api.audit_log WHERE resource_type = 'export'"
        " ORDER BY recorded_at",
    )
    assert [row["action"] for row in rows] == ["EXPORT_CREATE", "EXPORT_DOWNLOAD"]
    assert "muller" not in str([dict(row) for row in rows])


async def test_so_many_are_made_at_once_and_the_others_wait(clinic: Api) -> None:
    jobs = [(await ask(clinic, format="excel"))["job_id"] for _ in range(4 * AT_ONCE)]
    most = 0

    async def over() -> bool:
        nonlocal most
        listed = (await clinic.client.get("/api/v1/exports", params={"page_size": 50})).json()
        states = [one["status"] for one in listed["data"]]
        most = max(most, states.count("processing"))
        return states.count("completed") == len(jobs)

    await until(over, limit=150)
    assert 1 <= most <= AT_ONCE
