"""The port of MLLP: blocks come in, acknowledgements go out, in order, one at a time.

What somebody may take of it is bounded before it is known who it is: connections, bytes, seconds.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from opentelemetry.trace import SpanKind

from darkroom_common.clock import monotonic
from darkroom_common.links.trust import refusal
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_ingest.orders.answering import Outcome, answers
from darkroom_ingest.orders.blocks import Blocks, NoBlock, block
from darkroom_ingest.orders.orders import Orders
from darkroom_ingest.orders.reading import NotRead, header_of
from darkroom_ingest.senders.admission import address_of

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
_CHUNK: Final = 64 * 1024
_HANDSHAKE_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.2
KINDS: Final = frozenset({"ORM", "OMI", "ADT"})


@dataclass(frozen=True)
class Bounds:
    """What others may take.

    Attributes:
        peers: networks that may connect.
        connections: at a time, in all.
        per_host: the same, of one address.
        most: bytes of one message.
        message_seconds: from the first byte of a message to its last.
        idle_seconds: without a message.
    """

    peers: Sequence[IPv4Network | IPv6Network]
    connections: int
    per_host: int
    most: int
    message_seconds: float
    idle_seconds: float


@dataclass
class OrderPort:
    """Serves one listening socket.

    Attributes:
        assumed: character set of messages that name none.
        tls: of the connections; None: they are plain.
    """

    orders: Orders
    bounds: Bounds
    assumed: str
    tls: ssl.SSLContext | None = None
    _open: Counter[str] = field(default_factory=Counter)

    async def run(self, listener: socket.socket) -> None:
        """Serve for ever; cancel to stop: what is not acknowledged by then will come again."""
        listener.settimeout(0)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as connections:
            while True:
                try:
                    accepted, (host, *_) = await loop.sock_accept(listener)
                except OSError as error:  # without descriptors, or it is gone already
                    log.warning("hl7.not_accepted", reason=error.strerror)
                    await asyncio.sleep(_PAUSE_SECONDS)
                    continue
                refused = self._refused(host)
                if refused:
                    accepted.close()
                    self._ended(host, refused)
                    continue
                self._open[host] += 1
                metrics.HL7_CONNECTIONS.set(self._open.total())
                connections.create_task(self._alone(accepted, host))

    def _refused(self, host: str) -> str:
        address = address_of(host)
        if not any(address in network for network in self.bounds.peers):
            return "peer"
        if self._open.total() >= self.bounds.connections:
            return "connections"
        return "per-host" if self._open[host] >= self.bounds.per_host else ""

    async def _alone(self, accepted: socket.socket, host: str) -> None:
        """Serve one connection; a defect that it meets ends no other."""
        for error in await asyncio.gather(self._served(accepted, host), return_exceptions=True):
            if error is not None:
                log.error("hl7.defect", reason=type(error).__name__)

    async def _served(self, accepted: socket.socket, host: str) -> None:
        writer = None
        reason = "closed"
        try:
            reader = asyncio.StreamReader(_CHUNK)
            protocol = asyncio.StreamReaderProtocol(reader)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                accepted,
                ssl=self.tls,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS if self.tls else None,
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            await self._talk(reader, writer, host)
        except NoBlock as error:
            reason = str(error)
        except TimeoutError:
            reason = "time"
        except ssl.SSLCertVerificationError as error:
            reason = "certificate"
            log.warning("tls.refused", peer=host, reason=refusal(error, "DICOM_TLS_STRICT"))
        except OSError:  # of TLS, too
            reason = "lost"
        finally:
            if writer is None:
                accepted.close()
            else:
                writer.transport.abort() if reason != "closed" else writer.close()
            self._open[host] -= 1
            self._open += Counter()  # forgets who has none
            metrics.HL7_CONNECTIONS.set(self._open.total())
            self._ended(host, reason)

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str
    ) -> None:
        blocks = Blocks(self.bounds.most)
        began = monotonic()
        while True:
            message = blocks.next()
            if message is not None:
                for answer in await self._answered(message, host):
                    writer.write(block(answer))
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await writer.drain()
                began = monotonic()
                continue
            limit = self.bounds.message_seconds if blocks.within else self.bounds.idle_seconds
            async with asyncio.timeout(began + limit - monotonic()):
                data = await reader.read(_CHUNK)
            if not data:
                if blocks.within:
                    raise NoBlock("no-end")
                return
            was_within = blocks.within
            blocks.feed(data)
            if not was_within:
                began = monotonic()

    async def _answered(self, message: bytes, host: str) -> list[bytes]:
        header = None
        with traces.span(tracer, "hl7 message", kind=SpanKind.SERVER):
            try:
                header = header_of(message, assumed=self.assumed)
                outcome = await self.orders.message(message, header, peer=host)
            except NotRead as error:
                outcome = Outcome("rejected", error.code, str(error), error.place)
        kind = "" if header is None else header.first(9)
        metrics.HL7_MESSAGES.labels(kind if kind in KINDS else "other", outcome.verdict).inc()
        log.info(
            "hl7.answered",
            peer=host,
            verdict=outcome.verdict,
            code=outcome.code,
            reason=outcome.reason,
            place=outcome.place,
        )
        return answers(header, outcome)

    def _ended(self, host: str, reason: str) -> None:
        if reason != "closed":
            metrics.HL7_ENDED.labels(reason).inc()
            log.warning("hl7.ended", peer=host, reason=reason)
