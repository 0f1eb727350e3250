"""P11: files of 100,000 studies, and what ten exports at once do to searches.

`BENCH_STUDIES` and `BENCH_HOSPITAL` as in `hospital.py`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from darkroom_local.engines.ports import LOOPBACK
from tests.bench import report
from tests.bench.hospital import STUDIES, hospital
from tests.bench.report import QUICK, ROUNDS, Table
from tests.bench.studies import DAYS, FIRST_DAY
from tests.support.waiting import until

ROWS = 1000 if QUICK else 100_000
AT_ONCE = 10
SEARCHES = 20 if QUICK else 200
NAMES = ("smith", "müller", "kim", "tanaka", "nowak", "garcia", "ct chest", "knee")
LIMITS = {"csv": 3, "excel": 15, "pdf": 60}
TABLES: list[Table] = []
NOTE = (
    f"An index of {STUDIES:,} studies, files of up to {ROWS:,} with the nine columns that are there"
    " without asking; from the request to `completed`. PostgreSQL, RabbitMQ, the api and the"
    " processes that make files share two cores. Targets: CSV 3 s, Excel 15 s, PDF 60 s."
)


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    """Write the section when all is measured."""
    yield
    report.write("Exports", NOTE, TABLES)


def table(title: str, unit: str) -> Table:
    made = Table(title, unit)
    TABLES.append(made)
    return made


@pytest.fixture
async def client(tmp_path: Path, amqp_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with hospital(tmp_path, amqp_url) as (services, _):
        services.extra["LIMIT_EXPORTS"] = "1000000/hour"
        await services.start("api")
        base = f"http://{LOOPBACK}:{services.http_port}"
        who = {"username": "admin", "password": services.admin_password}
        async with httpx.AsyncClient(base_url=base, timeout=60) as client:
            answer = await client.post("/api/v1/auth/login", json=who)
            client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            yield client


def filters() -> dict[str, Any]:
    """What leaves about `ROWS` studies."""
    days = DAYS * min(ROWS, STUDIES) // STUDIES
    last = FIRST_DAY + timedelta(days=max(0, days - 1))
    return {"start_date": str(FIRST_DAY), "end_date": str(last)}


async def export(client: httpx.AsyncClient, kind: str) -> tuple[float, dict[str, Any]]:
    """Return the seconds until a file is there, and what is said of it."""
    began = time.perf_counter()
    answer = await client.post(
        "/api/v1/studies/export", json={"format": kind, "filters": filters()}
    )
    assert answer.status_code == 202, answer.text
    job = answer.json()["job_id"]

    async def over() -> dict[str, Any] | None:
        shown: dict[str, Any] = (await client.get(f"/api/v1/exports/{job}/status")).json()
        assert shown["status"] != "failed", shown
        return shown if shown["status"] == "completed" else None

    found = await until(over, limit=600, poll=0.05)
    return time.perf_counter() - began, found


async def test_p11_exports(client: httpx.AsyncClient) -> None:
    seconds = table(f"P11: {ROWS:,} studies as a file", "s")
    size = table("P11: size of the file", "MB")
    for _ in range(ROUNDS):
        for kind in LIMITS:
            took, found = await export(client, kind)
            print(kind, found["message"])
            seconds.add("Darkroom", kind, took)
            size.add("Darkroom", kind, found["file_size"] / 1e6)


async def _searches(client: httpx.AsyncClient) -> list[float]:
    """Return the milliseconds of searches, one after the other."""
    found = []
    for number in range(SEARCHES):
        began = time.perf_counter()
        query: dict[str, str | int] = {"q": NAMES[number % len(NAMES)], "page_size": 20}
        answer = await client.get("/api/v1/studies/search", params=query)
        assert answer.status_code == 200, answer.text
        found.append((time.perf_counter() - began) * 1000)
    return sorted(found)


async def test_p11_searches_beside_ten_exports(client: httpx.AsyncClient) -> None:
    beside = table(f"P11: a search beside {AT_ONCE} exports at once", "ms")
    for who, kinds in (("alone", []), (f"beside {AT_ONCE}", ["csv", "excel", "pdf"] * 4)):
        async with asyncio.TaskGroup() as tasks:
            exports = [tasks.create_task(export(client, one)) for one in kinds[:AT_ONCE]]
            found = await _searches(client)
            for one in exports:
                one.cancel()
        beside.add(who, "p50", found[len(found) // 2])
        beside.add(who, "p95", found[int(len(found) * 0.95)])
