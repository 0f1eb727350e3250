"""Peers that say nothing, no TLS, or half of an object within it."""

import asyncio
import re
import socket
import struct
import time
from contextlib import ExitStack

import pytest
from structlog.testing import capture_logs

from darkroom_local.engines.ports import LOOPBACK
from tests.integration.ingest.scp import RunningScp, pdu, read_to_end
from tests.integration.ingest.tls import CONTEXTS, echo
from tests.support.builders import CT, new_uid
from tests.support.certificates import Authority
from tests.support.dicom_peer import Association
from tests.support.waiting import LIMIT, until

IN_TURN = 60.0
"""Seconds: half of what sixty of them take who are waited for one after the other."""


@pytest.mark.req("ING-06")
async def test_silent_tls_peers_hold_up_nobody_and_are_shown_out(
    scp: RunningScp, authority: Authority
) -> None:
    def crowd() -> float:
        with ExitStack() as stack:
            silent = [
                stack.enter_context(socket.create_connection((LOOPBACK, scp.tls_port), timeout=20))
                for _ in range(60)
            ]
            for peer in silent[:20]:
                peer.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
            assert echo(scp.tls_port, authority.client()) < IN_TURN
            assert echo(scp.port, None) < IN_TURN
            began = time.monotonic()
            for peer in silent:
                read_to_end(peer)
            return time.monotonic() - began

    assert await asyncio.to_thread(crowd) < IN_TURN


async def test_one_within_tls_who_says_nothing_is_shown_out(
    scp: RunningScp, authority: Authority
) -> None:
    def wait() -> tuple[float, bytes]:
        began = time.monotonic()
        with authority.client().wrap_socket(
            socket.create_connection((LOOPBACK, scp.tls_port), timeout=20),
            server_hostname="localhost",
        ) as peer:
            return time.monotonic() - began, read_to_end(peer)

    seconds, said = await asyncio.to_thread(wait)
    assert (seconds < LIMIT, said) == (True, b"")


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        pdu(1, struct.pack(">HH", 1, 0) + b"DARKROOM".ljust(16) + b"SCANNER".ljust(16) + bytes(32)),
        b"\x16\x03\x01\x40\x00" + bytes(16384),
    ],
)
async def test_who_speaks_no_tls_is_closed_with_one_line(
    scp: RunningScp, authority: Authority, said: bytes
) -> None:
    def ask() -> None:
        with socket.create_connection((LOOPBACK, scp.tls_port), timeout=20) as peer:
            peer.sendall(said)
            read_to_end(peer)

    with capture_logs() as logs:
        await asyncio.to_thread(ask)
    assert [line["event"] for line in logs] == ["tls.refused"]
    assert re.fullmatch(r"[a-z0-9-]+", logs[0]["reason"])
    with capture_logs() as logs:
        assert await asyncio.to_thread(_hello_to_the_plain_port, scp.port) == b""
    assert [line["event"] for line in logs] == ["connection.not_dicom"]
    assert await asyncio.to_thread(echo, scp.tls_port, authority.client()) < 1


def _hello_to_the_plain_port(port: int) -> bytes:
    with socket.create_connection((LOOPBACK, port), timeout=20) as peer:
        peer.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(508))
        return read_to_end(peer)


async def test_the_goodbye_is_said_within_tls(scp: RunningScp, authority: Authority) -> None:
    def release() -> bytes:
        peer = Association(scp.tls_port, CONTEXTS, tls=authority.client())
        peer._socket.sendall(struct.pack(">BBLL", 5, 0, 4, 0))
        assert peer._read_pdu()[0] == 6
        rest = peer._socket.recv(100)  # raises when the end comes without close_notify
        peer._socket.close()
        return rest

    assert await asyncio.to_thread(release) == b""


async def test_a_cut_in_mid_object_leaves_nothing(scp: RunningScp, authority: Authority) -> None:
    def cut() -> None:
        peer = Association(scp.tls_port, CONTEXTS, tls=authority.client())
        peer._status = lambda: 0  # type: ignore[method-assign]
        whole = peer._send
        peer._send = lambda c, k, d: whole(c, k, d) if k else None  # type: ignore[method-assign, misc, assignment]
        peer.store(1, CT, new_uid(), b"")
        peer._socket.sendall(pdu(4, struct.pack(">LBB", 5002, 1, 0) + bytes(5000)))
        peer._socket.close()

    await asyncio.to_thread(cut)
    await until(lambda: not scp.left_over())
    assert scp.spool.waiting() == []
