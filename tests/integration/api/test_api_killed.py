"""The api and what works for it are killed during exports, bulk changes and e-mail.

Each is done once in the end, or it is told: an export has one file with every study, each
examination is changed once, and an e-mail that came twice is the same one.
"""

import asyncio
import csv
import io
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from darkroom_local.engines.ports import free_port
from tests.integration.api.conftest import Api, running_api
from tests.support.builders import a_data_set
from tests.support.database import Prepared
from tests.support.mail_server import MailServer, a_mail_server
from tests.support.services import Services
from tests.support.waiting import until

STUDIES = 2000
KILLS = 6
OWNER = "owner@clinic.example"
AWAY = (httpx.HTTPError, KeyError)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[MailServer]:
    (tmp_path / "mail").mkdir()
    async with a_mail_server(tmp_path / "mail", free_port()) as made:
        await made.start()
        yield made


@pytest.fixture
async def clinic(services: Services, server: MailServer) -> AsyncIterator[Api]:
    services.extra |= server.settings | {"LIMIT_EXPORTS": "100000/hour", "LEASE_SECONDS": "2"}
    async with running_api(services) as api:
        made = [
            a_data_set(PatientName="Doe^Jane", AccessionNumber=f"A{number}", StudyDate="20260101")
            for number in range(STUDIES)
        ]
        for start in range(0, STUDIES, 200):
            await api.seed.add_headers(made[start : start + 200])
        yield api


async def sql(api: Api, statement: str, *values: object) -> list[Any]:
    return await Prepared(api.services.superuser_url).fetch(statement, *values)


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    with suppress(OSError):
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
        return [int(one) for one in text.split()]
    return []


async def kill_again_and_again(api: Api, over: Callable[[], Awaitable[bool]]) -> int:
    """Kill the api, or a process that works for it, at odd moments; return how often."""
    odd = random.Random(7)
    killed = 0
    while killed < KILLS and not await over():
        await asyncio.sleep(odd.uniform(0.1, 1.2))
        service = api.services.running["api"]
        assert service.process is not None
        workers = children(service.process.pid)
        if workers and odd.random() < 0.5:
            for one in workers:
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
        else:
            await service.kill()
            await api.services.start("api")
        killed += 1
    return killed


async def test_exports_are_made_once_whatever_is_killed(clinic: Api, server: MailServer) -> None:
    await sql(clinic, "UPDATE api.app_user SET email = $1 WHERE username = 'admin'", OWNER)
    jobs: dict[str, str] = {}
    for number, kind in enumerate(["csv", "pdf", "excel", "pdf", "csv", "pdf"]):
        body = {"format": kind, "columns": ["exam_id", "patient_name"]}
        headers = {"idempotency-key": f"key {number}"}
        answer = await clinic.client.post("/api/v1/studies/export", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        jobs[answer.json()["job_id"]] = kind

    async def ended() -> bool:
        rows = await sql(clinic, "SELECT state FROM api.export")
        return all(row["state"] in ("COMPLETED", "FAILED") for row in rows)

    killed = await kill_again_and_again(clinic, ended)
    assert killed
    await until(ended, limit=90)
    rows = await sql(clinic, "SELECT id, state, reason, done, total FROM api.export")
    assert {row["id"] for row in rows} == set(jobs)
    told = {row["id"] for row in rows if row["state"] == "FAILED"}  # it died three times
    assert all("more than it may" in row["reason"] for row in rows if row["id"] in told)
    for row in rows:
        if row["id"] in told:
            continue
        assert (row["done"], row["total"]) == (STUDIES, STUDIES)
        answer = await clinic.client.get(f"/api/v1/exports/{row['id']}/download")
        assert answer.status_code == 200
        if jobs[row["id"]] == "csv":
            text = io.StringIO(answer.content.decode("utf-8-sig"), newline="")
            names = [line[0] for line in csv.reader(text)][1:]
            assert len(names) == len(set(names)) == STUDIES
    exports = clinic.services.store / ".exports"
    kept = {path.name for path in exports.rglob("*") if path.is_file() and path.suffix != ".part"}
    assert kept >= {row["id"] for row in rows} - told

    def mailed() -> bool:
        return len({str(one["Message-ID"]) for one in server.taken}) == len(jobs) - len(told)

    await until(mailed)
    by_id: dict[str, set[bytes]] = {}
    for one in server.taken:
        by_id.setdefault(str(one["Message-ID"]), set()).add(one.as_bytes())
    assert {len(same) for same in by_id.values()} <= {1}


async def test_each_examination_is_changed_once_whatever_is_killed(clinic: Api) -> None:
    ids = [f"A{number}" for number in range(STUDIES)] + [f"no-{n}" for n in range(4000)]
    random.Random(3).shuffle(ids)
    body = {"exam_ids": ids, "new_status": "completed", "reason": "killed"}
    answer = await clinic.client.post("/api/v1/studies/bulk/update-status", json=body)
    assert answer.status_code == 202, answer.text
    url = answer.json()["status_url"]

    async def ended() -> bool:
        rows = await sql(clinic, "SELECT state FROM api.bulk_change")
        return [row["state"] for row in rows] == ["COMPLETED"]

    assert await kill_again_and_again(clinic, ended)
    await until(ended, limit=90)

    async def shown() -> dict[str, Any]:
        found: dict[str, Any] = (await clinic.client.get(url)).json()
        return found

    found = await until(shown, retry=AWAY)
    assert (found["done"], found["failed"], found["total"]) == (STUDIES, 4000, STUDIES + 4000)
    changes = await sql(
        clinic,
        "SELECT count(*) AS n, count(DISTINCT study_instance_uid) AS each"
        " FROM api.examination_change",
    )
    assert dict(changes[0]) == {"n": STUDIES, "each": STUDIES}
    audited = await sql(
        clinic,
        "SELECT sum((details ->> 'changed')::int) AS changed FROM api.audit_log"
        " WHERE action = 'BULK_UPDATE'",
    )
    assert audited[0]["changed"] == STUDIES
