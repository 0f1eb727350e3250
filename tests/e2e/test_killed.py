"""`kill -9` of each process of the running stack in turn, while objects arrive."""

import asyncio
import os
import signal
import time
from collections import Counter
from functools import partial
from typing import Any

import httpx
import pytest

from darkroom_local.stack.state import ProcessState
from tests.e2e.user import DarkroomUp, data_set_of, digest, fetch, instances, value
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.dicom_peer import send
from tests.support.waiting import lasting, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]
OBJECTS = 500
STUDIES = 5
SETTLE = 60.0  # seconds until everything that was answered is found


async def instances_when_back(client: httpx.AsyncClient, study: str) -> list[dict[str, Any]]:
    try:
        return await instances(client, StudyInstanceUID=study)
    except httpx.HTTPError:  # the api itself, or its database, was just killed
        return []


async def found_when_settled(
    client: httpx.AsyncClient, studies: list[str], expected: int
) -> list[dict[str, Any]]:
    """What QIDO finds once it finds as much as it should, or when the time is over."""
    deadline = time.monotonic() + SETTLE
    while True:
        found = [one for uid in studies for one in await instances_when_back(client, uid)]
        if len(found) >= expected or time.monotonic() > deadline:
            return found
        await lasting(0.2)


def _started_again(darkroom: DarkroomUp, name: str, pid: int) -> ProcessState | None:
    now = darkroom.processes()[name]
    return now if now.ready and now.pid != pid else None


async def kill_each(darkroom: DarkroomUp) -> None:
    """Kill one process after the other; each must be back, under a new pid, before the next."""
    victims = list(darkroom.processes())
    assert {"postgres", "rabbitmq", "ingest", "metadata", "api", "transmit"} <= set(victims)
    for name in victims:
        await lasting(1.0)
        before = darkroom.processes()[name]
        assert before.pid is not None
        os.kill(before.pid, signal.SIGKILL)
        now = await until(partial(_started_again, darkroom, name, before.pid), limit=60)
        assert now.restarts == 1, name


@pytest.mark.req("ING-03", "MET-01")
async def test_each_object_is_there_once_whoever_was_killed(darkroom: DarkroomUp) -> None:
    studies = [new_uid() for _ in range(STUDIES)]
    sent: dict[str, bytes] = {}
    for number in range(OBJECTS):
        one = a_data_set(StudyInstanceUID=studies[number % STUDIES], InstanceNumber=number)
        sent[str(one.SOPInstanceUID)] = encode(one)
    ledger: Counter[str] = Counter()
    waiting = list(sent)
    killing = True

    async def sender() -> None:
        """Send what was not answered again, at a pace that lasts as long as the killing."""
        while waiting:
            some = waiting[:10]
            answers = await asyncio.to_thread(
                send, darkroom.dicom_port, [(uid, sent[uid]) for uid in some]
            )
            for uid in some:
                ledger[str(answers[uid])] += 1
                if answers[uid] == 0:
                    waiting.remove(uid)
            await lasting(0.3 if killing else 0.02)

    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(sender())
        await kill_each(darkroom)
        killing = False
        async with asyncio.timeout(120):
            await sending
    assert ledger["0"] == OBJECTS

    async with darkroom.client() as client:
        found = await found_when_settled(client, studies, OBJECTS)
        assert Counter(value(one, "00080018") for one in found) == Counter(sent.keys())
        for study in studies:
            keys = {"StudyInstanceUID": study}
            (row,) = (await client.get("/dicom-web/studies", params=keys)).json()
            assert int(value(row, "00201208")) == OBJECTS // STUDIES
        for instance in found[::7]:
            part10 = await fetch(client, instance)
            assert digest(data_set_of(part10)) == digest(sent[value(instance, "00080018")])
    stored = list((darkroom.data / "objects").rglob("*.dcm"))
    assert len(stored) == OBJECTS
    assert {digest(data_set_of(path.read_bytes())) for path in stored} == {
        digest(data) for data in sent.values()
    }
    assert list((darkroom.data / "spool" / "ready").iterdir()) == []


@pytest.mark.req("ING-03")
async def test_a_frozen_broker_holds_up_no_sender(darkroom: DarkroomUp) -> None:
    """RabbitMQ neither answers nor closes: receiving goes on, indexing catches up."""
    study = new_uid()
    objects = [a_data_set(StudyInstanceUID=study, InstanceNumber=n) for n in range(60)]
    sent = {str(one.SOPInstanceUID): encode(one) for one in objects}
    broker = darkroom.processes()["rabbitmq"].pid
    assert broker is not None
    os.kill(broker, signal.SIGSTOP)
    try:
        answers = await asyncio.to_thread(send, darkroom.dicom_port, sent.items(), sop_class=CT)
    finally:
        os.kill(broker, signal.SIGCONT)
    assert set(answers.values()) == {0}
    async with darkroom.client() as client:
        found = await found_when_settled(client, [study], len(sent))
    assert Counter(value(one, "00080018") for one in found) == Counter(sent.keys())
