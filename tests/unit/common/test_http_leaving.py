"""A server of HTTP that leaves its port to another process."""

import asyncio

import httpx
import pytest

from darkroom_common.http.exchange import Receive, Scope, Send
from darkroom_common.http.limits import Limits
from darkroom_common.http.server import HttpServer, Leaving, listen
from darkroom_local.engines.ports import LOOPBACK
from tests.support.waiting import LIMIT, until


async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})


@pytest.mark.parametrize("told", [False, True])
async def test_who_is_here_has_a_last_answer(told: bool) -> None:
    listener = listen(LOOPBACK, 0)
    url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    stop, told_to_end, handed_over = asyncio.Event(), asyncio.Event(), False
    server = HttpServer("test", answer, limits=Limits(connections=5, connections_per_address=5))
    server.leaving = Leaving(lambda: handed_over, told_to_end, 30.0)
    serving = asyncio.create_task(server.serve(listener, stop, grace=1.0))
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        first = await client.get("/")
        assert "connection" not in first.headers
        handed_over = True
        stop.set()
        if told:
            told_to_end.set()
        else:
            await until(lambda: listener.fileno() == -1)  # it accepts nobody
            last = await client.get("/")
            assert (last.text, last.headers["connection"]) == ("here", "close")
        async with asyncio.timeout(LIMIT):
            await serving
        with pytest.raises(httpx.ConnectError):
            await client.get("/")
