"""Names are sent through the whole house on every way in, and are nowhere they must not be."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aio_pika
import pytest
from pydicom.dataset import Dataset

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.integration.print.pictures import a_series
from tests.integration.test_traced import Collector, collecting
from tests.integration.test_whole_house import FIVE, House, a_destination, at_work
from tests.support.builders import encode
from tests.support.canary import found_in
from tests.support.dicom_peer import Association, Rejected, send
from tests.support.services import Services
from tests.support.stow import BOUNDARY, a_body, a_file
from tests.support.waiting import until

NAMES = {
    "PatientName": "Zebrafinkxq^Ottokarxz",
    "PatientID": "ZQX-4711-CANARY",
    "PatientBirthDate": "19410203",
    "AccessionNumber": "ACC-CANARY-9",
    "ReferringPhysicianName": "Wiedehopfxq^Irmaxz",
    "PatientComments": "Comment-Canary-7",
    "StudyDescription": "Description-Canary-3",
}
IN_CHARSETS = {
    "ISO_IR 126": "Καναρινιφωνη",
    "ISO_IR 144": "Канарейкину",
    "ISO_IR 192": "Сойкина^山雀太郎",
    "\\ISO 2022 IR 87": "KANARIYA^TAROU=金糸雀鳥^太郎郎",
    "GB18030": "金丝雀鸟儿^小东东",
}
FILE_NAME = "Rotkehlchenxq.dcm"
TYPED = "Blaumeisexq"
AE_TITLE = "GIMPEL^INGEXQ"
VALUES = sorted(
    part
    for value in (*NAMES.values(), *IN_CHARSETS.values(), FILE_NAME, TYPED)
    for part in re.split(r"[\^=]", value)
    if len(part) > 2
)


def an_image(**changes: Any) -> Dataset:
    (image,) = a_series(1, **(NAMES | changes))
    return image


def by_dicom(port: int) -> int:
    """Send whole and broken objects, in character sets and syntaxes; return how many are kept."""
    syntaxes = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
    kept = 0
    for syntax in syntaxes:
        image = an_image()
        sent = [(str(image.SOPInstanceUID), encode(image, syntax))]
        kept += set(send(port, sent, transfer_syntax=syntax).values()) == {0}
    for charset, name in IN_CHARSETS.items():
        image = an_image(SpecificCharacterSet=charset.split("\\"), PatientName=name)
        kept += set(send(port, [(str(image.SOPInstanceUID), encode(image))]).values()) == {0}
    for cut in (b"", b"\xff\xff"):
        image = an_image()
        body = encode(image)
        at = body.index(b"Zebrafink") + 12
        send(port, [(str(image.SOPInstanceUID), body[:at] + cut)])
    with suppress(Rejected, AssertionError, OSError):
        contexts = {1: ("1.2.840.10008.1.1", "1.2.840.10008.1.2")}
        with Association(port, contexts, calling=AE_TITLE, called="NOBODY"):
            pass
    return kept


async def by_http(house: House) -> list[bytes]:
    """Ask with names wherever something can be typed; return the bodies of what was refused."""
    client = house.api.client
    name, given = NAMES["PatientName"], quote(NAMES["PatientID"])
    stow = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'}
    image = an_image()
    whole, head = a_file(image), b"Content-Disposition: form-data; filename=" + FILE_NAME.encode()
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/dicom-web/studies", {"content": a_body([whole]), "headers": stow}),
        ("POST", "/dicom-web/studies", {"content": a_body([whole[:700]]), "headers": stow}),
        ("POST", "/dicom-web/studies", {"content": head + whole, "headers": stow}),
        ("GET", f"/dicom-web/studies?PatientName={name}&PatientID={given}", {}),
        ("GET", f"/dicom-web/studies?{name}={given}&limit={name}", {}),
        ("GET", f"/dicom-web/studies/{given}/metadata", {}),
        ("GET", f"/dicom-web/{given}", {}),
        ("GET", f"/api/v1/studies/search?q={name}", {}),
        ("GET", f"/api/v1/studies/search?q=x&page={name}", {}),
        ("GET", f"/api/v1/studies/{given}", {}),
        ("PATCH", f"/api/v1/studies/{NAMES['AccessionNumber']}", {"json": {"patient_name": name}}),
        ("POST", "/api/v1/studies/export", {"json": {"format": "csv", "filters": {"q": name}}}),
        ("POST", "/api/v1/studies/export", {"json": {"format": name, "filters": {name: name}}}),
        ("POST", "/api/v1/auth/login", {"json": {"username": name, "password": TYPED}}),
        ("POST", "/api/v1/auth/login", {"content": f'{{"username": "{name}'}),
        ("POST", "/api/v1/validate", {"content": whole[:900]}),
        (
            "POST",
            "/api/v1/studies/bulk/assign-physician",
            {
                "json": {
                    "exam_ids": [NAMES["AccessionNumber"], NAMES["PatientID"]],
                    "physician_name": NAMES["ReferringPhysicianName"],
                    "notify": True,
                }
            },
        ),
        (
            "POST",
            "/api/v1/print/jobs",
            {
                "json": {
                    "printer": "FILM",
                    "sop_instance_uids": [str(image.SOPInstanceUID)],
                    "header": TYPED,
                }
            },
        ),
        ("POST", "/api/v1/remote/RIS/query", {"json": {"level": "study", "keys": NAMES}}),
        ("POST", "/api/v1/worklist/query", {"json": {"remote": "RIS", "patient_name": name}}),
        ("POST", "/api/v1/destinations", {"json": {"name": name, "host": TYPED}}),
        ("GET", "/dicom-web/studies", {"headers": {"Authorization": f"Bearer {TYPED}"}}),
        ("GET", "/dicom-web/studies", {"headers": {"X-Request-Id": name, "User-Agent": TYPED}}),
    ]
    refused = []
    for method, path, more in asked:
        answer = await client.request(method, path, **more)
        if answer.status_code >= 400:
            refused.append(answer.content)
    return refused


@asynccontextmanager
async def listening(amqp_url: str) -> AsyncIterator[list[bytes]]:
    """Take a copy of every event and command: what its properties and its body say."""
    said: list[bytes] = []
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        for exchange in ("darkroom.events", "darkroom.commands"):
            await queue.bind(await channel.get_exchange(exchange), "#")

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            said.append(repr((message.properties, message.headers)).encode() + message.body)

        await queue.consume(take, no_ack=True)
        yield said


def processes(services: Services) -> bytes:
    """Return the titles and arguments of all processes of the services, and of their own ones."""
    own = {str(one.process.pid) for one in services.running.values() if one.process is not None}
    titles = b""
    for path in Path("/proc").iterdir():
        with suppress(OSError, IndexError):
            line = (path / "cmdline").read_bytes() if path.name.isdigit() else b""
            if path.name in own or b"darkroom" in line:
                titles += line + (path / "comm").read_bytes()
    return titles


async def everywhere(
    services: Services, collector: Collector, said: list[bytes], refused: list[bytes]
) -> dict[str, bytes]:
    """Return what is looked through."""
    places = {path.name: path.read_bytes() for path in services.directory.glob("*.log")}
    for name in (*FIVE, "api"):
        probe = services.running[name].probe
        places[f"metrics of {name}"] = (await asyncio.to_thread(probe, "/metrics"))[1].encode()
    paths = [str(path.relative_to(services.directory)) for path in services.directory.rglob("*")]
    return places | {
        "traces": b"".join(collector.bodies),
        "messages": b"\n".join(said),
        "refusals": b"\n".join(refused),
        "paths": "\n".join(paths).encode(),
        "processes": await asyncio.to_thread(processes, services),
    }


@pytest.mark.req("OBS-02", "OBS-03")
async def test_names_are_nowhere_but_in_the_store_and_under_the_keys(services: Services) -> None:
    with collecting() as collector:
        services.extra["OTLP_ENDPOINT"] = f"http://{LOOPBACK}:{collector.port}"
        async with at_work(services) as house, listening(services.amqp_url) as said:
            kept = await asyncio.to_thread(by_dicom, services.dicom_port)
            assert kept == 3 + len(IN_CHARSETS)
            await house.call("POST", "/destinations", 201, json=a_destination(free_port(), "RIS"))
            refused = await by_http(house)
            await until(lambda: len(set(house.peer.uids)) >= kept + 1, limit=60)
            await until(lambda: len(house.printer.films) >= kept + 1, limit=60)
            places = await everywhere(services, collector, said, refused)
            for name in (*FIVE, "api"):
                await services.running[name].stop()  # the last spans
            places["traces"] = b"".join(collector.bodies)
    names = NAMES["PatientName"].split("^")
    assert found_in(encode(an_image()), names) == set(names)  # where they are, they are found
    assert len(said) > kept
    traces = {trace for _, name, trace, _ in collector.spans if name == "STOW"}
    through = [{one for one, _, trace, _ in collector.spans if trace == way} for way in traces]
    way = {f"darkroom-{name}" for name in ("api", "ingest", "transmit", "print")}
    assert any(way <= one for one in through)  # a trace from STOW-RS to delivery and film
    assert b"C-STORE" in places["traces"]
    found = {name: values for name, one in places.items() if (values := found_in(one, VALUES))}
    assert not found
    logs = b"".join(one for name, one in places.items() if name.endswith(".log"))
    assert b"association.rejected" in logs or b"association.accepted" in logs
    assert not found_in(logs, AE_TITLE.split("^"))  # of a node, and yet it looks like a name
