"""Fixtures of transmit's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.transmit.desk import Desk, open_desk
from tests.support.services import Services


@pytest.fixture
def begins_with(request: pytest.FixtureRequest) -> str:
    """Return what the queues of the service are called that `desk` has."""
    return "transmit." if "desk" in request.fixturenames else ""


@pytest.fixture
async def desk(services: Services) -> AsyncIterator[Desk]:
    """An index, a store and a running transmit."""
    async with open_desk(services) as made:
        await services.start("transmit")
        yield made
