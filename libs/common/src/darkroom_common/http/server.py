"""Serves an ASGI application on a listening socket until it is told to stop."""

import asyncio
import json
import socket
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from darkroom_common.clock import monotonic
from darkroom_common.errors import ConfigurationError
from darkroom_common.http.connection import HttpConnection, Refusal, Served
from darkroom_common.http.door import Door, Network
from darkroom_common.http.exchange import App
from darkroom_common.http.limits import Limits

_BACKLOG: Final = 512
_LOOK: Final = 0.25
"""Of the shortest limit of time, and 1 s at most: how often limits are looked after."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket.

    Raises:
        ConfigurationError: the address is taken or is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def plain_refusal(status: int) -> tuple[str, bytes]:
    """Return what is said of a request that was refused, as a problem (RFC 9457)."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status}
    return "application/problem+json", json.dumps(body).encode()


class HttpServer:
    """An application behind a listener.

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
        self._limits = limits
        self._door = Door(limits, unlimited)
        self._served = Served.of(name, app, self._door, refusal)

    async def serve(self, listener: socket.socket, stop: asyncio.Event, *, grace: float) -> None:
        """Serve until `stop` is set, then finish what is open.

        Args:
            listener: is closed at the end.
            stop: the word.
            grace: seconds for answers that are under way; then they are broken off.
        """
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: HttpConnection(self._served), sock=listener, backlog=_BACKLOG
        )
        looking = loop.create_task(self._look_after_limits())
        try:
            await stop.wait()
            server.close()
            for guest in self._connections():
                guest.finish()
            await self._last_answers(grace)
        finally:
            looking.cancel()
            server.close()
            for task in self._served.tasks:
                task.cancel()
            for guest in self._connections():
                guest.abort()
            await asyncio.gather(looking, *self._served.tasks, return_exceptions=True)

    async def _last_answers(self, grace: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._served.tasks:
                    await asyncio.wait(set(self._served.tasks))

    def _connections(self) -> list[HttpConnection]:
        return [guest for guest in self._door.guests if isinstance(guest, HttpConnection)]

    async def _look_after_limits(self) -> None:
        limits = self._limits
        shortest = min(
            limits.head_seconds, limits.idle_seconds, limits.body_seconds, limits.stall_seconds
        )
        while True:
            await asyncio.sleep(min(1.0, shortest * _LOOK))
            now = monotonic()
            for connection in self._connections():
                connection.end_if_overdue(now)
