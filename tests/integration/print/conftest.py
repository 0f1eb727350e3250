"""Fixtures of print's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.print.desk import PrintDesk, open_desk
from tests.support.services import Services


@pytest.fixture
def begins_with(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return what the queues of the service are called that `desk` has."""
    return ("print.",) if "desk" in request.fixturenames else ()


@pytest.fixture
async def desk(services: Services) -> AsyncIterator[PrintDesk]:
    """An index, a store and a running print."""
    async with open_desk(services) as made:
        await services.start("print")
        yield made
