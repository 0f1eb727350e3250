"""An audit log in a database, written under the role of the service, and joined to its chain."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
import pytest

from darkroom_api.audit.actions import Action
from darkroom_api.audit.anchor import AnchorFile
from darkroom_api.audit.chain import Chain
from darkroom_api.audit.entries import AuditKeys, Entry
from darkroom_api.audit.log import AuditLog
from darkroom_api.audit.verification import Place, Verification
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Database, open_database
from darkroom_common.seal import Seal
from tests.support.services import prepare_database, role_url

if TYPE_CHECKING:
    Superuser: TypeAlias = asyncpg.Connection[asyncpg.Record]

ONE_KEY = json.dumps({"current": 1, "keys": {"1": base64.b64encode(b"k" * 32).decode()}})
SEAL = Seal(PhiKeys.parse(ONE_KEY))


@dataclass
class Desk:
    """The audit log under test."""

    database: Database
    keys: AuditKeys
    audit: AuditLog
    chain: Chain
    file: AnchorFile

    async def write(self, *names: str) -> None:
        """Write a row for each name and join them with one link."""
        async with self.database.transaction() as db:
            await self.audit.add(
                db, [Entry(Action.STUDY_READ, "study", "1.2", username=name) for name in names]
            )
        assert await self.chain.join() == len(names)

    async def found(self) -> list[tuple[str, str, int | None]]:
        """Verify all; return kind, name of the row and link of each fault."""
        verification = Verification(self.database, self.keys, SEAL, self.file)
        faults, place = [], Place()
        while True:
            step = await verification.step(place)
            faults += step.faults
            if step.place is None:
                break
            place = step.place
        ids = [fault.log_id for fault in faults if fault.log_id]
        async with self.database.acquire() as db:
            rows = await db.fetch(
                "SELECT log_id, username FROM api.audit_log WHERE log_id = ANY($1::uuid[])", ids
            )
        names = {row["log_id"]: row["username"] for row in rows}
        return [
            (fault.kind.value, names.get(fault.log_id, str(fault.log_id or "")), fault.link)
            for fault in faults
        ]

    async def id_of(self, name: str) -> str:
        """The id of the row of a name."""
        async with self.database.acquire() as db:
            return str(
                await db.fetchval("SELECT log_id FROM api.audit_log WHERE username = $1", name)
            )


@pytest.fixture
async def database(superuser_url: str) -> AsyncIterator[Database]:
    """The database of the api, under its own role, with the index that it reads."""
    await prepare_database(superuser_url, "metadata", "api")
    async with open_database(role_url(superuser_url, "darkroom_api"), service="test") as made:
        yield made


@pytest.fixture
async def superuser(superuser_url: str, database: Database) -> AsyncIterator["Superuser"]:
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
    return AuditLog(audit_keys, SEAL, SYSTEM_CLOCK)


@pytest.fixture
def desk(database: Database, audit_keys: AuditKeys, audit: AuditLog, tmp_path: Path) -> Desk:
    file = AnchorFile(tmp_path / "anchor")
    return Desk(database, audit_keys, audit, Chain(database, audit_keys, SYSTEM_CLOCK, file), file)
