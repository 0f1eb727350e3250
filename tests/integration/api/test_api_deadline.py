"""How long anybody waits: for engines that hang, for searches that cost much, for slow clients."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import httpx

from darkroom_common.clock import monotonic
from darkroom_local.engines.postgres import PrivatePostgres
from tests.integration.api.conftest import Api, running_api
from tests.support.builders import a_data_set
from tests.support.http_line import pace
from tests.support.services import Services

LIMIT = 11.0
"""Seconds that a request may take, and one more."""
IN_TIME = 30.0
"""What a busy machine makes of them; who hangs for good does not end in these, either."""
PACS = {"ae_title": "PACS", "host": "192.0.2.1", "port": 104}


def processes_of(data: Path) -> list[int]:
    """Return the processes of the PostgreSQL in a data directory."""
    first = int((data / "postmaster.pid").read_text().split()[0])
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rsplit(")")[-1].split()[1]
                )
            except OSError:  # it has ended
                continue
    return [first, *(pid for pid, parent in parents.items() if parent == first)]


@contextmanager
def hanging(data: Path) -> Iterator[None]:
    """Stop every process of a PostgreSQL for the length of a block; the ports stay open."""
    stopped = processes_of(data)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)


async def asked(
    client: httpx.AsyncClient, method: str, path: str, **more: object
) -> httpx.Response:
    """Ask, and check that the answer comes in time."""
    began = monotonic()
    answer = await client.request(method, path, **more)  # type: ignore[arg-type]
    assert monotonic() - began < IN_TIME, (method, path)
    return answer


async def test_a_database_that_hangs_is_503_in_time_and_nothing_stays_behind(
    tmp_path: Path, own_postgres: PrivatePostgres, amqp_url: str
) -> None:
    services = Services(tmp_path, own_postgres.superuser_url(), amqp_url)
    try:
        async with running_api(services) as api:
            for _ in range(3):  # the pool has connections
                await asyncio.gather(*(api.client.get("/api/v1/studies") for _ in range(10)))
            with hanging(own_postgres.data):
                answers = await asyncio.gather(
                    *(asked(api.client, "GET", "/dicom-web/studies") for _ in range(15)),
                    *(asked(api.client, "GET", "/api/v1/destinations") for _ in range(5)),
                    *(asked(api.client, "GET", "/api/v1/print/jobs") for _ in range(5)),
                    asked(api.client, "GET", "/api/v1/auth/me"),
                    asked(api.client, "PUT", "/api/v1/destinations/PACS", json=PACS),
                    asked(api.client, "GET", "/dicom-web/studies/1.2/metadata"),
                    asked(
                        api.anonymous,
                        "POST",
                        "/api/v1/auth/login",
                        json={"username": "admin", "password": "x"},
                    ),
                )
                assert {answer.status_code for answer in answers} == {503}
                assert {answer.headers["retry-after"] for answer in answers} == {"5"}
                assert {answer.json()["code"] for answer in answers} <= {3001, 5003}
                assert (await asked(api.client, "GET", "/livez")).status_code == 200
                assert (await asked(api.client, "GET", "/readyz")).status_code == 503
            began = monotonic()
            while (await api.client.get("/api/v1/studies")).status_code != 200:
                assert monotonic() - began < 30
            assert (await api.client.get("/readyz")).status_code == 200
    finally:
        await services.stop()


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that the kernel takes connections for, and nobody else."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        port: int = listener.getsockname()[1]
        yield port


async def test_a_broker_that_hangs_is_503_in_time(services: Services) -> None:
    with silent_port() as port:
        services.amqp_url = f"amqp://guest:guest@127.0.0.1:{port}/"
        async with running_api(services) as api:
            answers = await asyncio.gather(
                asked(api.client, "POST", "/api/v1/destinations", json={"name": "PACS", **PACS}),
                asked(api.client, "DELETE", "/api/v1/printers/FILM"),
                asked(api.client, "PUT", "/api/v1/destinations/PACS", json=PACS),
            )
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.headers["retry-after"] for answer in answers} == {"5"}
            assert (await asked(api.client, "GET", "/readyz")).status_code == 200


TOO_MUCH = (
    "PatientName=" + "=".join(["*a*"] * 1000),
    "PatientName=a%3Db%3Dc%3Dd",
    "PatientName=" + "*a" * 50 + "*",
    "PatientName=" + "a" * 5000,
    "StudyInstanceUID=" + ",".join(["1.2"] * 1000),
    "PatientID=" + "%5C".join(["1"] * 1000),
    "PatientName=" + "+".join(["a"] * 100) + "&fuzzymatching=true",
    "offset=99999999",
    "&".join(
        f"{name}=*a*"
        for name in (
            "PatientName",
            "PatientID",
            "AccessionNumber",
            "StudyDescription",
            "StudyID",
            "ReferringPhysicianName",
            "PatientComments",
            "InstitutionName",
            "PatientSex",
            "StationName",
            "SeriesDescription",
            "BodyPartExamined",
            "ProtocolName",
        )
    ),
)


async def test_what_would_cost_too_much_is_refused_before_it_is_asked(api: Api) -> None:
    for query in TOO_MUCH:
        answer = await api.client.get(f"/dicom-web/series?{query}")
        assert answer.status_code == 400, query
        assert answer.json()["code"] == 4001


@asynccontextmanager
async def locked(api: Api, table: str) -> AsyncIterator[None]:
    """Keep every reader of a table waiting for the length of a block."""
    connection = await asyncpg.connect(api.services.superuser_url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def stalled(api: Api) -> bytes:
    """Send the beginning of a body and no more; return all of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.services.http_port)
    head = "POST /api/v1/rules HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    head += f"Authorization: {api.client.headers['authorization']}\r\nContent-Length: 99\r\n\r\n"
    writer.write(head.encode() + b"{")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_searches_that_hang_leave_all_else_alone(api: Api) -> None:
    await api.seed.add(a_data_set())
    slow_client = asyncio.create_task(stalled(api))
    async with locked(api, "index.study"):
        searches = [
            asyncio.create_task(asked(api.client, "GET", "/dicom-web/studies")) for _ in range(30)
        ]
        began = monotonic()
        while monotonic() - began < 4:
            for path in ("/readyz", "/api/v1/auth/me", "/api/v1/transmit/jobs"):
                answer = await api.client.get(path)
                assert answer.status_code == 200, answer.text
        statuses = [(await search).status_code for search in searches]
    assert set(statuses) == {503}
    assert (await api.client.get("/dicom-web/studies")).status_code == 200
    log = api.services.running["api"].log.read_text()
    assert "http.search_too_long" in log
    assert (await slow_client).startswith(b"HTTP/1.1 408 ")


async def test_readiness_does_not_wait_for_the_pool(api: Api) -> None:
    async with locked(api, "print.job"):
        lists = [
            asyncio.create_task(asked(api.client, "GET", "/api/v1/print/jobs")) for _ in range(40)
        ]
        began = monotonic()
        while monotonic() - began < 3:
            assert (await api.client.get("/readyz")).status_code == 200
        assert {(await one).status_code for one in lists} == {503}


async def test_an_answer_that_goes_on_is_not_cut_by_the_clock(api: Api) -> None:
    data_set = a_data_set(Rows=4096, Columns=4096, PixelData=bytes(64 << 20))
    await api.seed.add(data_set)
    url = (
        f"/dicom-web/studies/{data_set.StudyInstanceUID}/series/{data_set.SeriesInstanceUID}"
        f"/instances/{data_set.SOPInstanceUID}"
    )
    began = monotonic()
    async with api.client.stream("GET", url) as answer:
        received = 0
        async for chunk in answer.aiter_raw(65536):
            received += len(chunk)
            while monotonic() - began < 12 * received / (64 << 20):
                await pace()
        assert received == int(answer.headers["content-length"])
    assert monotonic() - began > LIMIT
