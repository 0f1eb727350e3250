"""Clients of HTTP that cost next to nothing: blocking sockets, one connection each, and one with
many connections for an open load, whose requests wait in line at no cost.
"""

import asyncio
import socket
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode

import orjson

from darkroom_local.engines.ports import LOOPBACK

_PIECE = 1 << 20


class Refused(Exception):
    """An answer was not 200."""


@dataclass
class Client:
    """One connection that is kept."""

    port: int
    headers: Mapping[str, str]
    _socket: socket.socket = field(init=False)
    _buffer: bytearray = field(default_factory=lambda: bytearray(_PIECE))

    def __post_init__(self) -> None:
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection((LOOPBACK, self.port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, path: str, headers: Mapping[str, str]) -> int:
        """Ask, read the whole answer, and return its bytes.

        Raises:
            Refused: see there.
        """
        fields = {"Host": f"{LOOPBACK}:{self.port}", **self.headers, **headers}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._some()
        head, body = data[:end].lower(), data[end + 4 :]
        if not head.startswith(b"http/1.1 200"):
            raise Refused(f"{path}: {data[:end].decode()}")
        if b"transfer-encoding: chunked" in head:
            return self._chunks(body)
        if b"content-length:" not in head:
            return self._rest(len(body))
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        left = length - len(body)
        while left:
            left -= self._socket.recv_into(self._buffer, min(left, _PIECE))
        return length

    def _some(self) -> bytes:
        some = self._socket.recv(_PIECE)
        if not some:
            raise ConnectionResetError
        return some

    def _rest(self, size: int) -> int:
        """Read to the end of the connection, and make another."""
        while some := self._socket.recv_into(self._buffer):
            size += some
        self._socket.close()
        self._connect()
        return size

    def _chunks(self, data: bytes) -> int:
        total = 0
        while True:
            while b"\r\n" not in data:
                data += self._some()
            line, _, data = data.partition(b"\r\n")
            size = int(line, 16) + 2
            total += size - 2
            while len(data) < size:
                data += self._some()
            data = data[size:]
            if size == 2:
                return total

    def close(self) -> None:
        """Let it go."""
        self._socket.close()


Request = tuple[str, Mapping[str, str]]
"""A path and headers."""


def latency(client: Client, requests: Iterable[Request]) -> float:
    """Return the median of milliseconds, one request after the other."""
    times = []
    for path, headers in requests:
        began = time.perf_counter()
        client.get(path, headers)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def rate(connect: Callable[[], Client], requests: list[Request], clients: int) -> float:
    """Return the requests a second of some clients at once, who share the requests."""

    def ask(client: Client, mine: list[Request]) -> None:
        for path, headers in mine:
            client.get(path, headers)

    opened = [connect() for _ in range(clients)]
    try:
        with ThreadPoolExecutor(clients) as threads:
            began = time.perf_counter()
            list(threads.map(ask, opened, [requests[n::clients] for n in range(clients)]))
            return len(requests) / (time.perf_counter() - began)
    finally:
        for one in opened:
            one.close()


@dataclass(frozen=True)
class Answer:
    """What was answered."""

    status_code: int
    text: str


class ManyConnections:
    """Asks by up to `most` connections at a time, which are kept."""

    def __init__(self, port: int, most: int = 100) -> None:
        self._port = port
        self._turn = asyncio.Semaphore(most)
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        """Open none yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what is open; nothing is asked for any more."""
        for _reader, writer in self._free:
            writer.close()
            await writer.wait_closed()

    async def get(
        self, path: str, *, headers: Mapping[str, str], params: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask by GET."""
        query = f"?{urlencode(params)}" if params else ""
        return await self._ask(f"GET {path}{query}", headers, b"")

    async def post(
        self, path: str, *, json: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask by POST, with JSON."""
        body = orjson.dumps(json)
        more = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        return await self._ask(f"POST {path}", {**(headers or {}), **more}, body)

    async def _ask(self, line: str, headers: Mapping[str, str], body: bytes) -> Answer:
        fields = {"Host": f"{LOOPBACK}:{self._port}", **headers}
        lines = [f"{line} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        async with self._turn:
            if self._free:
                reader, writer = self._free.pop()
            else:
                reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            data = await _body(head, reader)
            if b"connection: close" in head:
                writer.close()
            else:
                self._free.append((reader, writer))
        return Answer(int(head.split(b" ", 2)[1]), data.decode())


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    if b"content-length:" in head:
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        return await reader.readexactly(length)
    data = b""
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readline(), 16):
            data += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    return data
