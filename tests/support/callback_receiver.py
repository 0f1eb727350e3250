"""A receiver of callbacks in the process of a test: it keeps what comes, and has moods."""

import asyncio
import json
import re
import runpy
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

DOCUMENTED: Final = Path(__file__).parents[2] / "docs" / "callbacks.md"
_HUGE: Final = 64 << 20


def documented_check(directory: Path) -> Callable[..., bool]:
    """The function of the page for those who receive callbacks, as they would copy it."""
    code = re.search(r"```python\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    assert code is not None
    copied = directory / "copied_from_the_page.py"
    copied.write_text(code[1])
    check: Callable[..., bool] = runpy.run_path(str(copied))["verified"]
    return check


@dataclass
class Came:
    """A request that has come."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """Takes requests. `moods` are what it does to the next ones: a status, or a word."""

    port: int = 0
    came: list[Came] = field(default_factory=list)
    moods: list[int | str] = field(default_factory=list)
    usual: int | str = 204
    more: str = ""  # further header lines of answers
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?of=darkroom"

    def of(self, kind: str) -> list[Came]:
        return [one for one in self.came if one.event["type"] == kind]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            lines = (line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in lines}
            body = await reader.readexactly(int(headers["content-length"]))
            self.came.append(Came(head[0].split(" ")[1], headers, body))
            mood = self.moods.pop(0) if self.moods else self.usual
            await self._answer(writer, mood)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self.open.discard(writer)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, mood: int | str) -> None:
        if mood == "hang":
            await self.released.wait()
            return
        if mood == "huge":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % _HUGE)
            for _ in range(_HUGE >> 16):
                writer.write(bytes(1 << 16))
                await writer.drain()
            return
        if mood == "nonsense":
            writer.write(b"220 mail.clinic.example ESMTP\r\n\r\n")
        else:
            writer.write(f"HTTP/1.1 {mood} Mood\r\n{self.more}content-length: 0\r\n\r\n".encode())
        await writer.drain()


@asynccontextmanager
async def a_receiver(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run one for the length of a block."""
    made = Receiver()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.released.set()
        server.close()
        for writer in list(made.open):
            writer.transport.abort()
        await server.wait_closed()
