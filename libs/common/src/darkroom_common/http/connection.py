"""One connection: bytes become requests for the application, and its answers become bytes.

One request is worked on at a time; what a client sends ahead waits in the kernel. Each state of a
connection has a limit of time, which `overdue` is asked for every moment.
"""

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, cast

from uvicorn.server import ServerState

from darkroom_common.clock import monotonic
from darkroom_common.http.door import Door, crowd_of
from darkroom_common.http.exchange import ENDLESS, App, Exchange, answer_of
from darkroom_common.http.outlet import Outlet
from darkroom_common.http.wire import BadRequest, Head, Mark, Reader
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics

log = get_logger(__name__)
_READ: Final = 64 * 1024
_QUIET: Final = 1.0
Refusal = Callable[[int], tuple[Mapping[str, str], bytes]]
"""Headers and body of the answer to a request that never reaches the application."""
"""Makes the media type and the body of an answer to a request that never reached the application,
or to a connection for which there is no room."""


@dataclass
class Served:
    """What the connections of a listener have in common."""

    name: str
    app: App
    door: Door
    refusal: Refusal
    state: ServerState
    buffer: bytearray = field(default_factory=lambda: bytearray(_READ))
    """Connections read into it, each in its turn."""
    told_at: float = -_QUIET
    leaving: bool = False
    """Each answer is the last one of its connection."""

    def tell_refusal(self, reason: str, address: str) -> None:
        """Count a refused request, and log one a second: no flood of them floods the log."""
        metrics.HTTP_CLOSED.labels(self.name, reason).inc()
        now = monotonic()
        if now - self.told_at >= _QUIET:
            self.told_at = now
            log.info("http.refused", listener=self.name, reason=reason, address=address)

    def ended(self, task: asyncio.Task[None]) -> None:
        """See off the task of an exchange; it has answered 500 or broken off for its error."""
        self.state.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("http.defect", listener=self.name, error=type(error).__name__)


