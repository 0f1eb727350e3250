"""`kill -9` of ingest and of the indexer at random moments, many times (F1 and F2, by chance).

The oracle is the sender's ledger: what was answered 0x0000 must be there once, unaltered, and
nothing may be there twice. Rounds by `DARKROOM_CHAOS_ROUNDS` (100).
"""

import asyncio
import hashlib
import random

import pytest

from tests.chaos.conftest import ROUNDS
from tests.chaos.killing import check
from tests.chaos.report import Report, Row
from tests.integration.common.test_poison import only_the_poison_is_dead
from tests.integration.test_pipeline import counted
from tests.support.builders import a_data_set, encode
from tests.support.dicom_peer import send
from tests.support.services import Services, prepare_database
from tests.support.waiting import lasting

OBJECTS = 20  # a round


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("victim", ["ingest", "metadata"])
async def test_killed_at_any_time_nothing_is_lost_or_doubled(
    services: Services, report: Report, victim: str
) -> None:
    await prepare_database(services.superuser_url, "metadata")
    await services.start("metadata", "ingest")
    chance = random.Random(20261121)
    answered: dict[str, str] = {}
    for number in range(ROUNDS):
        left = {
            str(one.SOPInstanceUID): encode(one) for one in (a_data_set() for _ in range(OBJECTS))
        }
        digests = {uid: hashlib.sha256(data).hexdigest() for uid, data in left.items()}
        sending = asyncio.create_task(
            asyncio.to_thread(send, services.dicom_port, list(left.items()))
        )
        await lasting(chance.uniform(0, 0.15))
        await services.running[victim].kill()
        await services.running[victim].start()
        answers = await sending
        await services.running[victim].ready()
        while True:
            for uid, status in answers.items():
                if status == 0:
                    answered[uid] = digests[uid]
                    left.pop(uid, None)
            if not left:
                break
            answers = await asyncio.to_thread(send, services.dicom_port, list(left.items()))
        if number % 10 == 9:
            print(f"{victim}: {number + 1} of {ROUNDS} kills, {len(answered)} objects")
    await check(services, answered)
    fault = {"ingest": "F1", "metadata": "F2"}[victim]
    report.add(Row(fault, f"kill -9 {victim} at random moments", ROUNDS, len(answered), "", ""))


@pytest.mark.timeout(3600)
async def test_the_same_object_from_fifty_senders_at_once_is_one_object(
    services: Services, report: Report
) -> None:
    """F13: the same C-STORE 50 times at once, for a hundred objects."""
    await prepare_database(services.superuser_url, "metadata")
    await services.start("metadata", "ingest")
    objects = {str(one.SOPInstanceUID): encode(one) for one in (a_data_set() for _ in range(100))}

    async def sender() -> None:
        left = dict(objects)
        while left:
            answers = await asyncio.to_thread(send, services.dicom_port, list(left.items()))
            for uid, status in answers.items():
                if status == 0:
                    left.pop(uid, None)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(50):
            tasks.create_task(sender())
    await check(services, {uid: hashlib.sha256(data).hexdigest() for uid, data in objects.items()})
    await counted(
        services,
        "SELECT (count(*) + coalesce(sum(duplicates), 0))::int FROM index.instance",
        50 * 100,
        limit=120,
    )
    report.add(
        Row("F13", "100 objects from 50 senders at once", 1, len(objects), "", "one row each")
    )


@pytest.mark.timeout(900)
async def test_one_of_two_hundred_is_poison(amqp_url: str, report: Report) -> None:
    """F14: it kills its consumer each time; the other objects of its message are handled."""
    size, messages = 200, 5
    deaths = await only_the_poison_is_dead(amqp_url, size=size, messages=messages)
    seen = f"{deaths} deaths; the other {size * messages - 1} handled, it alone is a dead letter"
    report.add(Row("F14", f"one poison in a batch of {size}", 1, size * messages, "reason", seen))
