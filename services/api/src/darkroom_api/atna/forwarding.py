"""Sends the audit log to an audit record repository, by syslog over TLS (RFC 5424, RFC 5425).

The audit log is its own spool: what was sent is a number of the chain, and is moved on when the
repository's side has acknowledged the bytes. Syslog has no acknowledgement of its own, and what a
repository has not read may go with its connection: on a new one, what was sent in the last minute
is sent again, or the last link at least. Each row arrives at least once, in the chain's order.
Memory holds one link. What waits is bounded by the retention of the audit log.
"""

import asyncio
import fcntl
import os
import socket
import ssl
import struct
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from darkroom_api.atna.message import Source, frame
from darkroom_api.audit.links import Link, rows_of
from darkroom_common.clock import monotonic
from darkroom_common.errors import ConfigurationError, DependencyUnavailable, TransientError
from darkroom_common.links.trust import is_strictness, refusal, trusting
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.seal import Seal
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import api as metrics

log = get_logger(__name__)
SECONDS: Final = 1.0
LAST_DELAY: Final = 60.0
_SEND_SECONDS: Final = 20.0
_POLL: Final = 0.02
_UNSENT: Final = 0x5411
"""SIOCOUTQ: bytes that the other side has not acknowledged."""
_ESTABLISHED: Final = 1
_AGAIN_SECONDS: Final = 60.0
_AGAIN_LINKS: Final = 200
_LOCK: Final = "SELECT pg_try_advisory_xact_lock(1684107886)"
_BEGIN: Final = (
    "INSERT INTO api.audit_forwarded (repository, number)"
    " SELECT $1, coalesce(max(number), 0) FROM api.audit_link ON CONFLICT DO NOTHING"
)
_SENT: Final = "SELECT number FROM api.audit_forwarded WHERE repository = $1"
_NEXT: Final = (
    "SELECT *, extract(epoch FROM now() - linked_at) AS age FROM api.audit_link"
    " WHERE number > $1 ORDER BY number LIMIT 1"
)
_MOVE: Final = "UPDATE api.audit_forwarded SET number = $2 WHERE repository = $1"


class RepositoryAway(TransientError):
    """The repository cannot be reached, or is not who it should be."""


class Wire(Protocol):
    """A way to the repository."""

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was sent on it yet."""
        ...

    async def send(self, data: bytes) -> None:
        """Return when the other side has acknowledged the bytes.

        Raises:
            RepositoryAway: it has not.
        """
        ...

    def close(self) -> None:
        """End the connection, if there is one."""
        ...


def tls_context(
    ca: Path | None, certificate: Path | None, key: Path | None, *, strict: bool = True
) -> ssl.SSLContext:
    """Return what the connection is made with: the server is checked, we are if it asks.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    try:
        pair = None if certificate is None else (certificate, key)
        return trusting(ca, pair, strict=strict)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"ATNA: a certificate cannot be used: {error.strerror}") from error


class TlsWire:
    """A TLS connection that is opened when it is needed.

    Args:
        host: of the repository; its certificate has to name it.
        port: 6514 by RFC 5425.
        context: of TLS.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.is_fresh = True

    async def send(self, data: bytes) -> None:
        """Return when the other side's TCP has acknowledged all of it.

        Raises:
            RepositoryAway: it has not, in time.
        """
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                reader, writer = await self._open()
                writer.write(data)
                await writer.drain()
                await self._acknowledged(reader, writer)
                self.is_fresh = False
        except (OSError, TimeoutError, ssl.SSLError) as error:
            self.close()
            why = f": {refusal(error, 'TLS_STRICT')}" if is_strictness(error) else ""
            raise RepositoryAway(f"{type(error).__name__}{why}") from error
        except BaseException:
            self.close()
            raise

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None:
            reader, writer = self._streams
            if reader.at_eof() or writer.is_closing():
                raise ConnectionResetError  # whoever sends has to know: what was sent may be lost
            return self._streams
        reader, writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._context, server_hostname=self._host
        )
        writer.transport.set_write_buffer_limits(high=1, low=0)
        self._streams = reader, writer
        return self._streams

    @staticmethod
    async def _acknowledged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        plain: socket.socket = writer.get_extra_info("socket")
        while True:
            if reader.at_eof() or writer.is_closing():
                raise ConnectionResetError
            left = struct.unpack("i", fcntl.ioctl(plain.fileno(), _UNSENT, bytes(4)))[0]
            state = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            if state != _ESTABLISHED:  # a reset empties the queue, too
                raise ConnectionResetError
            if left == 0:
                return
            await asyncio.sleep(_POLL)

    def close(self) -> None:
        """End the connection, if there is one."""
        streams, self._streams, self.is_fresh = self._streams, None, True
        if streams is not None:
            with suppress(OSError, RuntimeError):
                streams[1].transport.abort()


class Forwarding:
    """Sends link after link.

    Args:
        database: of the api.
        seal: to read rows; what is sealed in them is not sent.
        wire: the way to the repository.
        repository: its name, `host:port`: how far it has come is kept for each.
        name: of this installation.
    """

    def __init__(
        self, database: Database, seal: Seal, wire: Wire, *, repository: str, name: str
    ) -> None:
        self._database = database
        self._seal = seal
        self._wire = wire
        self._repository = repository
        self._sent: deque[tuple[int, float]] = deque(maxlen=_AGAIN_LINKS)
        self._source = Source(name, socket.gethostname(), str(os.getpid()))

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            await self._run()
        finally:
            self._wire.close()

    async def _run(self) -> None:
        delay = SECONDS
        while True:
            try:
                began = monotonic()
                while await self.send():
                    pass
                delay = SECONDS
                log.debug("atna.sent", seconds=monotonic() - began)
            except (DependencyUnavailable, RepositoryAway) as error:
                metrics.ATNA_FAILED.inc()
                log.warning("atna.waits", repository=self._repository, reason=str(error))
                delay = min(delay * 2, LAST_DELAY)
            await asyncio.sleep(delay)

    async def send(self) -> bool:
        """Send the next link; tell whether there was one.

        Raises:
            RepositoryAway: it stays to be sent.
            DependencyUnavailable: the database is away.
        """
        async with self._database.transaction() as db:
            if not await db.fetchval(_LOCK):
                return False  # another process is at it
            await db.execute(_BEGIN, self._repository)
            number: int = await db.fetchval(_SENT, self._repository)
            row = await db.fetchrow(_NEXT, number)
            metrics.ATNA_OLDEST_SECONDS.set(0 if row is None else float(row["age"]))
            if row is None:
                return False
            if self._wire.is_fresh and number:
                await self._again(db, number)
            await self._send(db, row)
            await db.execute(_MOVE, self._repository, row["number"])
        self._sent.append((row["number"], monotonic()))
        return True

    async def _again(self, db: Connection, number: int) -> None:
        """Send what the connection before may have lost after it was acknowledged."""
        since = monotonic() - _AGAIN_SECONDS
        first = min([number, *(one for one, at in self._sent if at >= since)])
        for one in range(first, number + 1):
            row = await db.fetchrow("SELECT * FROM api.audit_link WHERE number = $1", one)
            if row is not None:
                await self._send(db, row)

    async def _send(self, db: Connection, row: Any) -> None:
        link = Link.of(row)
        there = await rows_of(db, link.log_ids, self._seal)
        frames = [frame(there[one].row, self._source) for one in link.log_ids if one in there]
        if frames:
            await self._wire.send(b"".join(frames))
            metrics.ATNA_SENT.inc(len(frames))
