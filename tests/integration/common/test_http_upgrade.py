"""A connection that goes on in another protocol: WebSockets behind the server of HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import websockets
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from darkroom_api.dicomweb.workitems.socket import Socket, accepted_key
from darkroom_api.http.errors import ApiError
from darkroom_common.http.exchange import UPGRADE
from darkroom_common.http.limits import Limits
from darkroom_common.http.server import HttpServer, listen
from tests.support.waiting import LIMIT

LIMITS = Limits(head_seconds=0.4, idle_seconds=0.4, body_seconds=0.4, stall_seconds=2)


async def told(scope: Scope, receive: Receive, send: Send) -> None:
    """Say three things, know that they have arrived, and say so."""
    assert UPGRADE in scope["extensions"]
    socket = Socket(receive, send)
    await socket.open(accepted_key(Request(scope).headers))
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(socket.listen())
        for number in range(3):
            await socket.say(f"{number}" * 70_000)
        arrived = await socket.has_arrived(b"3")
        await socket.say("arrived" if arrived else "gone")
        await listening


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    listener, stop = listen("127.0.0.1", 0), asyncio.Event()
    port = listener.getsockname()[1]
    server = HttpServer("test", told, limits=LIMITS)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(listener, stop, grace=1))
        try:
            yield f"ws://127.0.0.1:{port}/"
        finally:
            stop.set()


async def test_what_is_said_arrives_and_is_known_to_have() -> None:
    async with serving() as url, websockets.connect(url, compression=None) as socket:
        for number in range(3):
            assert await socket.recv() == f"{number}" * 70_000
        assert await socket.recv() == "arrived"
        # longer than any limit of a request
        async with asyncio.timeout(LIMIT):
            for _ in range(4):
                await (await socket.ping())
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(socket.recv(), 0.3)
        await socket.send(b"x" * 300_000)
        await asyncio.wait_for(socket.wait_closed(), LIMIT)
        assert socket.close_code == 1003


async def test_the_other_side_may_go_at_any_time() -> None:
    async with serving() as url:
        async with websockets.connect(url, compression=None) as socket:
            await socket.recv()
        assert socket.close_code == 1000
        async with websockets.connect(url, compression=None, ping_interval=None) as socket:
            for _ in range(500):
                await socket.ping()
            async with asyncio.timeout(LIMIT):
                while True:
                    try:
                        await socket.recv()
                    except websockets.ConnectionClosed as error:
                        assert error.rcvd is not None
                        assert error.rcvd.code == 1008
                        break


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"upgrade": "h2c"}, 426),
        ({"connection": "keep-alive"}, 426),
        ({"sec-websocket-version": "8"}, 426),
        ({"sec-websocket-key": "short"}, 400),
        ({"sec-websocket-key": "é"}, 400),
    ],
)
def test_what_asks_for_no_websocket_is_told_what_would(wrong: dict[str, str], status: int) -> None:
    right = {
        "upgrade": "websocket",
        "connection": "keep-alive, Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    assert accepted_key(right) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3
    with pytest.raises(ApiError) as refused:
        accepted_key(right | wrong)
    assert refused.value.status == status
