"""C-GET and C-MOVE against Orthanc, interleaved: a CT study is fetched by DCMTK's getscu, and moved
to DCMTK's storescp, which reads and forgets.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from pydicom import dcmread

from darkroom_local.engines.ports import LOOPBACK
from darkroom_local.engines.postgres import PrivatePostgres
from tests.bench import report
from tests.bench.receivers import darkroom, environment, orthanc, orthanc_instances
from tests.bench.report import QUICK, ROUNDS, Table
from tests.bench.senders import Load, make_load, send
from tests.bench.test_send import sink
from tests.support.services import WITH_SCHEMA, Services, prepare_database
from tests.support.waiting import until

COUNT = 50 if QUICK else 500
NOTE = (
    f"Medians of {ROUNDS} interleaved rounds; {COUNT} CT slices of 0.5 MB, stored and indexed"
    " before. DCMTK, which asks and receives, and Orthanc are at their best (TCP_NODELAY, ten"
    " threads), on the same cores."
)
GET = Table("C-GET of a CT study by getscu --ignore", "objects/s", against="Orthanc")
MOVE = Table("C-MOVE of a CT study to storescp --ignore", "objects/s", against="Orthanc")
MODELS = {"get": "getscu", "move": "movescu"}


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    yield
    report.write("Retrieval by DIMSE", NOTE, [GET, MOVE])


@pytest.fixture
async def postgres(engine_directory: Path) -> AsyncIterator[PrivatePostgres]:
    server = PrivatePostgres(engine_directory / "postgres", fsync=True)
    async with server.running():
        yield server


@pytest.fixture
async def services(
    tmp_path: Path, amqp_url: str, postgres: PrivatePostgres
) -> AsyncIterator[Services]:
    await prepare_database(postgres.superuser_url(), *WITH_SCHEMA)
    made = Services(tmp_path / "darkroom", postgres.superuser_url(), amqp_url)
    made.extra["LOG_LEVEL"] = "INFO"
    yield made
    await made.stop()


async def asked(how: str, port: int, study: str) -> float:
    """Have a study retrieved by a program of DCMTK; return the seconds it took."""
    more = ("--ignore",) if how == "get" else ("-aem", "SINK")
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        f"/usr/bin/{MODELS[how]}",
        *("-S", "-aet", "BENCH", "-aec", "DARKROOM", "--max-pdu", "131072", *more),
        *("-k", "0008,0052=STUDY", "-k", f"0020,000D={study}", LOOPBACK, str(port)),
        env=environment(best=True),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    took = time.perf_counter() - began
    assert process.returncode == 0, said[-2000:]
    return took


@asynccontextmanager
async def ours(services: Services, load: Load, sink_port: int) -> AsyncIterator[int]:
    """Darkroom with the load, BENCH as a node that may retrieve, and SINK as a destination."""
    services.directory.mkdir(exist_ok=True)
    listed = services.directory / "destinations.json"
    one = {"ae_title": "SINK", "host": LOOPBACK, "port": sink_port, "echo": False}
    listed.write_text(json.dumps({"destinations": {"sink": one}}))
    services.extra["DESTINATIONS_FILE"] = str(listed)
    async with darkroom(services, "ingest", "metadata", "transmit") as receiver:
        db = await asyncpg.connect(services.superuser_url)
        try:
            await db.execute(
                "INSERT INTO ingest.calling_ae (ae_title, host_rule, query_rule, retrieve_rule)"
                " VALUES ('BENCH', 'any', 'any', 'any') ON CONFLICT DO NOTHING"
            )
            await send(load, receiver.port, best=True)

            async def is_indexed() -> bool:
                found = await db.fetchval("SELECT count(*) FROM index.instance")
                return bool(found == load.objects)

            await until(is_indexed, limit=120)
        finally:
            await db.close()
        yield receiver.port


@asynccontextmanager
async def theirs(directory: Path, load: Load, sink_port: int) -> AsyncIterator[int]:
    """Orthanc with the load, and SINK as a modality of it."""
    async with orthanc(directory, best=True) as receiver:
        await send(load, receiver.port, best=True)

        async def is_there() -> bool:
            return await asyncio.to_thread(orthanc_instances, receiver) == load.objects

        await until(is_there, limit=120)
        url = f"http://{LOOPBACK}:{receiver.http_port}/modalities"
        async with httpx.AsyncClient(timeout=20) as client:
            for name, node in (
                ("sink", {"AET": "SINK", "Host": LOOPBACK, "Port": sink_port}),
                ("bench", {"AET": "BENCH", "Host": LOOPBACK, "Port": 1, "AllowGet": True}),
            ):
                (await client.put(f"{url}/{name}", json=node)).raise_for_status()
        yield receiver.port


async def test_c_get_and_c_move(services: Services, tmp_path: Path) -> None:
    load = make_load(tmp_path / "load", objects=COUNT, associations=1, side=512)
    study = str(dcmread(next(load.folders[0].iterdir()), stop_before_pixels=True).StudyInstanceUID)
    async with AsyncExitStack() as stack:
        sink_port = await stack.enter_async_context(sink(best=True))
        ports = {
            "Orthanc": await stack.enter_async_context(
                theirs(tmp_path / "orthanc", load, sink_port)
            ),
            "Darkroom": await stack.enter_async_context(ours(services, load, sink_port)),
        }
        for _ in range(ROUNDS):
            for how, found in (("get", GET), ("move", MOVE)):
                for who, port in ports.items():
                    took = await asked(how, port, study)
                    found.add(who, "1 association", load.objects / took)
