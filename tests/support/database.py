"""A migrated database for one test, and logins of Darkroom's roles to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from darkroom_common.postgres.pool import Database, open_database
from tests.support.services import prepare_database, role_url


@dataclass(frozen=True)
class Prepared:
    """A bootstrapped database with the schemas of some services."""

    superuser_url: str

    @classmethod
    async def make(cls, superuser_url: str, *services: str) -> "Prepared":
        await prepare_database(superuser_url, *services)
        return cls(superuser_url)

    def url(self, role: str) -> str:
        return role_url(self.superuser_url, f"darkroom_{role}")

    @asynccontextmanager
    async def login(self, role: str) -> AsyncIterator[Database]:
        async with open_database(self.url(role), service=role) as database:
            yield database

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.superuser_url)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()
