"""Api, ingest and index as processes, for a whole module of tests."""

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from darkroom_common.topology import render_policies
from tests.conftest import PostgresServer, RabbitServer
from tests.integration.api.conftest import Api, running_api
from tests.support import waiting
from tests.support.services import Services
from tests.support.stow import TYPE, Part, a_body


@dataclass
class Stowing:
    """What is stored to."""

    api: Api
    services: Services

    async def store(
        self, parts: Iterable[bytes | Part], study: str = "", kind: str = TYPE
    ) -> httpx.Response:
        """Store a multipart body."""
        return await self.send(a_body(parts), study, kind)

    async def send(self, body: bytes, study: str = "", kind: str = TYPE) -> httpx.Response:
        """Store a body as it is."""
        path = "/dicom-web/studies" + (f"/{study}" if study else "")
        return await self.api.client.post(path, content=body, headers={"content-type": kind})

    async def kept(self, uid: str) -> bytes:
        """The data set of an instance, once it is in the index."""
        found: list[bytes] = []

        async def came() -> bool:
            row = await self.fetch(
                "SELECT object_key, data_set_offset FROM index.instance"
                " WHERE sop_instance_uid = $1",
                uid,
            )
            if row:
                key, offset = row[0]
                found.append((self.services.store / key).read_bytes()[offset:])
            return bool(row)

        await waiting.until(came, "an object in the index")
        return found[0]

    async def fetch(self, sql: str, *values: object) -> list[asyncpg.Record]:
        """Rows of a query."""
        connection = await asyncpg.connect(self.services.superuser_url)
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()


@asynccontextmanager
async def stowing(
    postgres: PostgresServer, rabbitmq: RabbitServer, **settings: str
) -> AsyncIterator[Stowing]:
    """Run api, ingest and index until the block ends."""
    name = f"stow_{uuid.uuid4().hex[:12]}"
    directory = Path(tempfile.mkdtemp(prefix="darkroom-stow-"))
    maintenance = await asyncpg.connect(postgres.maintenance_url)
    await maintenance.execute(f'CREATE DATABASE "{name}"')
    with rabbitmq.management() as management:
        await asyncio.to_thread(management.create_vhost, name, render_policies(name))
        services = Services(
            directory,
            postgres.superuser_url(name),
            rabbitmq.url(name),
            extra={"PROCESSES": "2", **settings},
        )
        try:
            async with running_api(services) as api:
                await services.start("metadata", "ingest")
                yield Stowing(api, services)
        finally:
            await services.stop()
            await asyncio.to_thread(management.delete_vhost, name)
            await maintenance.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            await maintenance.close()
            shutil.rmtree(directory)
