"""The api as several processes behind one port: one service to whoever asks or stops it."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import Dataset

from darkroom_local.engines.ports import LOOPBACK
from tests.integration.api.conftest import running_api
from tests.support.builders import a_data_set, new_uid
from tests.support.services import ServiceProcess, Services, prepare_database
from tests.support.shelf import url_of
from tests.support.waiting import until

PROCESSES = 2
CONNECTIONS = 24
_DELETE = "UPDATE index.study SET status = 'deleted' WHERE study_instance_uid = $1"
_MOVE = "UPDATE index.study SET study_instance_uid = $2 WHERE study_instance_uid = $1"


@pytest.fixture
async def api(services: Services) -> AsyncIterator[ServiceProcess]:
    await prepare_database(services.superuser_url, "metadata", "transmit", "print", "api")
    services.extra["HTTP_PROCESSES"] = str(PROCESSES)
    await services.start("api")
    yield services.running["api"]
    await services.stop()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def client(services: Services) -> httpx.AsyncClient:
    limits = httpx.Limits(max_keepalive_connections=0)  # each request has a connection of its own
    base = f"http://{LOOPBACK}:{services.http_port}"
    return httpx.AsyncClient(base_url=base, limits=limits, timeout=20)


async def statuses(asking: httpx.AsyncClient, headers: dict[str, str]) -> set[int]:
    asked = (asking.get("/api/v1/auth/me", headers=headers) for _ in range(CONNECTIONS))
    return {answer.status_code for answer in await asyncio.gather(*asked)}


async def test_who_signs_out_is_out_of_all_processes_at_once_all_count_and_all_end(
    services: Services, api: ServiceProcess
) -> None:
    assert api.process is not None
    assert len(children(api.process.pid)) == PROCESSES
    async with client(services) as asking:
        who = {"username": "admin", "password": services.admin_password}
        answer = await asking.post("/api/v1/auth/login", json=who)
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        assert await statuses(asking, headers) == {200}
        assert (await asking.post("/api/v1/auth/logout", headers=headers)).status_code == 200
        assert await statuses(asking, headers) == {401}
    status, shown = await asyncio.to_thread(api.probe, "/metrics")
    counted = re.findall(r'darkroom_http_requests_total\{.*auth/me".*\} (\S+)', shown)
    assert (status, sum(map(float, counted))) == (200, 2 * CONNECTIONS)
    assert re.search(r'^darkroom_ready\{service="api"\} 1.0$', shown, re.MULTILINE)
    assert re.search(r"^darkroom_build_info\{.*\} 1.0$", shown, re.MULTILINE)
    assert await api.stop() == 0


async def test_when_one_is_killed_all_end_so_that_the_service_is_started_again(
    services: Services, api: ServiceProcess
) -> None:
    assert api.process is not None
    running = children(api.process.pid)
    os.kill(running[0], signal.SIGKILL)
    async with asyncio.timeout(30):
        assert await api.process.wait() == 1
    for pid in running:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    await services.start("api")
    again = services.running["api"]
    assert again.process is not None
    running = children(again.process.pid)
    await again.kill()  # the one that keeps them: none of them stays

    async def gone() -> bool:
        return not any(map(_runs, running))

    await until(gone)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"


async def test_what_one_process_knows_is_not_shown_when_it_is_deleted_or_of_another_study(
    services: Services,
) -> None:
    """What all processes have looked up before is asked for again (ADR 22)."""
    services.extra["HTTP_PROCESSES"] = str(PROCESSES)
    async with running_api(services) as house:
        moved, deleted = a_data_set(), a_data_set()
        await house.seed.add(moved, deleted)
        headers = {**house.client.headers, "accept": "application/dicom"}
        async with client(services) as asking:

            async def seen(one: Dataset) -> set[int]:
                asked = (asking.get(url_of(one), headers=headers) for _ in range(CONNECTIONS))
                return {answer.status_code for answer in await asyncio.gather(*asked)}

            for one in (moved, deleted):
                assert await seen(one) == {200}
            async with house.seed.database.acquire() as db:
                await db.execute(_DELETE, deleted.StudyInstanceUID)
                await db.execute(_MOVE, moved.StudyInstanceUID, there := new_uid())
            for one in (moved, deleted):
                assert await seen(one) == {404}
            moved.StudyInstanceUID = there
            assert await seen(moved) == {200}
