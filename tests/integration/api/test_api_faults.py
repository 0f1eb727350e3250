"""The api while something that it needs is away, and when it stops."""

import asyncio
from pathlib import Path

import asyncpg

from darkroom_local.engines.postgres import PrivatePostgres
from tests.integration.api.conftest import Api, running_api
from tests.support.builders import a_data_set
from tests.support.services import Services


async def test_a_store_that_is_away_is_503_and_not_ready(api: Api) -> None:
    data_set = a_data_set()
    await api.seed.add(data_set)
    api.services.store.rename(api.services.store.with_name("gone"))
    answer = await api.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["store"]["ok"] is False
    assert (await api.client.get("/livez")).status_code == 200


async def test_a_database_that_is_away_is_503_until_it_is_back(
    tmp_path: Path, own_postgres: PrivatePostgres, amqp_url: str
) -> None:
    services = Services(tmp_path, own_postgres.superuser_url(), amqp_url)
    try:
        async with running_api(services) as api:
            await own_postgres.stop()
            for _ in range(2):
                answer = await api.client.get("/dicom-web/studies")
                assert answer.status_code == 503
                assert answer.headers["retry-after"] == "5"
                assert answer.json()["name"] == "DATABASE_ERROR"
            assert (await api.sign_in("admin", "x")).status_code == 503
            assert (await api.client.get("/readyz")).status_code == 503
            assert (await api.client.get("/livez")).status_code == 200
            await own_postgres.start()
            assert (await api.client.get("/dicom-web/studies")).status_code == 200
            await services.running["api"].ready()
    finally:
        await services.stop()


async def test_sigterm_finishes_what_is_open(api: Api) -> None:
    data_set = a_data_set(Rows=4096, Columns=4096, PixelData=bytes(64 << 20))
    await api.seed.add(data_set)
    url = (
        f"/dicom-web/studies/{data_set.StudyInstanceUID}/series/{data_set.SeriesInstanceUID}"
        f"/instances/{data_set.SOPInstanceUID}"
    )
    async with api.client.stream("GET", url) as answer:
        received = 0
        stopping: asyncio.Task[int] | None = None
        async for chunk in answer.aiter_raw():
            received += len(chunk)
            if stopping is None:
                stopping = asyncio.create_task(api.services.running["api"].stop())
                await asyncio.sleep(0.5)
        assert received == int(answer.headers["content-length"])
    assert stopping is not None
    assert await stopping == 0


async def test_a_schema_that_is_not_migrated_is_503(tmp_path: Path, services: Services) -> None:
    del tmp_path
    async with running_api(services) as api:
        connection = await asyncpg.connect(services.superuser_url)
        for change, path in (
            ("DROP VIEW ingest.sender", "/api/v1/senders"),
            ("REVOKE ALL ON print.printer FROM darkroom_api", "/api/v1/printers"),
            ("DROP SCHEMA transmit CASCADE", "/api/v1/destinations"),
        ):
            await connection.execute(change)
            answer = await api.client.get(path)
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"] == "5"
            assert answer.json()["name"] == "DATABASE_ERROR"
        await connection.close()


async def test_the_metrics_of_a_service_are_for_this_machine(services: Services) -> None:
    services.extra |= {
        "METRICS_TOKEN": "m" * 20,
        "METRICS_TARGETS": '{"api": "http://127.0.0.1:1"}',
    }
    async with running_api(services) as api:

        async def status(**headers: str) -> int:
            return (await api.anonymous.get("/metrics/api", headers=headers)).status_code

        assert await status() == 502  # asked, and not there
        for name in ("x-forwarded-for", "forwarded", "via"):
            assert await status(**{name: "198.51.100.7"}) == 401
        proxied = {"x-forwarded-for": "198.51.100.7"}
        assert await status(**proxied, authorization=f"Bearer {'m' * 20}") == 502
        for wrong in (f"Bearer {'m' * 19}", f"Basic {'m' * 20}", "Bearer", ""):
            assert await status(**proxied, authorization=wrong) == 401
