"""An application, a server and clients of sockets alone, for tests of the HTTP server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from darkroom_common.clock import monotonic
from darkroom_common.http.exchange import App, Receive, Scope, Send
from darkroom_common.http.limits import Limits
from darkroom_common.http.server import HttpServer, listen

QUICK = Limits(
    connections=40,
    connections_per_address=20,
    head_seconds=0.4,
    idle_seconds=0.8,
    body_seconds=0.4,
    body_rate=1 << 20,
    stall_seconds=0.8,
    linger_seconds=0.4,
)
SLOW = replace(QUICK, head_seconds=60, idle_seconds=60, body_seconds=60, stall_seconds=60)
GET = b"GET /path HTTP/1.1\r\nHost: h\r\n\r\n"
PATIENCE = 30.0
"""Seconds within which what has a limit of `QUICK` ends on a busy machine; `SLOW` takes longer."""


class Echo:
    """Answers what it has read, or as many bytes as the path says."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.cancelled = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        body, more = b"", True
        while more and scope["path"] != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                self.cancelled += 1
                return
            body += message["body"]
            more = message["more_body"]
        self.bodies.append(body)
        if scope["path"].startswith("/known"):
            scope["principal"] = "somebody"
            await asyncio.Event().wait()
        if scope["path"] == "/defect":
            raise LookupError("DOE^JOHN")
        size = int(scope["path"].removeprefix("/bytes/")) if "bytes" in scope["path"] else None
        text = f"{scope['method']} {scope['path']}".encode() if size is None else b""
        length = len(text) if size is None else size
        headers = [(b"content-length", str(length).encode())] if length else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        sent = 0
        while size is not None and sent < size:
            sent += 65536
            chunk = b"x" * min(65536, size - sent + 65536)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": text})


@asynccontextmanager
async def serving(
    limits: Limits, unlimited: tuple[Any, ...] = (), app: App | None = None
) -> AsyncIterator[int]:
    """Serve for the length of a block, and return the port."""
    stop = asyncio.Event()
    listener = listen("127.0.0.1", 0)
    port: int = listener.getsockname()[1]
    server = HttpServer("test", app or Echo(), limits=limits, unlimited=unlimited)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(listener, stop, grace=0.2))
        yield port
        stop.set()


class Client:
    """A client of sockets alone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Send, if anybody still listens."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Return status and body of an answer with a length."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return int(head.split()[1]), await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """Return all that comes until the end."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def closed_after(self) -> float:
        """Return the seconds until the end."""
        began = monotonic()
        await self.rest()
        return monotonic() - began


async def pace() -> None:
    """Let a tenth of a second go by: what a slow client is about."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await asyncio.Event().wait()
