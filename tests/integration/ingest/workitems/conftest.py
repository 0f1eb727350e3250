"""An api with its ingest, for all tests of a module."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.integration.api.conftest import Api, running_api
from tests.support.services import Services, declare_index_queue
from tests.support.waiting import until


@pytest.fixture
async def house(services: Services) -> AsyncIterator[Api]:
    services.extra |= {"UNKNOWN_AE": "reject", "PROCESSES": "1", "HTTP_PROCESSES": "2"}
    async with running_api(services) as api:
        await declare_index_queue(services.amqp_url)
        await services.start("ingest")

        async def answers() -> bool:
            found: httpx.Response = await api.client.delete(
                "/dicom-web/workitems/1.2.3/subscribers/NOBODY"
            )
            return found.status_code == 404

        await until(answers, "ingest answering")
        yield api
