"""An audit log in a database, written under the role of the service."""

import base64
import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from darkroom_api.audit.entries import AuditKeys
from darkroom_api.audit.log import AuditLog
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Database, open_database
from darkroom_common.seal import Seal
from tests.support.services import prepare_database, role_url

ONE_KEY = json.dumps({"current": 1, "keys": {"1": base64.b64encode(b"k" * 32).decode()}})


@pytest.fixture
async def database(superuser_url: str) -> AsyncIterator[Database]:
    """The database of the api, under its own role."""
    await prepare_database(superuser_url, "api")
    async with open_database(role_url(superuser_url, "darkroom_api"), service="test") as made:
        yield made


@pytest.fixture
async def superuser(
    superuser_url: str, database: Database
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Somebody who may do everything to the database."""
    del database
    connection = await asyncpg.connect(superuser_url)
    yield connection
    await connection.close()


@pytest.fixture
def audit_keys() -> AuditKeys:
    return AuditKeys(PhiKeys.parse(ONE_KEY))


@pytest.fixture
def audit(audit_keys: AuditKeys) -> AuditLog:
    return AuditLog(audit_keys, Seal(PhiKeys.parse(ONE_KEY)), SYSTEM_CLOCK)
