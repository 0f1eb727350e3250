"""An api as a process, on an index that tests fill."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from darkroom_common.postgres.phi import BlindIndex, PhiKeys, decode_key
from darkroom_common.postgres.pool import open_database
from tests.integration.api.seed import Seed
from tests.support.line_fixture import connect
from tests.support.services import Services, prepare_database, role_url

__all__ = ["ADMIN", "Api", "connect", "running_api"]
ADMIN = "admin"


@dataclass
class Api:
    """The api under test."""

    services: Services
    client: httpx.AsyncClient  # signed in as the administrator
    anonymous: httpx.AsyncClient
    seed: Seed
    url: str
    tokens: dict[str, Any] = field(default_factory=dict)

    async def sign_in(self, username: str, password: str) -> httpx.Response:
        """Try to sign in."""
        return await self.anonymous.post(
            "/api/v1/auth/login", json={"username": username, "password": password}
        )


@asynccontextmanager
async def running_api(services: Services) -> AsyncIterator[Api]:
    """Run an api on the database of `services`, with its administrator signed in."""
    await prepare_database(services.superuser_url, "ingest", "metadata", "transmit", "print", "api")
    await services.start("api")
    url = f"http://127.0.0.1:{services.http_port}"
    keys = PhiKeys.parse(services.secrets["PHI_KEYS"])
    blind = BlindIndex(decode_key(services.secrets["BLIND_INDEX_KEY"], setting="BLIND_INDEX_KEY"))
    metadata_url = role_url(services.superuser_url, "darkroom_metadata")
    async with (
        open_database(metadata_url, service="seed") as database,
        httpx.AsyncClient(base_url=url, timeout=20) as anonymous,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
    ):
        services.store.mkdir(exist_ok=True)
        made = Api(services, client, anonymous, Seed(database, services.store, keys, blind), url)
        answer = await made.sign_in(ADMIN, services.admin_password)
        assert answer.status_code == 200, answer.text
        made.tokens.update(answer.json())
        client.headers["authorization"] = f"Bearer {made.tokens['access_token']}"
        yield made


@pytest.fixture
def begins_with(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return what the queues of the api are called, where a test has one from the beginning."""
    return ("api.",) if "api" in request.fixturenames else ()


@pytest.fixture
async def api(services: Services) -> AsyncIterator[Api]:
    """A running api with its administrator signed in."""
    async with running_api(services) as made:
        yield made
