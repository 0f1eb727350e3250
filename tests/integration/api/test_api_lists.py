"""Lists stay right while rows arrive, say how long they are, and refuse what is not theirs."""

import re
from typing import Any

import asyncpg
import pytest

from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set

ADD_JOBS = (
    "INSERT INTO transmit.job (id, destination, study_instance_uid, priority, state, created_at)"
    " SELECT md5(n::text), CASE WHEN n % 2 = 0 THEN 'EVEN' ELSE 'ODD' END, '1.2', 'low', 'SENT',"
    # in pairs of the same moment: the id decides between them
    " timestamptz '2024-01-01 00:00Z' + (n / 2) * interval '1 second'"
    " FROM generate_series($1::int, $2::int) AS n"
)


async def execute(api: Api, sql: str, *values: Any) -> None:
    connection = await asyncpg.connect(api.services.superuser_url)
    try:
        await connection.execute(sql, *values)
    finally:
        await connection.close()


def next_url(answer: Any) -> str | None:
    found = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
    return found[1] if found else None


@pytest.mark.req("API-12")
@pytest.mark.parametrize("sort", ["-created_at", "created_at"])
async def test_a_cursor_shows_every_job_once_while_jobs_arrive(api: Api, sort: str) -> None:
    await execute(api, ADD_JOBS, 1, 50)
    first = f"/api/v1/transmit/jobs?page_size=7&destination=EVEN&sort={sort}"
    url: str | None = first
    seen: list[str] = []
    pages = []
    while url is not None:
        answer = await api.client.get(url)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert set(body) == {"data", "total", "page", "page_size"}
        seen += [one["job_id"] for one in body["data"]]
        pages.append(body["page"])
        at = len(pages) * 100
        # before what is seen first, so that pages by number shift
        await execute(api, ADD_JOBS, *((at, at + 9) if sort == "-created_at" else (-at, -at + 9)))
        url = next_url(answer)
    assert pages == [1, 2, 3, 4]
    assert len(seen) == len(set(seen)) == 25
    wanted = await api.client.get(first.replace("=7", "=200"))
    every = [one["job_id"] for one in wanted.json()["data"]]
    assert seen == [one for one in every if one in set(seen)]


@pytest.mark.req("API-12")
async def test_a_cursor_shows_every_study_once_while_studies_arrive(api: Api) -> None:
    dates = ["20240103", "20240102", "20240102", "20240102", "20240101", "", "", ""]
    await api.seed.add(*(a_data_set(StudyDate=date) for date in dates))
    url: str | None = "/api/v1/studies?page_size=3"
    seen: list[str] = []
    while url is not None:
        answer = await api.client.get(url)
        assert answer.status_code == 200, answer.text
        seen += [one["study_instance_uid"] for one in answer.json()["data"]]
        await api.seed.add(a_data_set(StudyDate="20240601"))
        url = next_url(answer)
    assert len(seen) == len(set(seen)) == 8
    assert answer.json()["total"] == 10
    assert answer.headers["x-total-count"] == "10"


async def test_pages_by_number_and_what_cannot_be(api: Api) -> None:
    await execute(api, ADD_JOBS, 1, 5)
    jobs = "/api/v1/transmit/jobs"
    first = await api.client.get(f"{jobs}?page_size=2")
    third = (await api.client.get(f"{jobs}?page_size=2&page=3")).json()
    assert (third["total"], third["page"], len(third["data"])) == (5, 3, 1)
    beyond = await api.client.get(f"{jobs}?page_size=2&page=4")
    assert (beyond.json()["data"], beyond.json()["total"]) == ([], 5)
    assert next_url(beyond) is None
    cursor = str(next_url(first)).partition("cursor=")[2]
    for query in (
        "page=0",
        "page_size=0",
        "page_size=201",
        "sort=state",
        "cursor=x",
        "cursor=W10",
        f"sort=created_at&cursor={cursor}",
        f"cursor={cursor[:-3]}",
    ):
        answer = await api.client.get(f"{jobs}?{query}")
        assert answer.status_code == 422, query
        assert answer.json()["errors"][0]["field"].split(".")[-1] in query
    assert (await api.client.get(f"/api/v1/studies?cursor={cursor}")).status_code == 422


async def test_a_parameter_that_nobody_knows_is_refused_and_never_passed_over(api: Api) -> None:
    for path in ("studies", "studies/filters", "transmit/jobs", "senders", "audit-logs", "auth/me"):
        answer = await api.client.get(f"/api/v1/{path}?patientname=Doe&Page=2")
        assert answer.status_code == 422, path
        body = answer.json()
        assert (body["code"], body["name"]) == (4001, "INVALID_REQUEST")
        assert [one["field"] for one in body["errors"]] == ["query.patientname", "query.Page"]
        assert "Doe" not in answer.text
    odd = await api.client.get("/api/v1/studies?%00%3Cb%3E=1")
    assert [one["field"] for one in odd.json()["errors"]] == ["query.?"]
    assert (await api.client.get("/api/v1/auth/oidc/callback?session_state=1")).status_code == 404
    assert (await api.client.get("/api/v1/health?at=1")).status_code == 200


async def test_beyond_ten_thousand_the_total_is_an_estimate(api: Api) -> None:
    await execute(api, ADD_JOBS, 1, 30_000)
    await execute(api, "ANALYZE transmit.job")
    body = (await api.client.get("/api/v1/transmit/jobs?page_size=1")).json()
    assert body["total_is_estimate"] is True
    assert 20_000 < body["total"] < 40_000
    far = (await api.client.get("/api/v1/transmit/jobs?page=141&page_size=200")).json()
    connection = await asyncpg.connect(api.services.superuser_url)
    rows = await connection.fetch(
        "SELECT id FROM transmit.job ORDER BY created_at DESC, id DESC LIMIT 200 OFFSET 28000"
    )
    await connection.close()
    assert [one["job_id"] for one in far["data"]] == [row["id"] for row in rows]
    beyond = (await api.client.get("/api/v1/transmit/jobs?page=10000&page_size=200")).json()
    assert beyond["data"] == []
    exact = (await api.client.get("/api/v1/transmit/jobs?state=FAILED")).json()
    assert "total_is_estimate" not in exact
    assert exact["total"] == 0
