"""P7 of the targets: what a viewer asks of DICOMweb, side by side with Orthanc's."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import httpx
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.pixels import codecs
from darkroom_common.pixels.codecs import Pixels
from darkroom_local.engines.ports import LOOPBACK
from darkroom_local.engines.postgres import PrivatePostgres
from tests.bench import report
from tests.bench.receivers import orthanc
from tests.bench.report import QUICK, ROUNDS, Table
from tests.bench.senders import make_load, section, send
from tests.bench.spent import since, spent
from tests.bench.web_clients import Client, Refused, Request, latency, rate
from tests.support.builders import a_data_set, encode
from tests.support.services import WITH_SCHEMA, Services, prepare_database
from tests.support.waiting import until

OBJECTS: Final = 60 if QUICK else 500
PLUGIN: Final = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CLIENTS: Final = 10
FRAMES: Final = 50 if QUICK else 500
JPEG: Final = "1.2.840.10008.1.2.4.50"
MULTIPART: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OCTETS: Final = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
JSON: Final = "application/dicom+json"
NOTE: Final = (
    f"{OBJECTS} CT slices of 0.5 MB. Orthanc at its best: TCP_NODELAY, ten threads, no accounts."
    " Darkroom asks who it is, commits a row of the audit log for each request before it answers"
    " (durable 50 ms later; PostgreSQL fsyncs), and limits each user; it has as many processes as"
    " `darkroom up` gives it, one a core. Clients share the cores with both. Rendered images"
    " are made anew each time: it keeps none. Slices are of tissue and"
    " bone with the noise of a CT (until 2026-11-27 of nothing but noise of 16 bits, most of which"
    " is the JPEG's time). A search of a study is made again and again; asked for the first time it"
    " is looked for, later the rows that it is of are compared."
)
PARTS: Final = {"Orthanc": ["Orthanc"], "Darkroom": ["api", "PostgreSQL"]}
TABLES: list[Table] = []


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    """Write the section when all is measured."""
    yield
    report.write("DICOMweb", NOTE, TABLES)


@pytest.fixture
async def postgres(engine_directory: Path) -> AsyncIterator[PrivatePostgres]:
    server = PrivatePostgres(
        engine_directory / "postgres", fsync=True, settings={"shared_buffers": "512MB"}
    )
    async with server.running():
        yield server


@pytest.fixture
async def services(
    tmp_path: Path, amqp_url: str, postgres: PrivatePostgres
) -> AsyncIterator[Services]:
    await prepare_database(postgres.superuser_url(), *WITH_SCHEMA)
    made = Services(tmp_path, postgres.superuser_url(), amqp_url)
    made.extra |= {
        "LOG_LEVEL": "INFO",
        "LIMIT_DICOMWEB_BYTES": "100000000000000/hour",
        "RENDER_CACHE_BYTES": "0",
        "HTTP_PROCESSES": str(min(4, os.cpu_count() or 1)),  # as `darkroom up` has it
    }
    yield made
    await made.stop()


async def uids(base: str, headers: dict[str, str]) -> list[str]:
    """Return the paths of all instances, when all are indexed."""
    async with httpx.AsyncClient(base_url=base, timeout=60, headers=headers) as client:

        async def listed() -> list[dict[str, dict[str, list[str]]]] | None:
            answer = await client.get(f"/dicom-web/instances?limit={OBJECTS}")
            found: list[dict[str, dict[str, list[str]]]] = answer.json()
            return found if len(found) == OBJECTS else None

        found = await until(listed, limit=120, retry=(ValueError,))
    return [
        f"/dicom-web/studies/{one['0020000D']['Value'][0]}/series"
        f"/{one['0020000E']['Value'][0]}/instances/{one['00080018']['Value'][0]}"
        for one in found
    ]


def a_film() -> Dataset:
    """Return an object of 500 frames, compressed: an angiogram of 33 s."""
    made = a_data_set(Modality="XA", Rows=512, Columns=512, NumberOfFrames=FRAMES)
    grey = np.frombuffer(section(512), "<u2").reshape(512, 512) >> 4
    plain = Pixels.of(made)
    several = [
        codecs.encode_baseline(np.roll(grey, n, 1).astype(np.uint8), plain, 90) for n in range(8)
    ]
    made.PixelData = encapsulate([several[n % len(several)] for n in range(FRAMES)])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return made


async def keep(name: str, base: str, sent: dict[str, str], film: Dataset) -> None:
    """Store a film by HTTP, and wait until it can be asked for."""
    uid = str(film.SOPInstanceUID)
    body = encode_head(FileMeta(str(film.SOPClassUID), uid, JPEG)) + encode(film, JPEG)
    async with httpx.AsyncClient(base_url=base, timeout=60, headers=sent) as client:
        path = "/instances" if name == "Orthanc" else "/dicom-web/studies"
        answer = await client.post(
            path, content=body, headers={"Content-Type": "application/dicom"}
        )
        answer.raise_for_status()

        async def there() -> bool:
            found = await client.get(f"/dicom-web/instances?SOPInstanceUID={uid}")
            return bool(found.json())

        await until(there, limit=60, retry=(ValueError,))


def of_film(film: Dataset) -> tuple[list[Request], int]:
    """Return requests of its frames, one after the other, and of how many a rate is measured."""
    one = (
        f"/dicom-web/studies/{film.StudyInstanceUID}/series/{film.SeriesInstanceUID}"
        f"/instances/{film.SOPInstanceUID}/frames/"
    )
    wanted = {"Accept": f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG}'}
    return [(f"{one}{number + 1}", wanted) for number in range(FRAMES)], 200 if QUICK else 2000


async def signed_in(services: Services) -> dict[str, str]:
    """Return the headers of the administrator."""
    who = {"username": "admin", "password": services.admin_password}
    async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{services.http_port}") as client:
        answer = await client.post("/api/v1/auth/login", json=who)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def asked(instances: list[str]) -> dict[str, tuple[list[Request], int]]:
    """Return what is asked for, and of how many of it a rate is measured."""
    series = instances[0].partition("/instances")[0]
    study = series.partition("/series")[0]
    uid = study.rpartition("/")[2]
    many = 200 if QUICK else 2000
    few = 10 if QUICK else 50

    def each(suffix: str, accept: str) -> list[Request]:
        return [(one + suffix, {"Accept": accept}) for one in instances]

    return {
        "instance": (each("", MULTIPART), many),
        "frame": (each("/frames/1", OCTETS), many),
        "rendered": (each("/frames/1/rendered", "image/jpeg"), few * 8),
        "metadata of an instance": (each("/metadata", JSON), many),
        "metadata of the series": ([(series + "/metadata", {"Accept": JSON})], few),
        "series": ([(series, {"Accept": MULTIPART})], 2),
        "QIDO by StudyInstanceUID": (
            [(f"/dicom-web/studies?StudyInstanceUID={uid}", {"Accept": JSON})],
            many,
        ),
        "the same, each for the first time": (
            [
                (f"/dicom-web/studies?StudyInstanceUID={uid}&limit={n}", {"Accept": JSON})
                for n in range(1, 8 * many)
            ],
            many // 4,
        ),
        "QIDO limit=20": ([("/dicom-web/instances?limit=20", {"Accept": JSON})], many // 4),
        "QIDO series of the study": ([(study + "/series", {"Accept": JSON})], many // 2),
    }


async def test_p7_side_by_side(services: Services, tmp_path: Path) -> None:
    services.directory.mkdir(exist_ok=True)
    alone = Table("P7: one client", "ms", against="Orthanc")
    together = Table(f"P7: {CLIENTS} clients", "requests/s", against="Orthanc")
    processor = Table(f"P7: processor time of a request at {CLIENTS} clients", "ms")
    TABLES.extend((alone, together, processor))
    film = a_film()
    load = make_load(tmp_path / "load", objects=OBJECTS, associations=1, side=512, pixels=section)
    async with orthanc(tmp_path / "orthanc", best=True, plugins=[PLUGIN]) as peer:
        await services.start("ingest", "metadata", "api")
        sides: dict[str, tuple[int, dict[str, str]]] = {
            "Orthanc": (peer.http_port, {}),
            "Darkroom": (services.http_port, await signed_in(services)),
        }
        paths = {}
        for (name, (port, sent)), dicom in zip(
            sides.items(), (peer.port, services.dicom_port), strict=True
        ):
            await send(load, dicom, best=True)
            paths[name] = asked(await uids(f"http://{LOOPBACK}:{port}", sent))
            await keep(name, f"http://{LOOPBACK}:{port}", sent, film)
            paths[name]["frame of 500 in JPEG"] = of_film(film)
        for kind in paths["Darkroom"]:
            for _ in range(ROUNDS):
                for name, (port, sent) in sides.items():
                    requests, many = paths[name][kind]
                    if "first" in kind:  # none that was asked for before
                        paths[name][kind] = (requests[2 * many :], many)
                    await asyncio.to_thread(
                        _measure, partial(Client, port, sent), requests, many, name, kind
                    )


def _measure(
    connect: "partial[Client]", requests: list[Request], many: int, name: str, kind: str
) -> None:
    alone, together, processor = TABLES
    client = connect()
    try:
        rate(connect, list(islice(cycle(requests), 2 * CLIENTS)), CLIENTS)  # warm
        alone.add(name, kind, latency(client, islice(cycle(requests), max(2, many // 10))))
        before = spent()
        together.add(name, kind, rate(connect, list(islice(cycle(requests), many)), CLIENTS))
        used = since(before)
        for part in PARTS[name]:
            who = name if part == name else f"{name}: {part}"
            processor.add(who, kind, used.get(part, 0.0) * 1000 / many)
    except Refused as error:
        alone.leave_out(name, f"{kind}: {error}")
    finally:
        client.close()
