"""Fixtures of the long fault tests: services as processes on engines of their own run."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.chaos.report import Report
from tests.support.services import Services

ROUNDS = int(os.environ.get("DARKROOM_CHAOS_ROUNDS", "100"))


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """The results of this run; shown and written when it ends."""
    made = Report()
    yield made
    made.write()


@pytest.fixture
async def services(tmp_path: Path, superuser_url: str, amqp_url: str) -> AsyncIterator[Services]:
    """Services on a fresh database, virtual host and directory; started by the test."""
    made = Services(tmp_path, superuser_url, amqp_url)
    yield made
    await made.stop()
