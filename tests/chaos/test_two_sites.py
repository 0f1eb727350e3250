"""Two sites with brokers and databases of their own, cut off from each other under load (STO-07).

`DARKROOM_TWO_SITES_SECONDS=3600` has them apart for an hour. What is between them is a proxy on
the way to a store that speaks S3: it refuses for as long as the link is cut. In network namespaces
`tests.chaos.apart` does the same.
"""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from darkroom_common.topology import render_policies
from darkroom_local.engines.ports import free_port
from tests.chaos.proxy import Proxy, proxy_to
from tests.chaos.sites import Site
from tests.support.builders import new_uid
from tests.support.s3 import moto
from tests.support.services import Services
from tests.support.waiting import lasting, until

APART: Final = float(os.environ.get("DARKROOM_TWO_SITES_SECONDS", "15"))
RATE: Final = float(os.environ.get("DARKROOM_TWO_SITES_RATE", "4"))
"""Objects a second at each site."""


@asynccontextmanager
async def _engines(postgres: Any, rabbitmq: Any) -> AsyncIterator[tuple[str, str]]:
    """Make a database and a virtual host."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    connection = await asyncpg.connect(postgres.maintenance_url)
    vhost = f"test-{uuid.uuid4().hex[:16]}"
    with rabbitmq.management() as management:
        management.create_vhost(vhost, render_policies(vhost))
        await connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield postgres.superuser_url(name), rabbitmq.url(vhost)
        finally:
            await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            await connection.close()
            management.delete_vhost(vhost)


@pytest.mark.req("STO-07")
async def test_two_sites_agree_after_they_were_apart_under_load(
    postgres_server: Any, rabbitmq_server: Any, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        store = stack.enter_context(moto(tmp_path))
        sites: list[Site] = []
        links: list[Proxy] = []
        for name in ("north", "south"):
            database, broker = await stack.enter_async_context(
                _engines(postgres_server, rabbitmq_server)
            )
            link = await stack.enter_async_context(proxy_to(store.port))
            home = tmp_path / name
            home.mkdir()
            sites.append(Site(name, Services(home, database, broker)))
            links.append(link)
        north, south = sites
        south.services.secrets = north.services.secrets
        for made, other, link in zip(sites, (south, north), links, strict=True):
            stack.push_async_callback(made.services.stop)
            second = store.url(made.name, port=link.port, more="&attempts=1")
            await made.begin(second, other.name, store.url(other.name))
        root, disputed = new_uid(), new_uid()
        await asyncio.to_thread(north.send, disputed)

        ending = asyncio.Event()
        loads = [asyncio.create_task(one.load(root, RATE, ending)) for one in sites]
        await until(lambda: south.has(disputed), "the first object", limit=60)
        for link in links:  # from now on nobody gets through
            link.target = free_port()
            link.cut(reset=True)
        await north.delete(disputed)
        await asyncio.to_thread(south.send, disputed)
        await lasting(APART)
        behind = [await one.waiting() for one in sites]
        assert all(behind), behind
        for link in links:
            link.target = store.port
        joined = time.monotonic()
        await lasting(APART / 6)  # the load goes on
        ending.set()
        await asyncio.gather(*loads)

        async def drained() -> bool:
            return sum([await one.waiting() for one in sites]) == 0

        await until(drained, "lag drains", limit=60 + APART / 2, poll=0.5)
        took = time.monotonic() - joined

        async def agree() -> bool:
            return await north.state() == await south.state()

        await until(agree, "both have the same", limit=60, poll=0.5)
        state, sent = await north.state(), north.stored | south.stored
        lost = sent - state.keys()
        conflicts = [await one.conflicts() for one in sites]
        words = [await one.words() for one in sites]
        print(
            f"apart {APART:.0f} s: {len(sent)} objects, {north.edits + south.edits} edits;"
            f" behind when joined: {behind}; drained in {took:.1f} s of which {APART / 6:.0f} s"
            f" under load; lost {len(lost)}, doubled {sum(conflicts)}"
        )
        assert lost == set()
        assert state.keys() == sent, "nothing that nobody has sent"
        assert conflicts == [0, 0], "no object twice"
        assert words[0] == words[1]
        assert not any(one[2] == "True" for one in state.values()), "what went on has stayed"
