"""Serves an ASGI application on a listening socket until it is told to stop."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

import uvicorn

from darkroom_common.clock import monotonic
from darkroom_common.dimse.tls import TlsServer
from darkroom_common.errors import ConfigurationError
from darkroom_common.http.connection import HttpConnection, Refusal, Served
from darkroom_common.http.door import Door, Network
from darkroom_common.http.exchange import App
from darkroom_common.http.limits import Limits
from darkroom_common.links.inherited import inherited
from darkroom_common.telemetry.metrics import common as metrics

HTTPS: Final = "https"
"""What the metrics call the certificate of a server."""
BACKLOG: Final = 512
"""Connections that wait to be accepted."""
_TICK: Final = 0.1
_SILENCE: Final = 6.0
"""Seconds of silence after which a client is shown out when another process has taken over; what
keeps connections for later keeps them for five, as a rule."""
_LOOK: Final = 0.25
"""Of the shortest limit of time, and 1 s at most: how often limits are looked after."""


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a listening TCP socket: the one that is held for us, if there is one.

    Args:
        host: address of this machine.
        port: 0 for any that is free.
        shared: whether others of ours may listen there as well; the kernel deals connections out.

    Raises:
        ConfigurationError: the address is taken or is not one of this machine.
    """
    for held in [] if shared else inherited(port, BACKLOG):
        return held
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=shared)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def plain_refusal(status: int) -> tuple[Mapping[str, str], bytes]:
    """Return what is said of a request that was refused, as a problem (RFC 9457)."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status}
    return {"content-type": "application/problem+json"}, json.dumps(body).encode()


class QuietServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the service runner owns the signals.

    It looks once a second whether it is to end, not ten times, and at once when it is told.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    def end(self) -> None:
        """Say that it is enough."""
        self.should_exit = True
        self._told.set()

    async def main_loop(self) -> None:
        """Keep the date of answers, to the second, until the end."""
        while not await self.on_tick(0):  # 0: a tick at which the date is written
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._told.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


@dataclass(frozen=True)
class Leaving:
    """How a server goes when another process of the same port has taken over.

    Attributes:
        is_handed_over: says whether that is so, once it is to stop.
        told_to_end: that it must not wait for its clients any more.
        seconds: for which it waits for them at most.
    """

    is_handed_over: Callable[[], bool]
    told_to_end: asyncio.Event
    seconds: float


class HttpServer:
    """An application behind a listener: uvicorn, with `HttpConnection` as its protocol.

    Args:
        name: of the listener, in metrics and logs.
        app: answers.
        limits: of its connections.
        unlimited: networks of proxies, each of which stands for many clients.
        refusal: what is said of a request that never reaches the application.
    """

    def __init__(
        self,
        name: str,
        app: App,
        *,
        limits: Limits,
        unlimited: Sequence[Network] = (),
        refusal: Refusal = plain_refusal,
    ) -> None:
        self._name, self._app, self._refusal = name, app, refusal
        self._limits = limits
        self.leaving: Leaving | None = None
        """How to go when another process has taken over; None: as ever."""
        self._door = Door(limits, unlimited)

    async def serve(
        self,
        listener: socket.socket,
        stop: asyncio.Event,
        *,
        grace: float,
        tls: TlsServer | None = None,
        certificate: str = HTTPS,
    ) -> None:
        """Serve until `stop` is set, then finish what is open.

        Args:
            listener: is closed at the end.
            stop: the word.
            grace: seconds for answers that are under way; then they are broken off.
            tls: what connections are made with, looked at for a renewed certificate; None for
                plain ones.
            certificate: what the metrics call its certificate.
        """
        served: Served

        def connect(**_: object) -> HttpConnection:
            return HttpConnection(served)

        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            http=cast("Any", connect),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=max(1, int(grace)),
        )
        config.load()
        if tls is not None:
            config.ssl = tls.lasting_context()
        server = QuietServer(config)
        served = Served(self._name, self._app, self._door, self._refusal, server.server_state)
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(self._look_after_limits(tls, certificate))
            serving = tasks.create_task(server.serve(sockets=[listener]))
            stopping = tasks.create_task(stop.wait())
            try:
                await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not serving.done():
                    await self._see_off(server, served)
                server.end()
                await serving
            finally:
                looking.cancel()
                stopping.cancel()
                for connection in self._connections():
                    connection.abort()

    async def _see_off(self, server: QuietServer, served: Served) -> None:
        """Where another has taken over: accept nobody; give who is here a last answer each.

        A client that is silent for a while is shown out: one that has just sent another request
        when its connection closes would have to send it again.
        """
        leaving = self.leaving
        if leaving is None or not leaving.is_handed_over():
            return
        for one in server.servers:
            one.close()
        served.leaving = True
        began = monotonic()
        while monotonic() - began < leaving.seconds and not leaving.told_to_end.is_set():
            silent = monotonic() - began > _SILENCE
            if not [one for one in self._connections() if one.leave(silent=silent)]:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK):
                    await leaving.told_to_end.wait()

    def _connections(self) -> list[HttpConnection]:
        return [guest for guest in self._door.guests if isinstance(guest, HttpConnection)]

    async def _look_after_limits(self, tls: TlsServer | None, certificate: str) -> None:
        limits = self._limits
        shortest = min(
            limits.head_seconds, limits.idle_seconds, limits.body_seconds, limits.stall_seconds
        )
        while True:
            await asyncio.sleep(min(1.0, shortest * _LOOK))
            now = monotonic()
            for connection in self._connections():
                connection.end_if_overdue(now)
            if tls is not None:
                if tls.look():
                    metrics.CERTIFICATE_REFUSED.labels(certificate).inc()
                if tls.expires is not None:
                    expires = tls.expires.timestamp()
                    metrics.CERTIFICATE_EXPIRES.labels(certificate).set(expires)
