"""Fixtures of integration tests: services as processes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.canary import PLANTED, found_in
from tests.support.services import Services


@pytest.fixture
async def services(tmp_path: Path, superuser_url: str, amqp_url: str) -> AsyncIterator[Services]:
    """Services on a fresh database, virtual host and directory; started by the test."""
    made = Services(tmp_path, superuser_url, amqp_url)
    yield made
    await made.stop()
    logs = {path.name: path.read_bytes() for path in tmp_path.glob("*.log")}
    told = {name: names for name, log in logs.items() if (names := found_in(log, PLANTED))}
    assert not told, "names that tests have planted are in logs"
