"""P5, P8 and P10 of the targets: how soon objects are found, in how large an index; what a large
object takes of memory.
"""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from darkroom_common.objects.store import FileSystemStore
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import BlindIndex, PhiKeys, decode_key
from darkroom_common.postgres.pool import open_database
from darkroom_local.engines.ports import LOOPBACK
from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_metadata.indexing.indexer import Indexer
from darkroom_metadata.indexing.repository import IndexRepository
from darkroom_metadata.indexing.rows import RowWriter
from tests.bench import report
from tests.bench.plans import SETTINGS, reads
from tests.bench.report import QUICK, Table
from tests.bench.spent import family, memory, of_tree
from tests.bench.web_clients import Client, Request, rate
from tests.integration.metadata.test_indexer import Bench
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.dicom_peer import Association
from tests.support.headers import reading_here
from tests.support.services import WITH_SCHEMA, Services, prepare_database, role_url
from tests.support.waiting import until

EXPLICIT = "1.2.840.10008.1.2.1"
EVERY = ("metadata", "transmit", "print", "api", "licensing", "ingest")
LEVELS = [int(n) for n in os.environ.get("BENCH_P8", "10000,1000000").split(",")]
PER_STUDY = 250
POINTED = "by StudyInstanceUID"
CLIENTS = 10
SMALL = 1_000_000
"""Instances in an index of which a table may be read whole."""
TABLES: list[Table] = []
NOTE = "PostgreSQL fsyncs. Clients, services, RabbitMQ and PostgreSQL share the cores."


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    """Write the section when all is measured."""
    yield
    report.write("Index and memory", NOTE, TABLES)


def table(title: str, unit: str) -> Table:
    made = Table(title, unit)
    TABLES.append(made)
    return made


@pytest.fixture
async def postgres(engine_directory: Path) -> AsyncIterator[PrivatePostgres]:
    settings = {"shared_buffers": "512MB", "max_wal_size": "8GB", "maintenance_work_mem": "512MB"}
    settings |= SETTINGS
    server = PrivatePostgres(engine_directory / "postgres", fsync=True, settings=settings)
    async with server.running():
        yield server


@pytest.fixture
async def services(
    tmp_path: Path, amqp_url: str, postgres: PrivatePostgres
) -> AsyncIterator[Services]:
    await prepare_database(postgres.superuser_url(), *WITH_SCHEMA)
    made = Services(tmp_path, postgres.superuser_url(), amqp_url)
    made.extra["LOG_LEVEL"] = "INFO"
    yield made
    await made.stop()


