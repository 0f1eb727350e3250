"""What anybody may take of an HTTP listener, over real sockets."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.clock import monotonic
from darkroom_common.http.exchange import ZEROCOPY, Receive, Scope, Send
from darkroom_common.telemetry.metrics import common as metrics
from tests.support.http_line import GET, PATIENCE, QUICK, SLOW, Echo, pace, serving
from tests.support.waiting import until

MIB = 1 << 20


# --- time ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"", None),
        (b"G", 408),
        (b"GET /path HTTP/1.1\r\nHost: h\r\n", 408),
        (b"POST /path HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhell", 408),
        (b"POST /path HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", 408),
        (b"POST /path HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b", 408),
    ],
)
async def test_who_does_not_go_on_is_closed(
    connect: Callable[..., Any], begun: bytes, status: int | None
) -> None:
    async with serving(QUICK) as port:
        client = await connect(port)
        await client.send(begun)
        began = monotonic()
        answer = await client.rest()
        assert monotonic() - began < PATIENCE
        assert answer.startswith(b"HTTP/1.1 408 ") if status else not answer


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"", b"\r\n"),
        (b"GET /", b"a"),
        (GET[:-2], b"A: b\r\n"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n", b"x"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
    ],
)
async def test_a_trickle_is_no_progress(
    connect: Callable[..., Any], begun: bytes, piece: bytes
) -> None:
    async with serving(QUICK) as port:
        client = await connect(port)
        await client.send(begun)
        ended = asyncio.create_task(client.rest())
        began = monotonic()
        while not ended.done():
            await client.send(piece)
            await asyncio.wait({ended}, timeout=0.05)
            assert monotonic() - began < PATIENCE
        assert (await ended).startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 400 ")) or not ended.result()


async def test_a_body_may_take_its_time_as_long_as_it_comes(connect: Callable[..., Any]) -> None:
    limits = replace(QUICK, body_seconds=0.3, body_rate=2000)
    async with serving(limits) as port:
        client = await connect(port)
        await client.send(b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 4000\r\n\r\n")
        for _ in range(10):
            await client.send(b"x" * 400)
            await pace()
        assert await client.answer() == (200, b"POST /slow")


async def test_an_idle_connection_is_kept_for_a_while_and_then_closed(
    connect: Callable[..., Any],
) -> None:
    async with serving(QUICK) as port:
        client = await connect(port)
        for _ in range(2):
            await client.send(GET)
            assert (await client.answer())[0] == 200
        assert QUICK.head_seconds < await client.closed_after() < PATIENCE


async def test_a_client_that_does_not_read_is_closed(connect: Callable[..., Any]) -> None:
    app = Echo()
    async with serving(QUICK, app=app) as port:
        client = await connect(port)
        await client.send(b"GET /bytes/200000000 HTTP/1.1\r\nHost: h\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            await client.reader.readexactly(1000)
            client.writer.transport.pause_reading()
            while not client.writer.transport.is_closing():
                await client.send(b"x")
                await pace()


async def test_a_client_that_does_not_take_a_file_is_closed(
    connect: Callable[..., Any], tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    whole.write_bytes(bytes(32 * MIB))

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % (32 * MIB))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with whole.open("rb") as file:
            part = {"file": file.fileno(), "offset": 0, "count": 32 * MIB}
            await send({"type": ZEROCOPY, **part})

    before = metrics.HTTP_CLOSED.labels("test", "slow-reader")._value.get()
    async with serving(QUICK, app=app) as port:
        client = await connect(port)
        client.writer.transport.pause_reading()
        await client.send(GET)

        async def is_told() -> bool:
            return bool(metrics.HTTP_CLOSED.labels("test", "slow-reader")._value.get() > before)

        await until(is_told)
        client.writer.transport.resume_reading()
        assert len(await client.rest()) < 32 * MIB


async def test_a_client_that_reads_slowly_is_not(connect: Callable[..., Any]) -> None:
    limits = replace(QUICK, stall_seconds=0.3)
    size = 3_000_000
    async with serving(limits) as port:
        client = await connect(port)
        await client.send(b"GET /bytes/%d HTTP/1.1\r\nHost: h\r\n\r\n" % size)
        await client.reader.readuntil(b"\r\n\r\n")
        for _ in range(20):
            await client.reader.readexactly(size // 20)
            await pace()


# --- number ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "held", [b"", b"GET /", GET[:-2], b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"]
)
async def test_a_crowd_makes_room_for_others(connect: Callable[..., Any], held: bytes) -> None:
    async with serving(SLOW) as port:
        crowd = [await connect(port, f"127.0.0.{2 + n % 3}") for n in range(120)]
        for one in crowd:
            await one.send(held)
        other = await connect(port, "127.0.0.9")
        for _ in range(3):
            await other.send(GET)
            assert await other.answer() == (200, b"GET /path")


async def test_one_address_cannot_fill_the_house(connect: Callable[..., Any]) -> None:
    async with serving(SLOW) as port:
        busy = [await connect(port) for _ in range(QUICK.connections_per_address)]
        for one in busy:
            await one.send(b"GET /known HTTP/1.1\r\nHost: h\r\n\r\n")
        refused = await connect(port)
        assert (await refused.rest()).startswith(b"HTTP/1.1 503 ")
        other = await connect(port, "127.0.0.2")
        await other.send(GET)
        assert (await other.answer())[0] == 200


async def test_a_proxy_stands_for_many(connect: Callable[..., Any]) -> None:
    async with serving(SLOW, (ip_network("127.0.0.0/30"),)) as port:
        busy = [await connect(port) for _ in range(QUICK.connections_per_address + 10)]
        for one in busy:
            await one.send(b"GET /known HTTP/1.1\r\nHost: h\r\n\r\n")
        another = await connect(port)
        await another.send(GET)
        assert (await another.answer())[0] == 200


# --- bytes -----------------------------------------------------------------------------------
def resident() -> int:
    """Return the bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("begun", "piece", "status"),
    [
        (b"GET /", b"a" * 65536, 414),
        (GET[:-2] + b"X: ", b"a" * 65536, 431),
        (GET[:-2], b"A: b\r\n" * 10_000, 431),
        (GET[:-2], b"Long-Name-Of-A-Field: and a value\r\n" * 2000, 431),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 65536, 400),
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1;a=b\r\nx\r\n" * 6000,
            400,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"A: b\r\n" * 6000,
            400,
        ),
    ],
)
async def test_endless_heads_and_frames_are_cut_off(
    connect: Callable[..., Any], begun: bytes, piece: bytes, status: int
) -> None:
    async with serving(SLOW) as port:
        before = resident()
        clients = [await connect(port) for _ in range(15)]
        for one in clients:
            await one.send(begun)
            for _ in range(20):
                await one.send(piece)
        for one in clients:
            assert (await one.rest())[9:12] in {str(status).encode(), b""}
        assert resident() - before < 40 * MIB