class HttpConnection(asyncio.BufferedProtocol):
    """The protocol of one connection."""

    def __init__(self, served: Served) -> None:
        self.host = ""
        self.is_known = False
        self.peer: tuple[str, int] | None = None
        self.own: tuple[str, int] | None = None
        self.scheme = "http"
        self._served = served
        self._limits = served.door.limits
        self._reader = Reader(self._limits)
        self._exchange: Exchange | None = None
        self._since = monotonic()
        self._fresh = True
        self._paused_at: float | None = None
        self._lingering: int | None = None
        self._half_closed = False
        self._finishing = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._written = 0
        self._taken = 0
        self._stalled_since: float | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, if there is room."""
        self.transport = cast("asyncio.Transport", transport)
        self._served.state.connections.add(cast("Any", self))
        peer = self.transport.get_extra_info("peername")
        own = self.transport.get_extra_info("sockname")
        if isinstance(peer, tuple) and isinstance(own, tuple):
            self.peer, self.own = (str(peer[0]), int(peer[1])), (str(own[0]), int(own[1]))
            self.host = self.peer[0]
        if self.transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        if not self._served.door.admit(self):
            metrics.HTTP_CLOSED.labels(self._served.name, "full").inc()
            self.write(answer_of(503, *self._served.refusal(503)))
            self.transport.close()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Lend the buffer that all connections read into, each in its turn."""
        del sizehint
        return self._served.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes."""
        if self._lingering is not None:
            self._lingering += nbytes
            if self._lingering > self._limits.linger_bytes:
                self.transport.pause_reading()  # a reset would take the answer from the client
            return
        if self._exchange is None and not self._reader.waiting:
            self._since = monotonic() if not self._fresh else self._since
        self._reader.feed(memoryview(self._served.buffer)[:nbytes])
        self._advance()

    def eof_received(self) -> bool:
        """Hear that nothing more comes: a request that came whole is answered yet."""
        self._half_closed = True
        exchange = self._exchange
        waits = exchange is not None and exchange.input_ended and ENDLESS not in exchange.scope
        # TLS is not closed for one direction (RFC 9112 section 9.8).
        return waits and self._lingering is None and self.scheme == "http"

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all of it."""
        del exc
        self._served.state.connections.discard(cast("Any", self))
        self._served.door.leave(self)
        self._writable.set()
        if "_outlet" in self.__dict__:
            self._outlet.close()
        if self._exchange is not None:
            self._exchange.lose()

    def pause_writing(self) -> None:
        """Let the application wait: the client does not take what it was sent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let it go on."""
        self._writable.set()

    # What the exchange calls

    def write(self, *parts: bytes) -> None:
        """Send bytes, all parts at once."""
        self._written += sum(map(len, parts))
        self.transport.writelines(parts)

    async def send_file(self, head: bytes, file: int, offset: int, count: int) -> None:
        """Send bytes, and behind them a part of a file that is in memory.

        The kernel takes it from there, without a copy, as soon as the socket has room.
        """
        if self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size():
            self.write(head, os.pread(file, count, offset))
            return
        rest = await self._outlet.send(head, file, offset, count, self._went)
        if rest:
            self.write(rest)

    def _went(self, size: int) -> None:
        self._written += size

    @cached_property
    def _outlet(self) -> Outlet:
        sock: Any = self.transport.get_extra_info("socket")
        return Outlet(int(sock.fileno()))

    async def drained(self) -> None:
        """Wait until more may be sent."""
        await self._writable.wait()

    def want_input(self) -> None:
        """Read on: the application has taken what was there."""
        self._resume()
        self._advance()

    def switch(self) -> None:
        """Hand on what follows as it comes: limits of time are the application's from here on."""
        self._reader.switch()
        self._resume()
        self._advance()

    def finished(self, *, persistent: bool) -> None:
        """Go on after an answer that is whole; one that is not ends the connection."""
        exchange = self._exchange
        if exchange is None or self.transport.is_closing():
            return
        self.is_known = self.is_known or "principal" in exchange.scope
        if not exchange.input_ended:
            self._linger()
        elif not persistent or self._half_closed or self._finishing:
            self.transport.close()
        else:
            self._exchange = None
            self._resume()
            self._since, self._fresh = monotonic(), False
            self._advance()

    def abort(self) -> None:
        """Break off, so that the client cannot take a part for the whole."""
        self.transport.abort()

    # What the server calls

    @cached_property
    def crowd(self) -> str:
        """What it is counted under."""
        return crowd_of(self.host)

    @property
    def idle_since(self) -> float | None:
        """Since when it waits for a client that nobody knows yet; see `Guest`."""
        exchange = self._exchange
        if exchange is not None and (exchange.input_ended or "principal" in exchange.scope):
            return None
        return self._since

    def dismiss(self) -> None:
        """Close it, since another has come."""
        metrics.HTTP_CLOSED.labels(self._served.name, "crowded").inc()
        self.transport.abort()

    def shutdown(self) -> None:
        """Close it after the answer that is under way, if any."""
        self._finishing = True
        if self._exchange is None:
            self.transport.close()
        else:
            self._exchange.persistent = False

    def leave(self, *, silent: bool) -> bool:
        """Say with the answer that it is the last; tell whether the client is waited for.

        Nobody waits for the end of what has none: its client comes again by itself.

        Args:
            silent: whether to close it when nothing is asked.
        """
        exchange = self._exchange
        if exchange is None:
            if silent and not self._reader.waiting:
                self.transport.close()
            return True
        if exchange.persistent and not exchange.begun:
            exchange.persistent = False
        return ENDLESS not in exchange.scope

    def end_if_overdue(self, now: float) -> None:
        """Close it when the client has taken longer than it may."""
        reason = self._stalled(now) or self._late(now)
        if reason is None:
            return
        asked = self._reader.waiting or self._exchange is not None
        if asked and reason in ("slow-head", "slow-body") and not self.transport.is_closing():
            self._refuse(408, reason)
            return
        metrics.HTTP_CLOSED.labels(self._served.name, reason).inc()
        self.transport.abort()

    def _late(self, now: float) -> str | None:
        limits, waited = self._limits, now - self._since
        exchange = self._exchange
        if self._lingering is not None:
            allowed = limits.linger_seconds + self._lingering / limits.linger_rate
            return "lingering" if waited > min(allowed, limits.linger_most_seconds) else None
        if exchange is None:
            if self._fresh or self._reader.waiting:
                return "slow-head" if waited > limits.head_seconds else None
            return "idle" if waited > limits.idle_seconds else None
        if exchange.input_ended or exchange.upgraded or self._paused_at is not None:
            return None
        allowed = limits.body_seconds + exchange.received / limits.body_rate
        return "slow-body" if waited > allowed else None

    def _stalled(self, now: float) -> str | None:
        """Tell of a client that does not take what waits for it."""
        unsent = self.transport.get_write_buffer_size()
        waits = "_outlet" in self.__dict__ and self._outlet.waits
        if not unsent and not waits:
            self._stalled_since = None
            return None
        taken = self._written - unsent - self._in_kernel()
        if self._stalled_since is None or taken - self._taken >= self._limits.stall_bytes:
            self._stalled_since, self._taken = now, taken
        return "slow-reader" if now - self._stalled_since > self._limits.stall_seconds else None

    def _in_kernel(self) -> int:
        """Return how many bytes the kernel holds that the client has not confirmed."""
        sock: Any = self.transport.get_extra_info("socket")
        try:
            answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        except (OSError, ValueError):  # closed meanwhile
            return 0
        return int(struct.unpack("i", answer)[0])

    # Within

    def _advance(self) -> None:
        """Hand on what has come, as far as there is a request to hand it to."""
        try:
            while not self.transport.is_closing() and self._lingering is None:
                exchange = self._exchange
                if exchange is not None and (
                    exchange.input_ended or exchange.waiting > self._limits.body_buffer
                ):
                    if self._reader.waiting or not exchange.input_ended:
                        self._pause()
                    return
                event = self._reader.next()
                if event is None:
                    return
                self._take(event)
        except BadRequest as bad:
            self._refuse(bad.status, bad.reason)

    def _take(self, event: Head | bytes | Mark) -> None:
        if isinstance(event, Head):
            self._since = monotonic()
            self._exchange = exchange = Exchange(event, self)
            exchange.persistent = exchange.persistent and not self._served.leaving
            task = asyncio.get_running_loop().create_task(exchange.run(self._served.app))
            self._served.state.tasks.add(task)
            task.add_done_callback(self._served.ended)
        elif self._exchange is not None:
            self._exchange.take(event)

    def _pause(self) -> None:
        if self._paused_at is None and not self.transport.is_closing():
            self._paused_at = monotonic()
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._paused_at is not None and not self.transport.is_closing():
            self._since += monotonic() - self._paused_at  # it was not the client who waited
            self._paused_at = None
            self.transport.resume_reading()

    def _refuse(self, status: int, reason: str) -> None:
        """Answer instead of the application, and end the connection."""
        self._served.tell_refusal(reason, self.host)
        exchange = self._exchange
        if exchange is not None and exchange.begun:
            self.transport.abort()
            return
        if exchange is not None:
            exchange.lose()
        self.write(answer_of(status, *self._served.refusal(status)))
        self._linger()

    def _linger(self) -> None:
        """Close, but read on for a moment: else what comes makes the client miss the answer."""
        if self._half_closed:
            self.transport.close()
            return
        self._resume()
        self._lingering, self._since = 0, monotonic()
        if self.transport.can_write_eof():
            self.transport.write_eof()
