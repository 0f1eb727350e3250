"""A real ingest with its receiving processes, to be attacked: what it uses, and that it answers."""

import asyncio
import json
import shutil
import socket
import struct
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from darkroom_common.topology import render_policies
from darkroom_local.engines.ports import LOOPBACK
from tests.conftest import RabbitServer
from tests.support.builders import CT
from tests.support.dicom_peer import ECHO, Association
from tests.support.services import Services, declare_index_queue, receiving_processes

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG = "1.2.840.10008.1.2.2"
CONTEXTS = {1: (CT, EXPLICIT), 3: (ECHO, IMPLICIT)}


@dataclass
class RealIngest:
    """One running ingest."""

    services: Services
    pids: list[int]
    _seen: set[str] = field(default_factory=set)
    _read: int = 0

    @property
    def port(self) -> int:
        return self.services.dicom_port

    @property
    def log(self) -> bytes:
        """The log since the last `mark`."""
        return self.services.running["ingest"].log.read_bytes()[self._read :]

    def mark(self) -> None:
        """Forget what stands in quarantine and in the log: a test begins."""
        self._seen |= {note.name for note in self._notes()}
        self._read += len(self.log)

    def rss(self) -> int:
        """Bytes of memory that the receiving processes use now."""
        found = 0
        for pid in self.pids:
            status = Path(f"/proc/{pid}/status").read_text()
            found += int(status.split("VmRSS:")[1].split()[0]) * 1024
        return found

    def workers(self) -> list[int]:
        process = self.services.running["ingest"].process
        assert process is not None
        return receiving_processes(process.pid)

    def connect(self, timeout: float = 20.0) -> socket.socket:
        made = socket.create_connection((LOOPBACK, self.port), timeout=timeout)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def echo(self) -> float:
        """Seconds that an association with one C-ECHO took."""
        began = time.monotonic()
        with Association(self.port, CONTEXTS, timeout=10) as peer:
            assert peer.echo(3) == 0
        return time.monotonic() - began

    def unharmed(self) -> None:
        """It answers within a second, by the processes that it began with."""
        assert self.echo() < 1
        assert self.workers() == self.pids

    def reasons(self) -> list[str]:
        """Why objects stand in quarantine since the last `mark`."""
        notes = [note for note in self._notes() if note.name not in self._seen]
        return sorted(json.loads(note.read_text())["reason"] for note in notes)

    def _notes(self) -> list[Path]:
        return list((self.services.spool / "quarantine").glob("*.json"))

    def left_over(self) -> list[Path]:
        """What lies in tmp."""
        return [path for path in (self.services.spool / "tmp").rglob("*") if path.is_file()]


@asynccontextmanager
async def real_ingest(directory: Path, amqp_url: str, **extra: str) -> AsyncIterator[RealIngest]:
    """Run ingest without a database; the index's queue is there, nobody consumes."""
    await declare_index_queue(amqp_url)
    services = Services(directory, "postgresql://nobody@127.0.0.1:1/none", amqp_url)
    services.extra = {"PROCESSES": "2", **extra}
    try:
        await services.start("ingest")
        made = RealIngest(services, [])
        made.pids = made.workers()
        assert len(made.pids) == int(services.extra["PROCESSES"])
        yield made
    finally:
        await services.stop()


def value(context: int, control: int, data: bytes) -> bytes:
    """One presentation data value in a PDU of its own."""
    return struct.pack(">BxLLBB", 4, len(data) + 6, len(data) + 2, context, control) + data


def store_command(uid: str, sop_class: str = CT) -> bytes:
    """A C-STORE-RQ's command set."""

    def element(number: int, raw: bytes) -> bytes:
        raw += b"\x00" * (len(raw) % 2)
        return struct.pack("<HHL", 0, number, len(raw)) + raw

    body = b"".join(
        [
            element(0x0002, sop_class.encode("latin-1")),
            element(0x0100, struct.pack("<H", 1)),
            element(0x0110, struct.pack("<H", 1)),
            element(0x0700, struct.pack("<H", 0)),
            element(0x0800, struct.pack("<H", 0)),
            element(0x1000, uid.encode("latin-1")),
        ]
    )
    return element(0, struct.pack("<L", len(body))) + body


def until_closed(peer: socket.socket) -> bytes:
    """What the peer still says before it closes; a reset counts as the end."""
    found = b""
    try:
        while piece := peer.recv(65536):
            found += piece
    except ConnectionError:
        pass
    return found


@asynccontextmanager
async def shared_ingest(server: RabbitServer, **extra: str) -> AsyncIterator[RealIngest]:
    """Run ingest for all tests of a module, on a virtual host and a directory of its own."""
    name = f"test-{uuid.uuid4().hex[:16]}"
    directory = Path(tempfile.mkdtemp(prefix="darkroom-test-"))
    with server.management() as management:
        management.create_vhost(name, render_policies(name))
        try:
            async with real_ingest(directory, server.url(name), **extra) as made:
                yield made
        finally:
            management.delete_vhost(name)
            await asyncio.to_thread(shutil.rmtree, directory)
