"""One request and its answer, as the application sees them (ASGI 2.3)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, Protocol

from darkroom_common.clock import wall_seconds
from darkroom_common.http.wire import Head, Mark

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
ENDLESS: Final = "darkroom.endless"
"""In the scope of a request whose answer goes on until the client goes: it has, with its half."""
ZEROCOPY: Final = "http.response.zerocopysend"
"""An extension of ASGI: a message of this type sends a part of a file as body or part of it. The
file is a descriptor, and what is sent of it is in memory: nothing waits for a medium."""
UPGRADE: Final = "http.response.upgrade"
"""An extension of ours: a message of this type, with the headers of a 101, ends the request; what
follows both ways are messages of type `UPGRADED`, whose `data` are bytes of the other protocol. The
application ends it by one without `more`. Only after a request whose body has come whole."""
UPGRADED: Final = "http.upgraded"
_APART: Final = 1 << 16
"""Bytes of a body that are not copied to stand in one piece with what is around them."""
_NO_BODY: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_RETRY_AFTER: Final = (b"retry-after", b"1")
_AGAIN: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class Line(Protocol):
    """The connection as an exchange sees it."""

    peer: tuple[str, int] | None
    own: tuple[str, int] | None
    scheme: str

    def write(self, *parts: bytes) -> None:
        """Send bytes, all parts at once."""
        ...

    async def send_file(self, head: bytes, file: int, offset: int, count: int) -> None:
        """Send bytes, and behind them a part of a file that is in memory."""
        ...

    async def drained(self) -> None:
        """Wait until the client has taken most of what was sent."""
        ...

    def want_input(self) -> None:
        """Read on."""
        ...

    def switch(self) -> None:
        """Hand on what follows as it comes: it is of another protocol."""
        ...

    def finished(self, *, persistent: bool) -> None:
        """Go on after a whole answer."""
        ...

    def abort(self) -> None:
        """Break off."""
        ...


class Exchange:
    """A request that is being answered.

    Attributes:
        scope: of ASGI.
        received: bytes of the body so far.
        input_ended: whether the request has come whole.
        begun: whether anything of the answer was sent.
        upgraded: whether another protocol is spoken from there on.
        persistent: whether another request may follow.
    """

    def __init__(self, head: Head, line: Line) -> None:
        self.scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "method": head.method,
            "scheme": line.scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": "",
            "headers": head.fields,
            "client": line.peer,
            "server": line.own,
            "state": {},
            "extensions": {UPGRADE: {}, **({ZEROCOPY: {}} if line.scheme == "http" else {})},
        }
        self.received = 0
        self.input_ended = False
        self.begun = False
        self.upgraded = False
        self.persistent = head.persistent
        self._head = head
        self._line = line
        self._body = bytearray()
        self._wants_continue = head.wants_continue
        self._told_end = False
        self._news = asyncio.Event()
        self._over = asyncio.Event()
        self._lost = False
        self._start: bytes | None = None
        self._chunked = self._silent = False
        self._left: int | None = None

    @property
    def waiting(self) -> int:
        """Bytes of the body that the application has not taken."""
        return len(self._body)

    # What the connection calls

    def take(self, event: bytes | Mark) -> None:
        """Take a part of the body, or its end."""
        if isinstance(event, Mark):
            self.input_ended = True
        else:
            self.received += len(event)
            self._body += event
        self._news.set()

    def lose(self) -> None:
        """Hear that there is nobody to answer any more."""
        self._lost = True
        self._news.set()
        self._over.set()

    async def run(self, app: App) -> None:
        """Have the application answer; whatever it leaves undone ends the connection."""
        try:
            await app(self.scope, self._receive, self._send)
        finally:
            if not self._over.is_set():
                self._give_up()

    def _give_up(self) -> None:
        self.lose()
        if self.begun:
            self._line.abort()
            return
        self._line.write(answer_of(500, {"content-type": "text/plain"}, b"Internal Server Error"))
        self._line.finished(persistent=False)

    # What the application calls

    async def _receive(self) -> Message:
        if self.upgraded:
            return await self._receive_upgraded()
        if self._told_end:
            await self._over.wait()
            return {"type": "http.disconnect"}
        if self._wants_continue and not self.begun and not self._lost:
            self._wants_continue = False
            self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._body or self.input_ended or self._lost):
            self._news.clear()
            self._line.want_input()
            await self._news.wait()
        if self._lost:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), bytearray()
        self._told_end = self.input_ended
        if not self._told_end:
            self._line.want_input()
        return {"type": "http.request", "body": body, "more_body": not self._told_end}

    async def _receive_upgraded(self) -> Message:
        while not (self._body or self._lost):
            self._news.clear()
            self._line.want_input()
            await self._news.wait()
        if self._lost:
            return {"type": "http.disconnect"}
        data, self._body = bytes(self._body), bytearray()
        return {"type": UPGRADED, "data": data}

    def _upgrade(self, message: Message) -> None:
        """Switch protocols."""
        if self.begun or not self.input_ended:
            raise RuntimeError("protocols are switched behind a whole request and no answer")
        self.begun = self.upgraded = True
        self.input_ended, self.persistent = False, False
        self._line.write(head_of(101, message.get("headers", ())))
        self._line.switch()

    async def _send_upgraded(self, message: Message) -> None:
        await self._line.drained()
        if self._lost:
            return
        self._line.write(bytes(message.get("data", b"")))
        self._end_if(last=not message.get("more"))

    async def _send(self, message: Message) -> None:
        if self._lost:
            return
        if self._over.is_set():
            raise RuntimeError("an answer that is whole was sent more")
        if message["type"] == UPGRADE:
            self._upgrade(message)
            return
        if self.upgraded:
            await self._send_upgraded(message)
            return
        if self._start is None and not self.begun:
            self._start = self._started(message)
            return
        await self._line.drained()
        if message["type"] == ZEROCOPY:
            await self._send_file(message)
            return
        self._send_body(bytes(message.get("body", b"")), more=bool(message.get("more_body")))

    def _started(self, message: Message) -> bytes:
        if message["type"] != "http.response.start":
            raise RuntimeError("an answer has to begin with its status")
        status, headers = int(message["status"]), list(message.get("headers", ()))
        known = {bytes(name).lower(): bytes(value) for name, value in headers}
        if b"close" in known.get(b"connection", b"").lower() or not self.input_ended:
            self.persistent = False
        if self._head.method == "HEAD" or status in _NO_BODY:
            self._left = None
        elif b"content-length" in known:
            self._left = int(known[b"content-length"])
        elif self._head.version == "1.1":
            self._chunked = True
            headers.append((b"transfer-encoding", b"chunked"))
        else:
            self.persistent = False  # the end of the connection is the end of the body
        if not self.persistent and b"connection" not in known:
            headers.append((b"connection", b"close"))
        self._silent = self._head.method == "HEAD" or status in _NO_BODY
        return head_of(status, headers)

    async def _send_file(self, message: Message) -> None:
        """Send a part of a file, of a body whose length the head has said."""
        if self._lost:  # meanwhile
            return
        count, more = int(message["count"]), bool(message.get("more_body"))
        head, self._start, self.begun = self._start or b"", None, True
        before = bytes(message.get("body", b""))
        self._spend(len(before) + count, more=more)
        await self._line.send_file(head + before, message["file"], message["offset"], count)
        self._end_if(last=not more and not self._lost)

    def _spend(self, size: int, *, more: bool) -> None:
        """Count what is sent against the length that the head has said."""
        if self._left is None:
            return
        if size > self._left or (size < self._left and not more):
            self.lose()
            self._line.abort()
            raise RuntimeError("a body is not as long as its Content-Length")
        self._left -= size

    def _end_if(self, *, last: bool) -> None:
        if last:
            self._over.set()
            self._news.set()
            self._line.finished(persistent=self.persistent)

    def _send_body(self, body: bytes, *, more: bool) -> None:
        if self._lost:  # meanwhile
            return
        parts = [self._start] if self._start else []
        self._start, self.begun = None, True
        if self._silent:
            body = b""
        self._spend(len(body), more=more)
        if self._chunked:
            parts += [b"%x\r\n" % len(body), body, b"\r\n"] if body else []
            parts += [] if more else [b"0\r\n\r\n"]
        else:
            parts.append(body)
        if len(body) < _APART:
            parts = [b"".join(parts)]
        self._line.write(*parts)
        self._end_if(last=not more)


def head_of(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of an answer.

    Raises:
        ValueError: a field would be more than one.
    """
    phrase = HTTPStatus(status).phrase
    parts = [f"HTTP/1.1 {status} {phrase}\r\n".encode(), _date(int(wall_seconds()))]
    for name, value in headers:
        if b"\r" in value or b"\n" in value or b"\0" in value or b"\n" in name or b":" in name:
            raise ValueError("a field of an answer holds the end of a line")
        parts += [bytes(name), b": ", bytes(value), b"\r\n"]
    return b"".join([*parts, b"\r\n"])


def answer_of(status: int, given: Mapping[str, str], body: bytes) -> bytes:
    """Return a whole answer that ends the connection."""
    headers = [
        *((name.encode(), value.encode()) for name, value in given.items()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *([_RETRY_AFTER] if status in _AGAIN else []),
    ]
    return head_of(status, headers) + body


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return b"date: %s\r\n" % formatdate(second, usegmt=True).encode()
