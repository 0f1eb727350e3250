"""The DICOM port of ingest in the test's own process: a spool, the front door, no broker."""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darkroom_common.dimse.acceptor import Entrance
from darkroom_common.dimse.census import Census
from darkroom_common.dimse.tls import TlsServer
from darkroom_common.objects.receipt import Receipt
from darkroom_common.objects.spool import Spool
from darkroom_ingest.answering.archive import open_archive
from darkroom_ingest.door.scp import StorageScp
from darkroom_ingest.receiving.receive import Receiver
from darkroom_ingest.senders.roster import COPY_NAME, Doorkeeper, RosterCopy
from darkroom_ingest.settings import IngestSettings
from darkroom_local.engines.ports import LOOPBACK


@dataclass
class RunningScp:
    """A storage SCP on a free port, and what it has received."""

    port: int
    spool: Spool
    receiver: Receiver
    scp: StorageScp
    doorkeeper: Doorkeeper
    tls: TlsServer | None
    tls_port: int
    receipts: list[Receipt] = field(default_factory=list)

    def ready(self) -> list[bytes]:
        """The bytes of the files that are ready, without their heads."""
        return [
            self.spool.path(receipt.id).read_bytes()[receipt.data_set_offset :]
            for receipt in self.receipts
        ]

    def reasons(self) -> list[str]:
        """Why objects stand in quarantine."""
        return [json.loads(p.read_text())["reason"] for p in self.spool.quarantine.glob("*.json")]

    def left_over(self) -> list[Path]:
        """What lies in tmp."""
        return list(self.spool.tmp.iterdir())

    def connect(self) -> socket.socket:
        made = socket.create_connection((LOOPBACK, self.port), timeout=20)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


@asynccontextmanager
async def running_scp(directory: Path, **changes: Any) -> AsyncIterator[RunningScp]:
    given = {
        "postgres_url": "postgresql://u@127.0.0.1/d",
        "amqp_url": "amqp://u@localhost/v",
        "pseudonym_key": "x",
        "store_url": "file:///nowhere",
        "spool": directory / "spool",
        "reserve_bytes": 0,
        "dicom_host": LOOPBACK,
        "unknown_ae": "accept",
    }
    settings = IngestSettings(**{**given, **changes})
    spool = Spool(settings.spool, quarantine_limit=settings.quarantine_bytes)
    receipts: list[Receipt] = []
    receiver = Receiver(
        spool,
        settings.reserve_bytes,
        settings.max_object_bytes,
        receipts.append,
        limits=settings.read_limits,
        strict_uids=settings.strict_uids,
    )
    doorkeeper = Doorkeeper(RosterCopy(settings.spool / COPY_NAME), settings.policy)
    scp = StorageScp(settings, receiver, Census(), doorkeeper, open_archive(settings))
    listener = socket.create_server((LOOPBACK, 0))
    port = listener.getsockname()[1]
    entrances = [Entrance(listener)]
    tls_port = 0
    if settings.tls is not None:
        entrances.append(Entrance(socket.create_server((LOOPBACK, 0)), TlsServer(settings.tls)))
        tls_port = entrances[1].listener.getsockname()[1]
    scp.start(*entrances)
    before = {thread for thread in threading.enumerate() if thread.name != "door"}
    try:
        yield RunningScp(
            port, spool, receiver, scp, doorkeeper, entrances[-1].tls, tls_port, receipts
        )
    finally:
        await asyncio.to_thread(scp.drain, 2.0)
        spool.close()
    assert not [t for t in threading.enumerate() if t not in before and t.name == "door"]


def pdu(kind: int, body: bytes) -> bytes:
    """A PDU."""
    return struct.pack(">BBL", kind, 0, len(body)) + body


def read_to_end(peer: socket.socket) -> bytes:
    """What the peer still says before it closes; a reset counts as the end."""
    found = b""
    try:
        while piece := peer.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


ABORTED = b"\x07\x00\x00\x00\x00\x04"
"""How an A-ABORT begins."""
