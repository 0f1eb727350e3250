"""A normal sender beside peers that drip, idle and stay silent: its rate, and its C-ECHO."""

import asyncio
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from darkroom_local.engines.ports import LOOPBACK, free_port
from tests.chaos.report import Report, Row
from tests.integration.ingest.real import CONTEXTS, RealIngest, real_ingest, store_command, value
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.certificates import Authority
from tests.support.dicom_peer import Association

ROUNDS = 7
SECONDS = 3.0


def rate(ingest: RealIngest) -> tuple[float, int]:
    """Objects of half a megabyte a second that one sender gets in, and how many those are."""
    count, began = 0, time.monotonic()
    with Association(ingest.port, CONTEXTS) as peer:
        while time.monotonic() - began < SECONDS:
            one = a_data_set(PixelData=bytes(500_000))
            assert peer.store(1, CT, str(one.SOPInstanceUID), encode(one)) == 0
            count += 1
    return count / (time.monotonic() - began), count


@contextmanager
def slow_peers(ingest: RealIngest, tls_port: int) -> Iterator[None]:
    """60 connections that say nothing, one with half a head, four that send a byte a second, and
    two that never get through a TLS handshake.
    """
    stop = threading.Event()
    stream = value(1, 3, store_command(new_uid())) + value(1, 0, bytes(1000))

    def drip(peer: Association) -> None:
        for byte in stream:
            if stop.wait(1):
                return
            try:
                peer._socket.sendall(bytes([byte]))
            except OSError:
                return  # it was hung up on, as it should be

    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(ingest.connect())
        stack.enter_context(ingest.connect()).sendall(b"\x01\x00\x00")
        for beginning in (b"", b"\x16\x03\x01\x02\x00\x01"):  # half a ClientHello
            silent = socket.create_connection((LOOPBACK, tls_port), timeout=20)
            stack.enter_context(silent).sendall(beginning)
        threads = []
        for _ in range(4):
            peer = stack.enter_context(Association(ingest.port, CONTEXTS))
            threads.append(threading.Thread(target=drip, args=(peer,)))
            threads[-1].start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()


@pytest.mark.timeout(300)
async def test_a_normal_sender_beside_slow_peers(
    tmp_path: Path, amqp_url: str, report: Report
) -> None:
    alone: list[float] = []
    beside: list[float] = []
    objects = 0
    authority, tls_port = Authority(tmp_path), free_port()
    ours = authority.sign("node")
    tls = {
        "DICOM_TLS_PORT": str(tls_port),
        "DICOM_TLS_CERTIFICATE": str(ours.certificate),
        "DICOM_TLS_KEY": str(ours.key),
    }

    def echo_over_tls() -> float:
        began = time.monotonic()
        with Association(tls_port, CONTEXTS, tls=authority.client()) as peer:
            assert peer.echo(3) == 0
        return time.monotonic() - began

    async with real_ingest(tmp_path, amqp_url, **tls) as ingest:
        for _ in range(ROUNDS):
            figure, count = await asyncio.to_thread(rate, ingest)
            alone.append(figure)
            with slow_peers(ingest, tls_port):
                assert await asyncio.to_thread(ingest.echo) < 1
                assert await asyncio.to_thread(echo_over_tls) < 1
                figure, more = await asyncio.to_thread(rate, ingest)
                assert await asyncio.to_thread(ingest.echo) < 1
            beside.append(figure)
            objects += count + more
    ratio = statistics.median(beside) / statistics.median(alone)
    seen = f"{ratio:.0%} of the sender's rate alone (medians of {ROUNDS}); C-ECHO within 1 s"
    report.add(Row("bad input", "67 slow and silent peers", ROUNDS, objects, "", seen))