@asynccontextmanager
async def logged_in(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    base = f"http://{LOOPBACK}:{services.http_port}"
    who = {"username": "admin", "password": services.admin_password}
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        answer = await client.post("/api/v1/auth/login", json=who)
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def test_p5_from_the_answer_to_found(services: Services) -> None:
    """At 100 objects a second, every tenth is looked for by QIDO until it is found."""
    found = table("P5: lag from 0x0000 to found by QIDO, at 100 objects/s", "ms")
    await services.start("metadata", "ingest", "api")
    loop = asyncio.get_running_loop()
    lags: list[float] = []
    seconds = 3 if QUICK else 30
    study = new_uid()
    body = [a_data_set(StudyInstanceUID=study, InstanceNumber=n) for n in range(seconds * 100)]
    encoded = [(str(one.SOPInstanceUID), encode(one)) for one in body]

    async def look(client: httpx.AsyncClient, uid: str, answered: float) -> None:
        async def came() -> bool:
            return bool(
                (await client.get("/dicom-web/instances", params={"SOPInstanceUID": uid})).text[
                    1:-1
                ]
            )

        await until(came, poll=0.01)
        lags.append((time.perf_counter() - answered) * 1000)

    def store(association: Association, uid: str, data: bytes) -> float:
        assert association.store(1, CT, uid, data) == 0
        return time.perf_counter()

    async with logged_in(services) as client, asyncio.TaskGroup() as looking:
        with (
            ThreadPoolExecutor(1) as thread,
            Association(services.dicom_port, {1: (CT, EXPLICIT)}) as association,
        ):
            began = time.perf_counter()
            for number, (uid, data) in enumerate(encoded):
                await asyncio.sleep(max(0.0, began + number / 100 - time.perf_counter()))
                answered = await loop.run_in_executor(thread, store, association, uid, data)
                if number % 10 == 0:
                    looking.create_task(look(client, uid, answered))
    found.add("Darkroom", "p50", statistics.median(lags))
    found.add("Darkroom", "p95", percentile(lags, 0.95))
    found.add("Darkroom", "worst", max(lags))


# One template study, copied by SQL with identifiers and tokens of its own for each copy.
_COPY = """
WITH patients AS (
  INSERT INTO index.patient (patient_key, phi, phi_key, blind)
  SELECT sha256(('p' || g)::bytea), t.phi, t.phi_key, ARRAY(
    SELECT substring(sha256((g || '/' || k)::bytea) for 16)
    FROM generate_series(1, cardinality(t.blind)) k)
  FROM (SELECT * FROM index.patient WHERE id = $1) t, generate_series($2::bigint, $3::bigint) g
  RETURNING id),
studies AS (
  INSERT INTO index.study (patient_id, study_instance_uid, study_date, study_time, modalities,
    sop_classes, calling_ae_titles, series_count, instance_count, byte_count, status, phi,
    phi_key, blind)
  SELECT p.id, '2.25.7.' || p.id, date '2015-01-01' + (p.id % 3650)::int, t.study_time,
    t.modalities, t.sop_classes, t.calling_ae_titles, 1, $4, t.byte_count, 'complete', t.phi,
    t.phi_key, ARRAY(SELECT substring(sha256((p.id || '-' || k)::bytea) for 16)
      FROM generate_series(1, cardinality(t.blind)) k)
  FROM (SELECT * FROM index.study WHERE patient_id = $1) t, patients p RETURNING id),
series AS (
  INSERT INTO index.series (study_id, series_instance_uid, modality, series_number,
    instance_count, phi, phi_key, blind)
  SELECT s.id, '2.25.8.' || s.id, t.modality, 1, $4, t.phi, t.phi_key, ARRAY(
    SELECT substring(sha256((s.id || '+' || (k + s.id % 50))::bytea) for 16)
    FROM generate_series(1, cardinality(t.blind)) k)
  FROM (SELECT e.* FROM index.series e JOIN index.study s ON s.id = e.study_id
        WHERE s.patient_id = $1) t, studies s RETURNING id)
INSERT INTO index.instance (series_id, sop_instance_uid, sop_class_uid, transfer_syntax_uid,
  instance_number, object_key, sha256, size, data_set_offset, receipt, calling_ae_title, header,
  phi_key, received_at, head_sha256)
SELECT e.id, '2.25.9.' || e.id || '.' || n, t.sop_class_uid, t.transfer_syntax_uid, n,
  md5(e.id::text || n) || '/' || n || '.dcm', sha256((e.id || '.' || n)::bytea), t.size,
  t.data_set_offset, t.receipt, t.calling_ae_title, t.header, t.phi_key, t.received_at,
  t.head_sha256
FROM (SELECT i.* FROM index.instance i JOIN index.series e ON e.id = i.series_id
      JOIN index.study s ON s.id = e.study_id WHERE s.patient_id = $1) t, series e,
  generate_series(1, $4) n
"""


class Growing:
    """An index that grows, with an indexer that writes to it."""

    def __init__(self, bench: Bench, url: str) -> None:
        self.bench = bench
        self.url = url
        self.rows = 1

    async def grow(self, connection: "asyncpg.Connection[Any]", rows: int) -> None:
        """Copy the template until there are so many instances."""
        template = await connection.fetchval("SELECT min(id) FROM index.patient")
        while self.rows < rows:
            studies = min(200, max(1, (rows - self.rows) // PER_STUDY))
            first = self.rows
            await connection.execute(
                _COPY, template, first, first + studies - 1, PER_STUDY, timeout=600
            )
            self.rows += studies * PER_STUDY
        await connection.execute("VACUUM ANALYZE", timeout=3600)
        await connection.execute("CHECKPOINT", timeout=3600)

    async def insert_rate(self) -> float:
        """Index some batches of objects as the service does; return objects a second."""
        batches = []
        for _ in range(2 if QUICK else 10):
            study = new_uid()
            images = [
                a_data_set(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", PatientID=study)
                for _ in range(200)
            ]
            batches.append([self.bench.stored(one) for one in images])
        began = time.perf_counter()
        for batch in batches:
            await self.bench.index(*batch)
        return sum(map(len, batches)) / (time.perf_counter() - began)


async def test_p8_growth(services: Services, postgres: PrivatePostgres) -> None:
    latency = table("P8: QIDO in an index of so many instances, p95 of one client", "ms")
    middle = table("P8: the same, median", "ms")
    processor = table("P8: processor time of such a search, api and PostgreSQL", "ms")
    touched = table("P8: rows of the index that one such search reads", "rows")
    inserts = table("P8: insert rate of one indexer, batches of 200", "objects/s")
    reading = table(f"P8: {CLIENTS} clients reading, so many instances behind", "requests/s")
    keys = PhiKeys.parse(services.secrets["PHI_KEYS"])
    blind = BlindIndex(decode_key(services.secrets["BLIND_INDEX_KEY"], setting="BLIND_INDEX_KEY"))
    services.store.mkdir(exist_ok=True)
    await services.start("api")
    connection = await asyncpg.connect(postgres.superuser_url())
    api = services.running["api"].process
    assert api is not None
    assert postgres.child is not None
    pids = [api.pid, postgres.child.pid]
    url = role_url(postgres.superuser_url(), "darkroom_metadata")
    with ThreadPoolExecutor(2) as executor:
        async with open_database(url, service="bench") as database, logged_in(services) as client:
            indexer = Indexer(
                database,
                reading_here(FileSystemStore(services.store), blind, executor),
                IndexRepository(RowWriter(keys)),
                Outbox("index"),
            )
            bench = Bench(None, indexer, services.store)  # type: ignore[arg-type]
            growing = Growing(bench, url)
            template = a_data_set(PatientID="TEMPLATE")
            await bench.index(bench.stored(template))
            for level in [1000] if QUICK else LEVELS:
                await growing.grow(connection, level)
                setting = f"10^{len(str(level)) - 1}"
                inserts.add("Darkroom", setting, await growing.insert_rate())
                (copied,) = await connection.fetch(
                    "SELECT s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid"
                    " FROM index.study s JOIN index.series e ON e.study_id = s.id"
                    " JOIN index.instance i ON i.series_id = e.id"
                    " WHERE s.study_instance_uid LIKE '2.25.7.%' ORDER BY s.id DESC LIMIT 1"
                )
                study, series, instance = copied
                queries: dict[str, tuple[str, dict[str, str]]] = {
                    POINTED: ("/studies", {"StudyInstanceUID": study}),
                    "by PatientID": ("/studies", {"PatientID": "TEMPLATE"}),
                    "by PatientName with *": ("/studies", {"PatientName": "NOBODY*"}),
                    "limit=20": ("/studies", {"limit": "20"}),
                    "by StudyDate and modality": (
                        "/studies",
                        {"StudyDate": "20180101-20180105", "ModalitiesInStudy": "CT"},
                    ),
                    "instances of a series": (f"/studies/{study}/series/{series}/instances", {}),
                    "by AccessionNumber": ("/studies", {"AccessionNumber": "NOBODY"}),
                    "by words of a name": (
                        "/studies",
                        {"PatientName": "no body", "fuzzymatching": "true"},
                    ),
                    "series of a day": (
                        "/series",
                        {"StudyDate": "20180101", "Modality": "CT", "limit": "20"},
                    ),
                    "by SOPInstanceUID": ("/instances", {"SOPInstanceUID": instance}),
                    "far page": ("/studies", {"limit": "20", "offset": "20"}),
                }
                for name, (path, parameters) in queries.items():
                    took = []
                    before = sum(map(of_tree, pids))
                    for each in range(10 if QUICK else 100):
                        if name == POINTED:  # each for the first time
                            parameters["limit"] = str(each + 1)
                        began = time.perf_counter()
                        answer = await client.get(f"/dicom-web{path}", params=parameters)
                        assert answer.status_code in (200, 204), answer.text
                        took.append((time.perf_counter() - began) * 1000)
                    spent = 1000 * (sum(map(of_tree, pids)) - before) / len(took)
                    processor.add(name, setting, spent)
                    middle.add(name, setting, statistics.median(took))
                    latency.add(name, setting, percentile(took, 0.95))
                    ask = partial(client.get, f"/dicom-web{path}", params=parameters)
                    read = await reads(connection, postgres.log, ask)
                    touched.add(name, setting, read.rows)
                    assert not read.whole or level < SMALL, (name, read)
                for name, figure in (await read_at_once(services, client, connection)).items():
                    reading.add(name, setting, figure)
    await connection.close()


async def read_at_once(
    services: Services, client: httpx.AsyncClient, connection: "asyncpg.Connection[Any]"
) -> dict[str, float]:
    """Return the requests a second of some clients, of objects and studies from all over the index.

    Objects are those that the indexer has written; the others are rows alone.
    """
    objects = await connection.fetch(
        "SELECT s.study_instance_uid AS study, e.series_instance_uid AS series,"
        " i.sop_instance_uid AS instance FROM index.study s JOIN index.series e"
        " ON e.study_id = s.id JOIN index.instance i ON i.series_id = e.id"
        " WHERE s.study_instance_uid NOT LIKE '2.25.7.%' ORDER BY i.id DESC LIMIT 400"
    )
    studies = await connection.fetch(
        "SELECT study_instance_uid AS study FROM index.study ORDER BY md5(id::text) LIMIT 400"
    )
    json, octets = "application/dicom+json", "multipart/related; type=application/octet-stream"
    files = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    at = [
        f"/dicom-web/studies/{one['study']}/series/{one['series']}/instances/{one['instance']}"
        for one in objects
    ]
    asked: dict[str, list[Request]] = {
        "instances": [(path, {"Accept": files}) for path in at],
        "frames": [(f"{path}/frames/1", {"Accept": octets}) for path in at],
        "metadata of an instance": [(f"{path}/metadata", {"Accept": json}) for path in at],
        "search by StudyInstanceUID": [
            (f"/dicom-web/studies?StudyInstanceUID={one['study']}", {"Accept": json})
            for one in studies
        ],
        "series of a study": [
            (f"/dicom-web/studies/{one['study']}/series", {"Accept": json}) for one in studies
        ],
        "search, limit=20": [("/dicom-web/studies?limit=20", {"Accept": json})] * 200,
    }
    who = {"Authorization": client.headers["Authorization"]}
    found = {}
    for name, requests in asked.items():
        many = requests * (1 if QUICK else 3)
        connect = partial(Client, services.http_port, who)
        found[name] = await asyncio.to_thread(rate, connect, many, CLIENTS)
    return found


async def test_p10_a_large_object(services: Services) -> None:
    found = table("P10: memory of ingest", "MB")
    await services.start("ingest")
    process = services.running["ingest"].process
    assert process is not None
    pids = family(process.pid)
    found.add("ingest", "idle", memory(pids))
    size = (64 if QUICK else 2048) << 20
    stop = asyncio.Event()
    seen: list[float] = []

    async def watch() -> None:
        while not stop.is_set():
            seen.append(memory(pids))
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    await asyncio.to_thread(send_large, services.dicom_port, size)
    stop.set()
    await watching
    found.add("ingest", "most while 2 GB arrive", max(seen))


def send_large(port: int, size: int) -> None:
    """Send one image whose pixels are so many bytes, made as they are sent."""
    image = a_data_set(NumberOfFrames=size >> 19, PixelData=b"")
    beginning = encode(image)
    head = beginning[: beginning.index(b"\xe0\x7f\x10\x00")]
    pixels = b"\xe0\x7f\x10\x00OW\x00\x00" + size.to_bytes(4, "little")
    chunk = os.urandom(1 << 20)

    def parts() -> Iterator[bytes]:
        yield head + pixels
        for _ in range(size >> 20):
            yield chunk

    with Association(port, {1: (CT, EXPLICIT)}, timeout=300) as association:
        status = association.store_large(1, CT, str(image.SOPInstanceUID), parts())
        assert status == 0, hex(status)
