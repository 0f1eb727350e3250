"""`darkroom up --tls`: no link is plain, none has old TLS, and renewed certificates are taken."""

import asyncio
import hashlib
import json
import shutil
import socket
import ssl
import struct
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest
import pytest_asyncio

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.e2e.user import DarkroomUp, fetch, instances
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.dicom_peer import Association
from tests.support.waiting import until
from tests.support.wire import Wire, descendants, ports_of, say_aloud

pytestmark = pytest.mark.asyncio(loop_scope="module")
EXPLICIT: Final = "1.2.840.10008.1.2.1"
_START_TLS: Final = struct.pack(">LHH", 8, 1234, 5679)
"""What PostgreSQL is asked first (SSLRequest); it says S."""
_ALERT: Final = 0x15
_SECONDS: Final = 10.0
_SHOWN: Final = (
    *("studies", "transmit/jobs?state=RETRYING", "transmit/jobs?state=FAILED", "print/jobs"),
    *("conflicts", "dead-letters", "worklist", "destinations", "printers"),
)
"""Of what the demonstration makes, each list has something."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def encrypted() -> AsyncIterator[DarkroomUp]:
    directory = Path(tempfile.mkdtemp(prefix="darkroom-e2e-"))
    directory.chmod(0o711)  # PostgreSQL runs as another user
    running = DarkroomUp(directory / "data", dicom_tls_port=free_port())
    try:
        await running.start()
        yield running
    finally:
        code = await running.stop()
        await asyncio.to_thread(shutil.rmtree, directory)
    assert code == 0, "\n".join(running.output)


def named(stack: DarkroomUp) -> dict[str, int]:
    book: dict[str, int] = json.loads((stack.data / "run" / "ports.json").read_text())
    return book


def listening(stack: DarkroomUp) -> set[int]:
    """The ports of all its processes, but for those that are plain on purpose.

    That is the plain DICOM port, the one for reports of commitment, and those by which the parts of
    the one RabbitMQ node find each other on this machine.
    """
    assert stack.process is not None
    book = named(stack)
    plain = {stack.dicom_port, stack.commitment_port, book["epmd"], book["distribution"]}
    found = ports_of(descendants(stack.process.pid))
    assert plain - {book["epmd"]} <= found
    return found - plain


def trusting(stack: DarkroomUp, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(stack.data / "tls" / "ca.pem"))
    if version is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")  # else our own side refuses
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
    return context


@contextmanager
def connected(stack: DarkroomUp, port: int) -> Iterator[socket.socket]:
    with socket.create_connection((LOOPBACK, port), timeout=_SECONDS) as plain:
        if port == named(stack)["postgres"]:
            plain.sendall(_START_TLS)
            assert plain.recv(1) == b"S"
        yield plain


def shown(stack: DarkroomUp, port: int, version: ssl.TLSVersion | None = None) -> str:
    """The SHA-256 of the certificate that a port shows, whose authority and name are checked."""
    with (
        connected(stack, port) as plain,
        trusting(stack, version).wrap_socket(plain, server_hostname=LOOPBACK) as tls,
    ):
        certificate = tls.getpeercert(binary_form=True)
        assert certificate is not None
        return hashlib.sha256(certificate).hexdigest()


@pytest.mark.req("BRK-01")
async def test_every_port_speaks_new_tls_and_nothing_plain(encrypted: DarkroomUp) -> None:
    ports = await asyncio.to_thread(listening, encrypted)
    book = named(encrypted)
    health = {port for name, port in book.items() if name.startswith("health-")}
    others = {encrypted.http_port, encrypted.dicom_tls_port}
    assert ports == health | others | {book["postgres"], book["amqp"], book["stow"]}
    for port in ports:
        for good in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            await asyncio.to_thread(shown, encrypted, port, good)
        for old in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await asyncio.to_thread(shown, encrypted, port, old)
        answer = await asyncio.to_thread(plain_answer, port, postgres=port == book["postgres"])
        assert answer == b"" or answer[0] == _ALERT or b"no encryption" in answer, (port, answer)


def plain_answer(port: int, *, postgres: bool) -> bytes:
    """What a port says to somebody who speaks no TLS."""
    asked = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    if postgres:
        told = b"user\x00postgres\x00database\x00darkroom\x00\x00"
        asked = struct.pack(">LHH", len(told) + 8, 3, 0) + told
    with socket.create_connection((LOOPBACK, port), timeout=_SECONDS) as plain:
        plain.sendall(asked)
        try:
            return plain.recv(4096)
        except ConnectionResetError:
            return b""


@pytest.mark.req("BRK-01")
async def test_nothing_that_identifies_anybody_is_read_along_the_way(encrypted: DarkroomUp) -> None:
    uid, study, loud = new_uid(), new_uid(), b"said-aloud-by-the-test"
    name = f"Uncaptured^{uid[-12:]}"
    object_ = encode(
        a_data_set(SOPInstanceUID=uid, StudyInstanceUID=study, PatientName=name, PatientID=uid)
    )
    passwords = [
        *json.loads((encrypted.data / "secrets" / "amqp-passwords").read_text()).values(),
        *json.loads((encrypted.data / "secrets" / "role-passwords").read_text()).values(),
        (encrypted.data / "admin-password").read_text().strip(),
    ]
    planted = [text.encode() for text in (uid, study, name, *passwords)]

    def store() -> int:
        port = encrypted.dicom_tls_port
        assert port is not None
        with Association(port, {1: (CT, EXPLICIT)}, tls=trusting(encrypted)) as association:
            return association.store(1, CT, uid, object_)

    with Wire(*planted, loud).listening() as wire:
        assert await asyncio.to_thread(store) == 0
        async with encrypted.client() as client:
            found = await until(partial(instances, client, SOPInstanceUID=uid))
            part10 = await fetch(client, found[0])
            assert part10.endswith(object_)
            again = await client.post(  # the api hands it over to ingest
                "/dicom-web/studies",
                headers={
                    "Content-Type": 'multipart/related; type="application/dicom"; boundary=b',
                    "Accept": "application/dicom+json",
                },
                content=b"--b\r\nContent-Type: application/dicom\r\n\r\n"
                + part10
                + b"\r\n--b--\r\n",
            )
            assert again.status_code == 200, again.text
        say_aloud(loud)
        await until(lambda: loud in wire.seen)
    assert wire.seen == {loud}
    assert wire.frames > 100


@pytest.mark.req("BRK-01", "DEP-08")
async def test_renewed_certificates_are_taken_everywhere_without_a_restart(
    encrypted: DarkroomUp,
) -> None:
    ports = await asyncio.to_thread(listening, encrypted)
    before = {port: await asyncio.to_thread(shown, encrypted, port) for port in ports}
    pids = {name: process.pid for name, process in encrypted.processes().items()}
    command = [Path(sys.executable).with_name("darkroom"), "certificates", "--data", encrypted.data]
    renewing = await asyncio.create_subprocess_exec(*map(str, command))
    assert await renewing.wait() == 0
    waiting = set(ports)

    async def all_taken() -> bool:
        for port in tuple(waiting):
            if await asyncio.to_thread(shown, encrypted, port) != before[port]:
                waiting.discard(port)
        return not waiting

    await until(all_taken, limit=60)
    assert {name: process.pid for name, process in encrypted.processes().items()} == pids
    async with encrypted.client() as client:  # and our own are its clients still
        ready = await client.get("/readyz")
        assert ready.status_code == 200, ready.text


async def test_the_trial_of_a_cluster_sends_and_finds(encrypted: DarkroomUp) -> None:
    """What `helm test` runs, with each step that can fail failing."""
    ours = {
        "API_URL": encrypted.url,
        "ADMIN_PASSWORD_FILE": str(encrypted.data / "admin-password"),
        "DICOM_PORT": str(encrypted.dicom_tls_port),
        "TRIAL_TLS": "true",
        "TRIAL_OF": f"test/{new_uid()}",
        "TRIAL_SECONDS": "20",
        "TLS_CA": str(encrypted.data / "tls" / "ca.pem"),
    }

    async def trial(**changed: str) -> tuple[int | None, str]:
        environment = {f"DARKROOM_{k}": v for k, v in (ours | changed).items()}
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "darkroom_common.links.trial"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await running.communicate()
        return running.returncode, output.decode()

    for _ in range(2):  # again, it is the same object
        code, said = await trial()
        assert code == 0, said
        assert "found it by QIDO-RS" in said
    async with encrypted.client() as client:
        sender = await client.get("/api/v1/senders/DARKROOM-TRIAL")
        assert sender.json()["sop_class_rule"] == "only"
    for changed, words in (
        ({"TRIAL_USERNAME": "nobody"}, "signing in as nobody is answered with 401"),
        ({"DICOM_PORT": str(encrypted.dicom_port)}, "sending to localhost"),
        ({"API_URL": encrypted.url.replace("https", "http")}, "the api at http:"),
    ):
        code, said = await trial(**changed)
        assert code == 1, said
        assert words in said


async def test_the_demonstration_goes_over_tls(encrypted: DarkroomUp) -> None:
    """Each screen of the console has something to show after it."""
    assert any("https://127.0.0.1" in line for line in encrypted.output)
    assert not any("http://" in line for line in encrypted.output)
    command = [Path(sys.executable).with_name("darkroom"), "demo", "--slices", "2"]
    command += ["--data", encrypted.data]
    demo = await asyncio.create_subprocess_exec(*map(str, command), stdout=asyncio.subprocess.PIPE)
    output, _ = await demo.communicate()
    assert demo.returncode == 0
    assert b"--cacert" in output
    async with encrypted.client() as client:
        for path in _SHOWN:
            await until(partial(_has_some, client, path), path)


async def _has_some(client: httpx.AsyncClient, path: str) -> bool:
    answer = await client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["total"])