async def test_many_half_heads_take_little_memory(connect: Callable[..., Any]) -> None:
    limits = replace(SLOW, connections=400, connections_per_address=400)
    async with serving(limits) as port:
        before = resident()
        clients = [await connect(port, f"127.0.0.{2 + n % 8}") for n in range(300)]
        for one in clients:
            await one.send(GET[:-2] + b"X: " + b"a" * 30_000)
        other = await connect(port, "127.0.0.20")
        await other.send(GET)
        assert (await other.answer())[0] == 200
        assert resident() - before < 60 * MIB


def fill(raw: socket.socket) -> int:
    """Send until nothing more is taken; return the bytes."""
    sent = 0
    raw.settimeout(0.5)
    with raw, suppress(TimeoutError):
        while sent < 100 * MIB:
            sent += raw.send(GET * 1000)
    return sent


async def test_what_is_sent_ahead_waits_in_the_kernel(connect: Callable[..., Any]) -> None:
    app = Echo()
    async with serving(SLOW, app=app) as port:
        before = resident()
        client = await connect(port)
        await client.send(b"GET /known HTTP/1.1\r\nHost: h\r\n\r\n")
        sock: socket.socket = client.writer.get_extra_info("socket")
        raw = socket.socket(fileno=os.dup(sock.fileno()))
        sent = await asyncio.to_thread(fill, raw)
        assert sent < 30 * MIB
        assert resident() - before < 10 * MIB
        assert len(app.bodies) == 1


async def test_pipelined_requests_are_answered_in_their_order(connect: Callable[..., Any]) -> None:
    async with serving(SLOW) as port:
        client = await connect(port)
        wanted = [b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(3000)]
        sending = asyncio.create_task(client.send(b"".join(wanted)))
        for number in range(3000):
            assert await client.answer() == (200, b"GET /%d" % number)
        await sending
