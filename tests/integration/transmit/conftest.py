"""Fixtures of transmit's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.transmit.desk import Desk, open_desk
from tests.support.services import Services


@pytest.fixture
def begins_with(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return what the queues of the services are called that a test begins with."""
    names = set(request.fixturenames)
    if names & {"both", "lonely"}:
        return ("api.", "transmit.", "ingest.", "metadata.")
    return ("transmit.",) if "desk" in names else ()


@pytest.fixture
async def desk(services: Services) -> AsyncIterator[Desk]:
    """An index, a store and a running transmit."""
    async with open_desk(services) as made:
        await services.start("transmit")
        yield made
