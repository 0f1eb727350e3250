"""From a C-STORE to a row, through real processes, RabbitMQ and PostgreSQL."""

import asyncio
import hashlib

import asyncpg
import pytest

from tests.support import waiting
from tests.support.builders import a_data_set, encode
from tests.support.dicom_peer import send
from tests.support.services import Services, prepare_database
from tests.support.waiting import lasting


async def rows(services: Services, sql: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(services.superuser_url)
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()


async def counted(services: Services, sql: str, expected: int, limit: float = 30.0) -> None:
    async def came() -> bool:
        found = (await rows(services, sql))[0][0]
        assert found <= expected, f"{found} rows, expected {expected}"
        return bool(found == expected)

    await waiting.until(came, sql, limit=limit)


async def test_what_is_sent_is_kept_and_indexed_once(services: Services) -> None:
    await prepare_database(services.superuser_url, "metadata")
    await services.start("metadata", "ingest")
    study = a_data_set().StudyInstanceUID
    sent = {}
    for number in range(20):
        data_set = a_data_set(StudyInstanceUID=study, InstanceNumber=number)
        sent[str(data_set.SOPInstanceUID)] = encode(data_set)
    answers = await asyncio.to_thread(send, services.dicom_port, sent.items())
    assert set(answers.values()) == {0}
    await counted(services, "SELECT count(*) FROM index.instance", 20)
    again = await asyncio.to_thread(send, services.dicom_port, sent.items())
    assert set(again.values()) == {0}
    await counted(services, "SELECT coalesce(sum(duplicates), 0)::int FROM index.instance", 20)

    found = await rows(
        services, "SELECT sop_instance_uid, object_key, data_set_offset, sha256 FROM index.instance"
    )
    assert {row["sop_instance_uid"] for row in found} == set(sent)
    for row in found:
        stored = (services.store / row["object_key"]).read_bytes()[row["data_set_offset"] :]
        assert stored == sent[row["sop_instance_uid"]]
        assert hashlib.sha256(stored).digest() == row["sha256"]
    await counted(
        services,
        "SELECT count(*) FROM index.study WHERE status = 'complete' AND instance_count = 20",
        1,
    )
    assert list((services.spool / "ready").iterdir()) == []
    assert len([p for p in services.store.rglob("*") if p.is_file()]) == 20
    assert await services.running["ingest"].stop() == 0
    assert await services.running["metadata"].stop() == 0


async def test_other_bytes_under_a_known_uid_are_a_conflict_and_kept(services: Services) -> None:
    await prepare_database(services.superuser_url, "metadata")
    await services.start("metadata", "ingest")
    first = a_data_set()
    second = a_data_set(
        SOPInstanceUID=first.SOPInstanceUID,
        StudyInstanceUID=first.StudyInstanceUID,
        SeriesInstanceUID=first.SeriesInstanceUID,
        InstanceNumber=99,
    )
    uid = str(first.SOPInstanceUID)
    objects = [(uid, encode(first)), (uid, encode(second)), (uid, encode(second))]
    for one in objects:
        assert await asyncio.to_thread(send, services.dicom_port, [one]) == {uid: 0}
    await counted(services, "SELECT count(*) FROM index.conflict", 1)
    await counted(services, "SELECT count(*) FROM index.instance", 1)
    kept = [p.read_bytes() for p in services.store.rglob("*.dcm")]
    assert len(kept) == 2
    assert (await rows(services, "SELECT instance_number FROM index.instance"))[0][0] == 7


@pytest.mark.parametrize("victim", ["ingest", "metadata"])
async def test_killed_while_objects_arrive_each_is_there_once(
    services: Services, victim: str
) -> None:
    await prepare_database(services.superuser_url, "metadata")
    await services.start("metadata", "ingest")
    sent = {str(one.SOPInstanceUID): encode(one) for one in (a_data_set() for _ in range(150))}
    left = dict(sent)

    async def sender() -> None:
        while left:
            answers = await asyncio.to_thread(
                send, services.dicom_port, [(uid, left[uid]) for uid in list(left)[:30]]
            )
            for uid, status in answers.items():
                if status == 0:
                    left.pop(uid)
            await lasting(0.05)

    async with asyncio.timeout(120):
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(sender())
            for _ in range(3):
                await lasting(0.3)
                await services.running[victim].kill()
                await services.running[victim].start()
                await services.running[victim].ready()
            await sending
    await counted(services, "SELECT count(*) FROM index.instance", 150)
    found = await rows(
        services, "SELECT sop_instance_uid, object_key, data_set_offset FROM index.instance"
    )
    for row in found:
        stored = (services.store / row["object_key"]).read_bytes()[row["data_set_offset"] :]
        assert stored == sent[row["sop_instance_uid"]]
    assert len(list(services.store.rglob("*.dcm"))) == 150
