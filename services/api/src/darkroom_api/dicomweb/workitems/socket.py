"""A WebSocket that is told, and says nothing but that it is there (RFC 6455)."""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.types import Receive, Send
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError, generate_accept_token

from darkroom_api.http.errors import ApiError, Code, bad_request
from darkroom_common.clock import monotonic
from darkroom_common.http.exchange import UPGRADE, UPGRADED

VERSION: Final = "13"
GOING_AWAY: Final = 1001
NOT_TAKEN: Final = 1003
POLICY: Final = 1008
PINGS_A_SECOND: Final = 10.0
"""Of the other side, over a connection's life, beyond the first hundred."""
_FIRST: Final = 100
PONG_SECONDS: Final = 20.0
"""Until what was sent has to have reached the other side."""
_KEY: Final = 16


def accepted_key(headers: Mapping[str, str]) -> bytes:
    """Return Sec-WebSocket-Accept for the head of a request (RFC 6455 section 4.2).

    Raises:
        ApiError: 426, it asks for no WebSocket of this version; 400, its key is none.
    """
    upgrade = {one.strip().lower() for one in headers.get("upgrade", "").split(",")}
    connection = {one.strip().lower() for one in headers.get("connection", "").split(",")}
    version = headers.get("sec-websocket-version", "").strip()
    if "websocket" not in upgrade or "upgrade" not in connection or version != VERSION:
        raise no_websocket()
    key = headers.get("sec-websocket-key", "").strip()
    try:
        fits = len(base64.b64decode(key, validate=True)) == _KEY
    except (binascii.Error, ValueError):
        fits = False
    if not fits:
        raise bad_request("Sec-WebSocket-Key is no 16 bytes in base64.")
    return generate_accept_token(key.encode("ascii"))


def no_websocket() -> ApiError:
    """Return the answer to a request for no WebSocket of this version."""
    wanted = {"upgrade": "websocket", "sec-websocket-version": VERSION}
    text = "This is for WebSockets of version 13."
    return ApiError(426, Code.INVALID_REQUEST, text, headers=wanted)


@dataclass
class Socket:
    """One side of a WebSocket: no extensions, so that nothing is inflated.

    What the other side sends is not kept: data of any size ends the connection.

    Attributes:
        ended: whether no more can be sent.
    """

    receive: Receive
    send: Send
    ended: bool = False
    _protocol: Connection = field(default_factory=lambda: Connection(ConnectionType.SERVER))
    _pings: int = 0
    _began: float = field(default_factory=monotonic)
    _ponged: bytes = b""
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, accept: bytes) -> None:
        """Switch protocols."""
        headers = [
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-accept", accept),
        ]
        await self.send({"type": UPGRADE, "status": 101, "headers": headers})

    async def listen(self) -> None:
        """Answer pings and hear pongs until the other side goes or is sent away."""
        while not self.ended:
            message = await self.receive()
            if message["type"] != UPGRADED:
                self.ended = True
                break
            self._protocol.receive_data(message["data"])
            for event in self._protocol.events():
                await self._take(event)
        self._heard.set()

    async def _take(self, event: object) -> None:
        match event:
            case Ping():
                self._pings += 1
                allowed = _FIRST + PINGS_A_SECOND * (monotonic() - self._began)
                if self._pings > allowed:
                    await self.close(POLICY, "too many pings")
                else:
                    await self._write(event.response())
            case Pong():
                self._ponged = bytes(event.payload)
                self._heard.set()
            case CloseConnection():
                if self._protocol.state is ConnectionState.REMOTE_CLOSING:
                    await self._write(event.response(), last=True)
                elif not self.ended:  # what came is no frame
                    await self.close(int(event.code), "")
                self.ended = True
            case TextMessage() | BytesMessage():
                await self.close(NOT_TAKEN, "nothing is taken here")

    async def say(self, text: str) -> None:
        """Send a message."""
        await self._write(TextMessage(data=text))

    async def has_arrived(self, mark: bytes) -> bool:
        """Ask whether all that was said so far has arrived; false: the other side is gone."""
        await self._write(Ping(payload=mark))
        try:
            async with asyncio.timeout(PONG_SECONDS):
                while self._ponged != mark and not self.ended:
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            return False
        return self._ponged == mark

    async def close(self, code: int, reason: str) -> None:
        """Send the other side away."""
        if not self.ended:
            await self._write(CloseConnection(code=code, reason=reason), last=True)
        self.ended = True
        self._heard.set()

    async def _write(
        self, event: TextMessage | Ping | Pong | CloseConnection, *, last: bool = False
    ) -> None:
        if self.ended:
            return
        try:
            data = self._protocol.send(event)
        except LocalProtocolError:  # the closing handshake goes on
            return
        await self.send({"type": UPGRADED, "data": data, "more": not last})
