"""Two sites with brokers and databases of their own, cut off from each other under load (STO-07).

`DARKROOM_TWO_SITES_SECONDS=3600` has them apart for an hour. What is between them is a proxy on
the way to a store that speaks S3: it refuses for as long as the link is cut.
"""

import asyncio
import itertools
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aio_pika
import asyncpg
import pytest

from darkroom_common.amqp.rabbitmq import declare, open_broker
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import EditStudies, RemoveStudy
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.seal import Seal
from darkroom_common.specs.edits import PURPOSE, Edit
from darkroom_common.topology import WORK_QUEUES, render_policies
from darkroom_local.engines.ports import free_port
from tests.chaos.proxy import Proxy, proxy_to
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.dicom_peer import Association
from tests.support.s3 import Server, moto
from tests.support.services import Services, own_url, prepare_database
from tests.support.waiting import lasting, until

APART: Final = float(os.environ.get("DARKROOM_TWO_SITES_SECONDS", "30"))
RATE: Final = float(os.environ.get("DARKROOM_TWO_SITES_RATE", "4"))
"""Objects a second at each site."""
SYNTAX: Final = "1.2.840.10008.1.2.1"
STUDIES: Final = 6
_MARK: Final = "StudyDescription"


@dataclass
class Site:
    """One of them, with what its senders were told."""

    name: str
    services: Services
    link: Proxy
    stored: set[str] = field(default_factory=set)
    edits: int = 0

    async def rows(self, sql: str, *values: object) -> list[Any]:
        connection = await asyncpg.connect(self.services.superuser_url)
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()

    def send(self, study: str) -> None:
        """Send one object; what is answered with success is written down."""
        data_set = a_data_set(StudyInstanceUID=study, PatientID=f"P-{study[-6:]}")
        uid = str(data_set.SOPInstanceUID)
        with Association(self.services.dicom_port, {1: (CT, SYNTAX)}) as association:
            if association.store(1, CT, uid, encode(data_set)) == 0:
                self.stored.add(uid)

    async def load(self, studies: list[str], ending: asyncio.Event) -> None:
        """Send and edit until it is enough."""
        keys = PhiKeys.parse(self.services.secrets["PHI_KEYS"])
        turns = itertools.count()
        url = own_url(self.services.amqp_url, "api")
        async with open_broker(url, service="api") as broker:
            while not ending.is_set():
                turn = next(turns)
                await asyncio.to_thread(self.send, studies[turn % len(studies)])
                if turn % 10 == 0:
                    self.edits += 1
                    edit = Edit(values={_MARK: f"{self.name} {self.edits}"})
                    await broker.publish(
                        EditStudies(
                            job_id=new_message_id(),
                            action="edit",
                            study_instance_uid=studies[turn // 10 % len(studies)],
                            requested_by=self.name,
                            sealed=Seal(keys).seal(edit.model_dump(), purpose=PURPOSE),
                        )
                    )
                await lasting(1 / RATE)

    async def delete(self, study: str) -> None:
        url = own_url(self.services.amqp_url, "api")
        async with open_broker(url, service="api") as broker:
            asked = RemoveStudy(job_id=new_message_id(), action="delete", study_instance_uid=study)
            await broker.publish(asked)

    async def state(self) -> dict[str, tuple[str, str, str]]:
        """Return digest, study and state of the study of each instance."""
        rows = await self.rows(
            "SELECT i.sop_instance_uid AS uid, encode(i.sha256, 'hex') AS sha256,"
            " s.study_instance_uid AS study, s.status = 'deleted' AS gone FROM index.instance i"
            " JOIN index.series e ON e.id = i.series_id JOIN index.study s ON s.id = e.study_id"
        )
        return {row["uid"]: (row["sha256"], row["study"], str(row["gone"])) for row in rows}

    async def waiting(self) -> int:
        (row,) = await self.rows(
            "SELECT (SELECT count(*) FROM index.replication_due) + (SELECT count(*) FROM"
            " index.replication_told WHERE state IN ('waiting', 'working'))"
            " + (SELECT count(*) FROM index.edit WHERE state IN ('PENDING', 'EDITING', 'RETRYING'))"
            " + (SELECT count(*) FROM index.outbox WHERE type LIKE 'dicom.instances.stored%')"
        )
        return int(row[0])


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


async def _site(stack: AsyncExitStack, made: Site, store: Server, peer: str) -> None:
    services = made.services
    await prepare_database(services.superuser_url, "ingest", "metadata", "api")
    services.extra |= {
        "REPLICATION_SITE": made.name,
        "REPLICATION_URL": store.url(made.name, port=made.link.port, more="&attempts=1"),
        "REPLICATION_PEER": peer,
        "REPLICATION_PEER_URL": store.url(peer),
        "RETENTION_YEARS": "0",
        "LOG_LEVEL": "INFO",
    }
    async with await aio_pika.connect(services.amqp_url) as connection:
        channel = await connection.channel()
        for queue in WORK_QUEUES:  # those of services that do not run here: what is told is taken
            await declare(channel, queue)
    stack.push_async_callback(services.stop)
    await services.start("metadata", "ingest")


@pytest.mark.req("STO-07")
async def test_two_sites_agree_after_they_were_apart_under_load(
    postgres_server: Any, rabbitmq_server: Any, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        store = stack.enter_context(moto(tmp_path))
        sites: list[Site] = []
        for name in ("north", "south"):
            database, broker = await stack.enter_async_context(
                _engines(postgres_server, rabbitmq_server)
            )
            link = await stack.enter_async_context(proxy_to(store.port))
            home = tmp_path / name
            home.mkdir()
            sites.append(Site(name, Services(home, database, broker), link))
        north, south = sites
        south.services.secrets = north.services.secrets
        for made, peer in ((north, "south"), (south, "north")):
            await _site(stack, made, store, peer)
        studies, disputed = [new_uid() for _ in range(STUDIES)], new_uid()
        await asyncio.to_thread(north.send, disputed)

        ending = asyncio.Event()
        loads = [asyncio.create_task(one.load(studies, ending)) for one in sites]
        await until(lambda: _has(south, disputed), "the first object", limit=60)
        for one in sites:  # from now on nobody gets through
            one.link.target = free_port()
            one.link.cut(reset=True)
        await north.delete(disputed)
        await asyncio.to_thread(south.send, disputed)
        await lasting(APART)
        behind = [await one.waiting() for one in sites]
        assert all(behind), behind
        for one in sites:
            one.link.target = store.port
        joined = time.monotonic()
        await lasting(APART / 6)  # the load goes on
        ending.set()
        await asyncio.gather(*loads)

        async def drained() -> bool:
            return sum([await one.waiting() for one in sites]) == 0

        await until(drained, "lag drains", limit=60 + APART, poll=0.5)
        took = time.monotonic() - joined

        async def agree() -> bool:
            return await north.state() == await south.state()

        await until(agree, "both have the same", limit=60, poll=0.5)
        state, sent = await north.state(), north.stored | south.stored
        lost = sent - state.keys()
        conflicts = [
            await one.rows("SELECT FROM index.conflict WHERE kind = 'instance'") for one in sites
        ]
        words = [
            await one.rows(
                "SELECT study_instance_uid, keyword, at, site FROM"
                " index.replication_said ORDER BY 1, 2"
            )
            for one in sites
        ]
        print(
            f"apart {APART:.0f} s: {len(sent)} objects, {north.edits + south.edits} edits;"
            f" behind when joined: {behind}; drained in {took:.1f} s of which {APART / 6:.0f} s"
            f" under load; lost {len(lost)}, doubled {sum(map(len, conflicts))}"
        )
        assert lost == set()
        assert state.keys() == sent, "nothing that nobody has sent"
        assert conflicts == [[], []], "no object twice"
        assert words[0] == words[1]
        assert not any(one[2] == "True" for one in state.values()), "what went on has stayed"


async def _has(site: Site, study: str) -> bool:
    return bool(await site.rows("SELECT FROM index.study WHERE study_instance_uid = $1", study))
