"""What the HTTP server answers, over real sockets: refusals, ends, old and odd clients."""

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from darkroom_common.clock import monotonic
from darkroom_common.http.exchange import ZEROCOPY, Receive, Scope, Send
from darkroom_common.telemetry.metrics import common as metrics
from tests.support.http_line import GET, PATIENCE, SLOW, pace, serving


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\x01\x00\x00\x00\x00\xcd\x00\x01", 400),
    ],
)
async def test_a_refusal_is_a_problem_and_the_end(
    connect: Callable[..., Any], request_: bytes, status: int
) -> None:
    async with serving(SLOW) as port:
        client = await connect(port)
        await client.send(request_ + GET)
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"application/problem+json" in answer
        assert answer.count(b"HTTP/1.1") == 1


async def test_an_answer_before_the_end_of_the_body_is_seen(connect: Callable[..., Any]) -> None:
    async with serving(SLOW) as port:
        client = await connect(port)
        await client.send(b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n")
        await client.send(b"x" * 150_000)
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer


@pytest.mark.parametrize("size", [9 << 20, 63 << 20])
async def test_who_sends_all_before_reading_sees_an_early_answer(size: int) -> None:
    """A client of blocking sockets, as Java's and Python's are."""

    def ask(port: int) -> tuple[int, bytes, bytes]:
        with socket.create_connection(("127.0.0.1", port), 20) as line:
            line.sendall(b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
            line.sendall(bytes(size))
            answer = HTTPResponse(line)
            answer.begin()
            return answer.status, answer.read(), line.recv(1)

    async with serving(SLOW) as port:
        assert await asyncio.to_thread(ask, port) == (200, b"POST /early", b"")


async def test_more_than_is_read_of_a_refused_body_does_not_take_the_answer(
    connect: Callable[..., Any],
) -> None:
    few = replace(SLOW, linger_bytes=100_000, linger_seconds=1.5, linger_most_seconds=1.5)
    async with serving(few) as port:
        client = await connect(port)
        await client.send(b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 90000000\r\n\r\n")
        sending = asyncio.create_task(client.send(bytes(90_000_000)))
        for _ in range(3):
            await pace()
        assert not sending.done()  # it is neither read nor reset
        assert (await client.answer())[0] == 200
        async with asyncio.timeout(PATIENCE):
            await sending  # the end, in bounded time
        trickling = await connect(port)
        await trickling.send(b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 9999\r\n\r\n")
        began = monotonic()
        while not trickling.reader.at_eof() and monotonic() - began < PATIENCE:
            await trickling.send(b"x")
            await pace()
            if trickling.writer.transport.is_closing():
                break
        assert monotonic() - began < PATIENCE


async def test_head_half_closed_and_old_clients_are_served(connect: Callable[..., Any]) -> None:
    async with serving(SLOW) as port:
        client = await connect(port)
        await client.send(b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n")
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 7" in head
        await client.send(b"POST /b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n")
        await client.send(b"Content-Length: 2\r\n\r\n")
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await client.send(b"ab")
        assert await client.answer() == (200, b"POST /b")
        await client.send(b"GET /c HTTP/1.1\r\nHost: h\r\n\r\n")
        client.writer.write_eof()
        assert (await client.rest()).endswith(b"GET /c")
        old = await connect(port)
        await old.send(b"GET /d HTTP/1.0\r\n\r\n")
        assert (await old.rest()).endswith(b"GET /d")


async def test_a_defect_is_500_without_its_text(connect: Callable[..., Any]) -> None:
    async with serving(SLOW) as port:
        client = await connect(port)
        await client.send(b"GET /defect HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"DOE" not in answer


async def test_who_floods_us_does_not_flood_the_log(connect: Callable[..., Any]) -> None:
    before = metrics.HTTP_CLOSED.labels("test", "host")._value.get()
    began = monotonic()
    with capture_logs() as lines:
        async with serving(SLOW) as port:
            for _ in range(50):
                client = await connect(port)
                await client.send(b"GET / HTTP/1.1\r\n\r\n")
                await client.rest()
    assert metrics.HTTP_CLOSED.labels("test", "host")._value.get() == before + 50
    most = 2 + (monotonic() - began)  # one a second
    assert 1 <= [line["event"] for line in lines].count("http.refused") <= most


async def test_parts_of_a_file_are_sent_whole_to_a_client_that_takes_its_time(
    connect: Callable[..., Any], tmp_path: Path
) -> None:
    whole = os.urandom(1 << 20) * 16  # more than any socket has room for
    path = tmp_path / "whole"
    path.write_bytes(whole)
    begun = asyncio.Event()

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        assert ZEROCOPY in scope["extensions"]
        headers = [(b"content-length", str(len(whole) + 10).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        begun.set()
        with path.open("rb") as file:
            part = {"type": ZEROCOPY, "file": file.fileno(), "more_body": True}
            half = len(whole) // 2
            await send({**part, "body": b"begin", "offset": 0, "count": half})
            await send({**part, "offset": half, "count": len(whole) - half})
        await send({"type": "http.response.body", "body": b"ended"})

    async with serving(SLOW, app=app) as port:
        client = await connect(port)
        for _ in range(2):  # the connection is kept
            await client.send(GET)
            await begun.wait()
            assert await client.answer() == (200, b"begin" + whole + b"ended")
