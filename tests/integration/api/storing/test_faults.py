"""STOW under load and faults: what was answered as stored is there, and memory is flat."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.conftest import PostgresServer, RabbitServer
from tests.integration.api.storing.stowing import Stowing, stowing
from tests.support import waiting
from tests.support.builders import a_data_set, encode, new_uid
from tests.support.services import receiving_processes
from tests.support.stow import TYPE, a_body, a_file, uids

pytestmark = pytest.mark.asyncio(loop_scope="module")
UPLOADS = int(os.environ.get("DARKROOM_STOW_UPLOADS", "100"))
OBJECT = int(os.environ.get("DARKROOM_STOW_OBJECT", str(1 << 19)))
KILLS = int(os.environ.get("DARKROOM_STOW_KILLS", "2"))
GROWTH = 96 << 20
"""Bytes that a process may have more at its peak: buffers of 100 uploads, none of their objects."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stow(
    postgres_server: PostgresServer, rabbitmq_server: RabbitServer
) -> AsyncIterator[Stowing]:
    async with stowing(postgres_server, rabbitmq_server) as made:
        yield made


def peaks(stow: Stowing) -> dict[int, int]:
    """The most memory that the api and the receiving processes have had, in bytes."""
    running = {name: one.process for name, one in stow.services.running.items()}
    api, ingest = running["api"], running["ingest"]
    assert api is not None
    assert ingest is not None
    found = {}
    for pid in (api.pid, *receiving_processes(ingest.pid)):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                found[pid] = int(line.split()[1]) << 10
    return found


async def test_a_hundred_uploads_at_once_leave_memory_flat(stow: Stowing) -> None:
    one = a_data_set(PixelData=bytes(OBJECT))
    assert (await stow.store([a_file(one)])).status_code == 200
    before = peaks(stow)
    study = new_uid()
    limits = httpx.Limits(max_connections=UPLOADS)
    headers = dict(stow.api.client.headers) | {"content-type": TYPE}
    async with httpx.AsyncClient(base_url=stow.api.url, limits=limits, timeout=120) as client:

        async def upload() -> list[str]:
            sets = [a_data_set(StudyInstanceUID=study, PixelData=bytes(OBJECT)) for _ in range(3)]
            body = a_body(map(a_file, sets))
            answer = await client.post("/dicom-web/studies", content=body, headers=headers)
            assert answer.status_code == 200, answer.text
            return list(uids(answer.json()))

        found = await asyncio.gather(*(upload() for _ in range(UPLOADS)))
    assert len({uid for some in found for uid in some}) == 3 * UPLOADS
    grown = {pid: peak - before[pid] for pid, peak in peaks(stow).items()}
    assert max(grown.values()) < GROWTH, grown

    async def indexed() -> bool:
        sql = "SELECT instance_count FROM index.study WHERE study_instance_uid = $1"
        rows = await stow.fetch(sql, study)
        return bool(rows) and rows[0][0] == 3 * UPLOADS

    await waiting.until(indexed, "all in the index", limit=60)


@pytest.mark.req("ING-03")
async def test_what_was_answered_is_there_whatever_is_killed(stow: Stowing) -> None:
    chance, ledger, over = random.Random(7), dict[str, bytes](), asyncio.Event()
    unanswered = 0

    async def upload() -> None:
        nonlocal unanswered
        while not over.is_set():
            sets = {str(one.SOPInstanceUID): one for one in (a_data_set(), a_data_set())}
            try:
                answer = await stow.store(map(a_file, sets.values()))
            except httpx.HTTPError:
                unanswered += 1
                continue
            assert answer.status_code in (200, 503), answer.text
            if answer.status_code == 200:
                ledger.update((uid, encode(sets[uid])) for uid in uids(answer.json()))
            else:
                unanswered += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(6):
            tasks.create_task(upload())
        for kill in range(KILLS):
            had = len(ledger) + chance.randrange(10, 30)

            async def went_on(had: int = had) -> bool:
                return len(ledger) > had

            await waiting.until(went_on, "more objects", limit=60)
            name = "api" if kill == KILLS - 1 else "ingest"
            service = stow.services.running[name]
            await service.kill()
            await service.start()
            await service.ready()
        over.set()
    assert unanswered
    for uid, data in ledger.items():
        assert await stow.kept(uid) == data


async def test_no_room_and_no_ingest_are_503(stow: Stowing) -> None:
    ingest = stow.services.running["ingest"]
    await ingest.stop()
    body = a_body([a_file(a_data_set())])
    answer = await stow.send(body)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]

    ingest.environment["DARKROOM_RESERVE_BYTES"] = str(1 << 60)
    await ingest.start()

    async def listens() -> bool:
        return b"worker.started" in ingest.log.read_bytes().rpartition(b"scp.listening")[2]

    await waiting.until(listens, "ingest listens")
    answer = await stow.send(body)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert list((stow.services.spool / "ready").iterdir()) == []
