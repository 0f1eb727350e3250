"""Running services show what the table of metrics says, and nothing else."""

import asyncio

import pytest

from tests.support.builders import a_data_set, encode
from tests.support.dicom_peer import send
from tests.support.scraped import differences, promtool_check
from tests.support.services import Services, prepare_database

ALL = ("ingest", "metadata", "transmit", "print", "api", "licensing")


@pytest.fixture
async def stack(services: Services) -> Services:
    await prepare_database(services.superuser_url, *ALL)
    await services.start(*ALL)
    return services


async def test_each_service_shows_its_rows_of_the_table(stack: Services) -> None:
    objects = {str(one.SOPInstanceUID): encode(one) for one in (a_data_set() for _ in range(5))}
    answers = await asyncio.to_thread(send, stack.dicom_port, objects.items())
    assert set(answers.values()) == {0}
    for name in ALL:
        status, text = await asyncio.to_thread(stack.running[name].probe, "/metrics")
        assert status == 200
        assert differences(name, text) == []
        assert await asyncio.to_thread(promtool_check, text) == ""
