"""The service verifies and repairs by itself, through the real broker and database."""

import json

import asyncpg
import pytest

from darkroom_common.dicom.part10 import FileMeta, encode_head
from tests.e2e.user import digest
from tests.support.builders import CT, a_data_set, encode
from tests.support.services import Services, prepare_database
from tests.support.waiting import until

EXPLICIT = "1.2.840.10008.1.2.1"


async def counted(services: Services, sql: str, expected: object) -> None:
    connection = await asyncpg.connect(services.superuser_url)
    try:

        async def came() -> bool:
            return bool(await connection.fetchval(sql) == expected)

        await until(came, limit=40)
    finally:
        await connection.close()


@pytest.mark.req("ING-09", "STO-08")
async def test_orphans_are_indexed_and_damage_is_found_told_and_resolved(
    services: Services,
) -> None:
    await prepare_database(services.superuser_url, "metadata")
    services.extra |= {
        "VERIFY_REPAIR": "true",
        "VERIFY_GRACE_SECONDS": "0",
        "VERIFY_INTERVAL_DAYS": "0.00001",
    }
    paths = []
    for _ in range(5):
        data_set = a_data_set()
        data = encode(data_set)
        head = encode_head(FileMeta(CT, str(data_set.SOPInstanceUID), EXPLICIT, "A", "B"))
        paths.append(services.store / "p" / f"{digest(data)}.dcm")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        paths[-1].write_bytes(head + data)
    await services.start("metadata")
    await counted(services, "SELECT count(*) FROM index.instance WHERE verified_at IS NOT NULL", 5)

    content = paths[0].read_bytes()
    paths[0].write_bytes(content[:-1] + b"!")
    open_damage = (
        "SELECT count(*) FROM index.verification_finding"
        " WHERE kind = 'altered-object' AND resolved_at IS NULL"
    )
    await counted(services, open_damage, 1)
    metadata = services.running["metadata"]
    await until(
        lambda: (
            'darkroom_verification_findings{kind="altered-object"} 1.0'
            in metadata.probe("/metrics")[1]
        )
    )
    (line,) = (
        told
        for told in map(json.loads, metadata.log.read_text().splitlines())
        if told["event"] == "object.damaged" and told["kind"] == "altered-object"
    )
    assert line["object_key"] == f"p/{paths[0].name}"
    assert len(line["receipt"]) == 32
    paths[0].write_bytes(content)
    await counted(services, open_damage, 0)
    # The broker has what nobody needs to listen to; transmit's events wait for transmit.
    waiting = "SELECT count(*) FROM index.outbox WHERE type = 'dicom.instance.damaged.v1'"
    await counted(services, waiting, 0)
    assert await metadata.stop() == 0
