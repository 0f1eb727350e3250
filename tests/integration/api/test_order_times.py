"""Order times of examinations: learnt, searched, sorted by, shown and exported (API-19)."""

import asyncio
import datetime as dt

import pytest

from darkroom_common.messages.procedure_steps import StudyOrdered
from darkroom_common.postgres.pool import open_database
from darkroom_metadata.studies.orders import StudyOrders
from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set, new_uid
from tests.support.services import role_url
from tests.support.waiting import until

SEARCH = "/api/v1/studies/search"


async def learn(api: Api, uid: str, at: str | None, version: int = 1) -> None:
    moment = None if at is None else dt.datetime.fromisoformat(at)
    told = StudyOrdered(study_instance_uid=uid, ordered_at=moment, version=version)
    await StudyOrders(api.seed.database).handle(told)


async def found(api: Api, **query: str) -> list[str]:
    """Return what a search finds, over all of its pages, by their cursors."""
    exams: list[str] = []
    answer = await api.client.get(SEARCH, params={"page_size": "2", **query})
    while True:
        assert answer.status_code == 200, answer.text
        exams += [one["exam_id"] for one in answer.json()["data"]]
        following = answer.links.get("next")
        if following is None:
            break
        answer = await api.client.get(following["url"])
    assert answer.json()["total"] == len(exams)
    return exams


@pytest.fixture
async def clinic(api: Api) -> Api:
    """A0 to A4, a day after the other; A5 has no date. Their orders come before, or later."""
    uids = [new_uid() for _ in range(6)]
    await learn(api, uids[0], "2026-03-01T23:59:59.5+00:00")
    for number, uid in enumerate(uids):
        one = a_data_set(
            StudyInstanceUID=uid,
            AccessionNumber=f"A{number}",
            StudyDate=f"2026010{number + 1}" if number < 5 else "",
            StudyTime="223000" if number < 5 else "",
            PatientName="Planted^Anna",
        )
        if number == 4:
            one.TimezoneOffsetFromUTC = "-0200"
        await api.seed.add(one)
    await learn(api, uids[1], "2026-02-01T08:00:00+00:00")
    await learn(api, uids[5], "2025-12-31T00:00:00+00:00", version=2)
    await learn(api, uids[5], "2025-11-30T00:00:00+00:00", version=1)  # overtaken
    return api


@pytest.mark.req("API-19")
async def test_dates_are_of_the_order_time(clinic: Api) -> None:
    everything = ["A0", "A1", "A4", "A3", "A2", "A5"]
    cases: list[tuple[dict[str, str], list[str]]] = [
        ({"sort": "-order_datetime"}, everything),
        ({}, ["A4", "A3", "A2", "A1", "A0", "A5"]),
        ({"start_date": "2025-01-01"}, everything),
        ({"start_date": "2026-03-01", "end_date": "2026-03-01"}, ["A0"]),
        ({"start_date": "2026-01-01", "end_date": "2026-01-02"}, []),  # when A0 and A1 were made
        ({"end_date": "2026-01-04"}, ["A3", "A2", "A5"]),
        ({"start_date": "2026-01-06", "end_date": "2026-01-06"}, ["A4"]),  # in UTC
        ({"start_date": "2026-02-01", "q": "anna"}, ["A0", "A1"]),
        ({"start_date": "2026-02-01", "q": "anna", "exam_status": "completed"}, []),
        ({"start_date": "2026-01-03", "sort": "-study_date"}, ["A4", "A3", "A2", "A1", "A0"]),
        ({"end_date": "9999-12-31", "modality": "CT,MR", "status": "receiving"}, everything),
        ({"start_date": "0001-01-01", "accession_number": "*5"}, ["A5"]),
    ]
    for query, exams in cases:
        assert await found(clinic, **query) == exams, query


@pytest.mark.req("API-19")
async def test_the_order_time_is_shown_and_exported(clinic: Api) -> None:
    ordered = {
        "A0": "2026-03-01T23:59:59.500000Z",
        "A1": "2026-02-01T08:00:00Z",
        "A4": "2026-01-06T00:30:00Z",
        "A3": "2026-01-04T22:30:00Z",
        "A2": "2026-01-03T22:30:00Z",
        "A5": "2025-12-31T00:00:00Z",
    }
    for exam, moment in ordered.items():
        shown = (await clinic.client.get(f"/api/v1/studies/{exam}")).json()
        assert shown["order_datetime"] == moment
        listed = (await clinic.client.get(SEARCH, params={"q": exam})).json()["data"]
        assert [one["order_datetime"] for one in listed] == [moment]
    body = {
        "format": "csv",
        "columns": ["exam_id", "order_datetime"],
        "filters": {"start_date": "2026-01-06", "end_date": "2026-03-01"},
    }
    job = (await clinic.client.post("/api/v1/studies/export", json=body)).json()["job_id"]

    async def completed() -> bool:
        answer = await clinic.client.get(f"/api/v1/exports/{job}/status")
        return bool(answer.json()["status"] == "completed")

    await until(completed)
    text = (await clinic.client.get(f"/api/v1/exports/{job}/download")).text
    assert text.splitlines()[1:] == [
        "A0,2026-03-01 23:59:59",
        "A1,2026-02-01 08:00:00",
        "A4,2026-01-06 00:30:00",
    ]


async def test_an_order_that_is_taken_back_leaves_the_study_its_own_time(clinic: Api) -> None:
    (one,) = (await clinic.client.get(SEARCH, params={"q": "A1"})).json()["data"]
    await learn(clinic, one["study_instance_uid"], None, version=2)
    assert await found(clinic, start_date="2026-01-02", end_date="2026-01-02") == ["A1"]
    shown = (await clinic.client.get("/api/v1/studies/A1")).json()
    assert shown["order_datetime"] == "2026-01-02T22:30:00Z"


async def test_an_order_and_its_study_may_come_at_once(api: Api) -> None:
    """Whoever is second sees what the first one does, though that is not committed yet."""
    url = role_url(api.services.superuser_url, "darkroom_metadata")
    uid = new_uid()
    async with open_database(url, service="test") as database:
        async with database.transaction() as db:
            moment = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
            await db.execute("SELECT index.learn_order($1, $2, 1)", uid, moment)
            adding = asyncio.create_task(
                api.seed.add(a_data_set(StudyInstanceUID=uid, AccessionNumber="NOW"))
            )

            async def waits() -> bool:
                sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                return bool(await db.fetchval(sql))

            await until(waits)
        await adding
    assert await found(api, start_date="2026-05-01", end_date="2026-05-01") == ["NOW"]
