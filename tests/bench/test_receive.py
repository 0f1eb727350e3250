"""P1 to P4 of the targets: receiving, against Orthanc and DCMTK, interleaved."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from darkroom_common.topology import render_policies
from darkroom_local.engines.postgres import PrivatePostgres
from tests.bench import report
from tests.bench.receivers import Receiver, darkroom, orthanc, orthanc_instances, storescp
from tests.bench.report import QUICK, ROUNDS, Table
from tests.bench.senders import Load, NotAllAccepted, make_load, send
from tests.bench.spent import SENDER, since, spent
from tests.support.services import Services, declare_index_queue, prepare_database
from tests.support.waiting import until

Opener = Callable[[], AbstractAsyncContextManager[Receiver]]
TABLES: list[Table] = []
NOTE = (
    f"Medians of {ROUNDS} interleaved rounds. *Best*: `TCP_NODELAY=1` on both ends, a thread for "
    "each association in Orthanc. *As shipped*: Debian's settings. Darkroom runs with one "
    "setting: fsync before each answer, all checks and limits, relay and RabbitMQ at work beside "
    "it. Senders are DCMTK's storescu, one process an association, on the same cores. Of what "
    "receiving takes for a slice of 0.5 MB, 0.4 ms are SHA-256 and 0.25 ms Python (parser, header "
    "walk, span, log line, receipt); the rest is the kernel's: copies from the socket into the "
    "page cache, fdatasync, rename and the directory's fsync, for which storescp, which syncs "
    "nothing, has no counterpart."
)


async def _indexed(connection: asyncpg.Connection, objects: int) -> bool:
    return bool(await connection.fetchval("SELECT count(*) FROM index.instance") >= objects)


async def _taken(receiver: Receiver, objects: int) -> bool:
    return bool(await asyncio.to_thread(orthanc_instances, receiver) >= objects)


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    """Write the page when all is measured."""
    yield
    report.write("Receiving", NOTE, TABLES)


@pytest.fixture
def slices(tmp_path: Path) -> dict[int, Load]:
    """500 CT slices of 0.5 MB, for one association and for ten."""
    count = 50 if QUICK else 500
    return {
        n: make_load(tmp_path / f"load{n}", objects=count, associations=n, side=512)
        for n in (1, 10)
    }


@pytest.fixture
async def services(tmp_path: Path, amqp_url: str) -> AsyncIterator[Services]:
    """Ingest, which needs no database; what it publishes waits in the queue of the index."""
    await declare_index_queue(amqp_url)
    made = Services(tmp_path / "darkroom", "postgresql://nobody@127.0.0.1:1/none", amqp_url)
    made.extra["LOG_LEVEL"] = "INFO"
    yield made
    await made.stop()


def table(title: str, unit: str) -> Table:
    made = Table(title, unit, against="Orthanc")
    TABLES.append(made)
    return made


async def compare(
    found: Table, openers: list[Opener], loads: dict[int, Load], *, best: bool, rounds: int = ROUNDS
) -> None:
    """Measure each receiver with each load, one round after the other."""
    for _ in range(rounds):
        for opener in openers:
            for associations, load in loads.items():
                async with opener() as receiver:
                    try:
                        took = await send(load, receiver.port, best=best)
                    except NotAllAccepted as error:
                        if receiver.name == "Darkroom":
                            raise
                        found.leave_out(receiver.name, str(error))
                        continue
                    amount = load.megabytes if found.unit == "MB/s" else load.objects
                    found.add(receiver.name, f"{associations} associations", amount / took)


async def test_p1_ct_slices_from_the_best_senders(
    tmp_path: Path, services: Services, slices: dict[int, Load]
) -> None:
    openers: list[Opener] = [
        lambda: darkroom(services, "ingest"),
        lambda: orthanc(tmp_path / "orthanc", best=True),
        lambda: orthanc(tmp_path / "orthanc", best=True, sync=False),
        lambda: storescp(tmp_path / "storescp", best=True),
    ]
    found = table("P1: CT slices of 0.5 MB, senders at their best", "objects/s")
    await compare(found, openers, slices, best=True)


async def test_p2_ct_slices_from_senders_as_shipped(
    tmp_path: Path, services: Services, slices: dict[int, Load]
) -> None:
    openers: list[Opener] = [
        lambda: darkroom(services, "ingest"),
        lambda: orthanc(tmp_path / "orthanc", best=False),
        lambda: storescp(tmp_path / "storescp", best=False),
    ]
    found = table("P2: CT slices of 0.5 MB, senders as shipped", "objects/s")
    await compare(found, openers, slices, best=False, rounds=min(ROUNDS, 2))


async def test_p3_objects_of_50_mb(tmp_path: Path, services: Services) -> None:
    count = 2 if QUICK else 8
    loads = {1: make_load(tmp_path / "load", objects=count, associations=1, side=5000)}
    openers: list[Opener] = [
        lambda: darkroom(services, "ingest"),
        lambda: orthanc(tmp_path / "orthanc", best=True),
        lambda: storescp(tmp_path / "storescp", best=True),
    ]
    found = table("P3: objects of 50 MB, senders at their best", "MB/s")
    await compare(found, openers, loads, best=True)


async def test_p4_first_byte_to_queryable(
    tmp_path: Path, engine_directory: Path, rabbitmq_server: Any, slices: dict[int, Load]
) -> None:
    """The whole pipeline; a database that fsyncs. Queryable: the rows are committed."""
    found = table("P4: CT slices of 0.5 MB, first byte to queryable", "objects/s")
    profile = Table("Where the time of P4 goes: processor time, user and system", "ms per object")
    TABLES.append(profile)
    whole = table("P13: processor time of the server, all its processes", "ms per object")
    load = slices[10]
    async with PrivatePostgres(engine_directory / "postgres", fsync=True).running() as server:
        for number in range(ROUNDS):
            name = f"bench{number}"
            connection = await asyncpg.connect(server.superuser_url())
            await connection.execute(f"CREATE DATABASE {name}")
            await connection.close()
            url = server.superuser_url(name)
            await prepare_database(url, "metadata")
            with rabbitmq_server.management() as management:  # what a killed round left stays there
                management.create_vhost(name, render_policies(name))
            services = Services(tmp_path / name, url, rabbitmq_server.url(name))
            services.extra["LOG_LEVEL"] = "INFO"
            connection = await asyncpg.connect(url)
            try:
                async with darkroom(services, "metadata", "ingest") as receiver:
                    before = spent()
                    began = time.perf_counter()
                    await send(load, receiver.port, best=True)
                    await until(partial(_indexed, connection, load.objects), poll=0.005)
                    took = time.perf_counter() - began
                    found.add("Darkroom", "10 associations", load.objects / took)
                    parts = since(before)
                    for kind, seconds in parts.items():
                        profile.add(kind, "10 associations", seconds * 1000 / load.objects)
                    own = sum(parts.values()) - parts[SENDER] - parts.get("Orthanc", 0.0)
                    whole.add("Darkroom", "10 associations", own * 1000 / load.objects)
            finally:
                await connection.close()
            async with orthanc(tmp_path / "orthanc", best=True) as receiver:
                before = spent()
                began = time.perf_counter()
                await send(load, receiver.port, best=True)
                await until(partial(_taken, receiver, load.objects), poll=0.005)
                took = time.perf_counter() - began
                found.add("Orthanc", "10 associations", load.objects / took)
                own = since(before)["Orthanc"]
                whole.add("Orthanc", "10 associations", own * 1000 / load.objects)
