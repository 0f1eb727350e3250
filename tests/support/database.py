"""A migrated database for one test, and logins of Darkroom's roles to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from darkroom_common.postgres.pool import Database, open_database
from tests.support.services import prepare_database, role_url


@dataclass
class Prepared:
    """A bootstrapped database with the schemas of some services."""

    superuser_url: str
    _looking: Any = field(default=None, repr=False, compare=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)

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

    @asynccontextmanager
    async def looking(self) -> AsyncIterator["Prepared"]:
        """Keep a connection for `fetch`: to open one takes longer than to look."""
        self._looking = await asyncpg.connect(self.superuser_url)
        try:
            yield self
        finally:
            kept, self._looking = self._looking, None
            await kept.close()

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        if self._looking is not None and not self._looking.is_closed():
            async with self._turn:
                return list(await self._looking.fetch(sql, *arguments))
        connection = await asyncpg.connect(self.superuser_url)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()
