"""RabbitMQ and PostgreSQL stopped while objects arrive: answered all the same, indexed later."""

import asyncio
from pathlib import Path

import pytest

from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.engines.rabbitmq import PrivateRabbitMQ
from tests.integration.test_pipeline import counted, rows
from tests.support import waiting
from tests.support.builders import a_data_set, encode
from tests.support.dicom_peer import send
from tests.support.services import Services, prepare_database


@pytest.mark.timeout(240)
@pytest.mark.req("ING-03")
async def test_engines_away_while_objects_arrive(
    tmp_path: Path, own_postgres: PrivatePostgres, own_rabbitmq: PrivateRabbitMQ
) -> None:
    services = Services(tmp_path, own_postgres.superuser_url("postgres"), own_rabbitmq.url())
    try:
        await prepare_database(services.superuser_url, "metadata")
        await services.start("metadata", "ingest")
        first = {str(one.SOPInstanceUID): encode(one) for one in (a_data_set() for _ in range(40))}
        more = {str(one.SOPInstanceUID): encode(one) for one in (a_data_set() for _ in range(80))}
        last = {str(one.SOPInstanceUID): encode(one) for one in (a_data_set() for _ in range(40))}

        async def answered(objects: dict[str, bytes]) -> None:
            answers = await asyncio.to_thread(send, services.dicom_port, objects.items())
            assert set(answers.values()) == {0}

        await answered(first)
        await own_rabbitmq.stop_app()
        await answered(more)
        ready, report = services.running["ingest"].probe("/readyz")
        assert ready == 200, report  # receiving needs no broker
        assert services.running["metadata"].probe("/readyz")[0] == 503
        await own_rabbitmq.start_app()
        await counted(services, "SELECT count(*) FROM index.instance", 120, limit=60)

        await own_postgres.stop()
        await answered(last)
        await waiting.until(lambda: services.running["metadata"].probe("/readyz")[0] == 503)
        await own_postgres.start()
        await counted(services, "SELECT count(*) FROM index.instance", 160, limit=60)
        await services.running["metadata"].ready()
        found = await rows(services, "SELECT sop_instance_uid FROM index.instance")
        assert {row[0] for row in found} == set(first | more | last)
        for service in services.running.values():
            assert service.process is not None
            assert service.process.returncode is None  # nobody had to be restarted
            assert await service.stop() == 0
    finally:
        await services.stop()
