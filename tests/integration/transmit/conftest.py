"""Fixtures of transmit's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.transmit.desk import Desk, open_desk
from tests.support.services import Services


@pytest.fixture
async def desk(services: Services) -> AsyncIterator[Desk]:
    """An index, a store and a running transmit."""
    async with open_desk(services) as made:
        await services.start("transmit")
        yield made
