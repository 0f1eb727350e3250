"""A database with the tables of every kind of job, and each kind at work in it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from darkroom_common.messages.base import new_message_id
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import open_database
from tests.conftest import PostgresServer, _execute, in_thread
from tests.integration.common.jobs.cases import CASES, House
from tests.support.database import Prepared
from tests.support.services import prepare_database


@pytest.fixture(scope="module")
def prepared(postgres_server: PostgresServer) -> Iterator[Prepared]:
    """One database for the whole suite: each test has a lane of its own."""
    name = f"jobs_{new_message_id()}"
    in_thread(_execute(postgres_server.maintenance_url, f"CREATE DATABASE {name}"))
    url = postgres_server.superuser_url(name)
    in_thread(prepare_database(url, "metadata", "transmit", "print", "api"))
    yield Prepared(url)
    in_thread(_execute(postgres_server.maintenance_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=sorted(CASES))
async def house(request: pytest.FixtureRequest, prepared: Prepared) -> AsyncIterator[House]:
    case = CASES[request.param]
    async with open_database(prepared.url(case.role), service=case.role) as database:
        yield House(case, case.table(Outbox(case.role)), database)
