"""A TCP proxy on the loopback interface that misbehaves on demand (F11)."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from darkroom_local.engines.ports import LOOPBACK
from tests.support.waiting import lasting

_LINGER = struct.pack("ii", 1, 0)


@dataclass
class Proxy:
    """Passes connections on to a port."""

    target: int
    port: int = 0
    delay: float = 0.0
    """Seconds before each piece is passed on."""
    piece: int = 65536
    """Bytes that are passed on at once."""
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def url(self, url: str) -> str:
        """The URL that leads through here instead of to the target."""
        parts = urlsplit(url)
        who = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{who}@{LOOPBACK}:{self.port}").geturl()

    def cut(self, *, reset: bool) -> None:
        """End all connections, by FIN or by RST."""
        for writer in list(self._open):
            if reset:
                plain = writer.get_extra_info("socket")
                with suppress(OSError):
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
                writer.transport.abort()
            else:
                writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, both ways."""
        try:
            there, back = await asyncio.open_connection(LOOPBACK, self.target)
        except OSError:
            writer.close()
            return
        self._open |= {writer, back}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, back))
                tasks.create_task(self._pump(there, writer))
        finally:
            self._open -= {writer, back}
            writer.close()
            back.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(self.piece):
                if self.delay:
                    await lasting(self.delay)
                writer.write(data)
                await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.close()


@asynccontextmanager
async def proxy_to(target: int) -> AsyncIterator[Proxy]:
    """Run a proxy to a port of this machine."""
    made = Proxy(target)
    server = await asyncio.start_server(made.serve, LOOPBACK, 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.cut(reset=False)
