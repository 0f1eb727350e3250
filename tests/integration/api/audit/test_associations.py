"""Associations of ingest and transmit become rows of the audit log, once, also after outages."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.engines.rabbitmq import PrivateRabbitMQ
from tests.support.builders import CT, a_data_set, encode
from tests.support.dicom_peer import ECHO, Association, Rejected, send
from tests.support.services import Services, prepare_database
from tests.support.waiting import until

IMPLICIT = "1.2.840.10008.1.2"


async def rows(services: Services) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(services.superuser_url)
    try:
        found = await connection.fetch(
            "SELECT * FROM api.audit_log WHERE action = 'DICOM_ASSOCIATION' ORDER BY recorded_at"
        )
    finally:
        await connection.close()
    return [dict(row) | {"details": json.loads(row["details"])} for row in found]


async def come(services: Services, number: int) -> list[dict[str, Any]]:
    async def there() -> list[dict[str, Any]] | None:
        found = await rows(services)
        assert len(found) <= number, found
        return found if len(found) == number else None

    return await until(there, f"{number} associations", limit=120)


def objects(number: int) -> list[tuple[str, bytes]]:
    return [(str(one.SOPInstanceUID), encode(one)) for one in (a_data_set() for _ in range(number))]


@pytest.mark.req("API-05")
async def test_each_association_has_a_row(services: Services) -> None:
    names = ("metadata", "ingest", "api")
    await prepare_database(services.superuser_url, "transmit", "print", *names)
    await services.start(*names)
    port = services.dicom_port

    def call() -> None:
        assert set(send(port, objects(3)).values()) == {0}
        with Association(port, {1: (ECHO, IMPLICIT)}, calling="ECHOER") as association:
            association.echo(1)
        with pytest.raises(Rejected):
            Association(port, {1: (ECHO, IMPLICIT)}, called="SOMEBODY")
        with pytest.raises(LookupError), Association(port, {1: (CT, IMPLICIT)}, calling="CUTTER"):
            raise LookupError  # the connection is closed without a release

    await asyncio.to_thread(call)
    found = await come(services, 4)
    (rejected,) = (row for row in found if row["details"]["result"] == "rejected")
    others = {row["username"]: row for row in found if row is not rejected}
    stored, echoed, cut = (others[name] for name in ("SCANNER", "ECHOER", "CUTTER"))
    assert stored["details"]["commands"] == {"C-STORE": 3}
    assert stored["details"]["result"] == "released"
    assert (stored["username"], stored["user_id"]) == ("SCANNER", "ae:SCANNER")
    assert str(stored["ip_address"]) == "127.0.0.1"
    assert stored["outcome"] == "success"
    assert echoed["details"]["commands"] == {"C-ECHO": 1}
    assert (rejected["details"]["result"], rejected["outcome"]) == ("rejected", "failure")
    assert rejected["details"]["called_ae_title"] == "SOMEBODY"
    assert (cut["username"], cut["details"]["result"]) == ("CUTTER", "aborted")


@pytest.mark.timeout(240)
async def test_nothing_is_lost_while_broker_and_database_are_away_and_all_is_killed(
    tmp_path: Path, own_postgres: PrivatePostgres, own_rabbitmq: PrivateRabbitMQ
) -> None:
    services = Services(tmp_path, own_postgres.superuser_url("postgres"), own_rabbitmq.url())
    try:
        names = ("metadata", "ingest", "api")
        await prepare_database(services.superuser_url, "transmit", "print", *names)
        await services.start(*names)
        port = services.dicom_port
        assert set((await asyncio.to_thread(send, port, objects(1))).values()) == {0}
        await come(services, 1)
        await own_rabbitmq.stop_app()
        for _ in range(5):
            assert set((await asyncio.to_thread(send, port, objects(2))).values()) == {0}
        await services.running["ingest"].kill()
        await own_rabbitmq.start_app()
        await own_postgres.stop()
        await services.running["ingest"].start()
        await services.running["ingest"].ready()
        for _ in range(5):
            assert set((await asyncio.to_thread(send, port, objects(2))).values()) == {0}
        await services.running["api"].kill()
        await own_postgres.start()
        await services.running["api"].start()
        found = await come(services, 11)
        assert sum(row["details"]["commands"]["C-STORE"] for row in found) == 21
        assert len({row["resource_id"] for row in found}) == 11
    finally:
        await services.stop()
