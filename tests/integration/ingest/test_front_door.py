"""Hostile and broken peers at the DICOM port, and what they are answered."""

import asyncio
import errno
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from darkroom_common.dimse.negotiation import CONGESTION
from tests.integration.ingest.scp import ABORTED, RunningScp, pdu, read_to_end, running_scp
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.dicom_peer import ECHO, Association, Rejected, send
from tests.support.waiting import dawdle, until

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
CONTEXTS = {1: (CT, EXPLICIT), 3: (ECHO, IMPLICIT)}


@pytest.fixture
async def scp(tmp_path: Path) -> AsyncIterator[RunningScp]:
    async with running_scp(tmp_path, request_seconds=1.5, stall_seconds=1.5) as made:
        yield made


def an_object() -> tuple[str, bytes]:
    data_set = a_data_set()
    return str(data_set.SOPInstanceUID), encode(data_set)


def echo(scp: RunningScp) -> float:
    """Return how long a C-ECHO took, with association and release."""
    began = time.monotonic()
    with Association(scp.port, CONTEXTS) as peer:
        assert peer.echo(3) == 0
    return time.monotonic() - began


@pytest.mark.req("ING-09")
async def test_an_object_arrives_byte_for_byte(scp: RunningScp) -> None:
    uid, data = an_object()
    big = a_data_set(PixelData=bytes(range(256)) * 20_000)
    sent = [(uid, data), (str(big.SOPInstanceUID), encode(big))]
    assert set((await asyncio.to_thread(send, scp.port, sent)).values()) == {0}
    assert scp.ready() == [data for _, data in sent]
    for receipt in scp.receipts:
        again = scp.spool.read_receipt(receipt.id)
        assert (again.identity, again.sha256, again.size) == (
            receipt.identity,
            receipt.sha256,
            receipt.size,
        )
        assert receipt.trace == {} or "traceparent" in receipt.trace


@pytest.mark.parametrize("size", [1, 2, 7, 100])
async def test_fragments_of_any_size(scp: RunningScp, size: int) -> None:
    uid, data = an_object()

    def store() -> int:
        with Association(scp.port, CONTEXTS) as peer:
            whole = peer._send
            peer._send = lambda c, k, d: whole(c, k, d, size)  # type: ignore[method-assign, misc, assignment]
            return peer.store(1, CT, uid, data)

    assert await asyncio.to_thread(store) == 0
    assert scp.ready() == [data]


@pytest.mark.req("ING-08")
async def test_answers_of_the_table(scp: RunningScp) -> None:
    uid, data = an_object()

    def store(sop_class: str, uid: str, data: bytes) -> int:
        with Association(scp.port, CONTEXTS) as peer:
            return peer.store(1, sop_class, uid, data)

    assert await asyncio.to_thread(store, CT, new_uid(), data) == 0xA900
    assert await asyncio.to_thread(store, CT, uid, data[:-3]) == 0xC000
    assert await asyncio.to_thread(store, CT, "../../etc/passwd", b"x" * 300) == 0xC000
    assert await asyncio.to_thread(store, "1.2.3.4", uid, data) == 0x0122
    assert sorted(scp.reasons()) == ["truncated", "truncated", "uid-mismatch"]
    kept = {p.read_bytes()[-9:] for p in scp.spool.quarantine.iterdir() if not p.suffix}
    assert kept == {data[-9:], data[:-3][-9:], b"x" * 9}
    scp.receiver.draining = True
    assert await asyncio.to_thread(store, CT, uid, data) == 0xA700
    scp.receiver.draining = False
    scp.receiver.reserve = 1 << 60
    assert await asyncio.to_thread(store, CT, uid, data) == 0xA700
    scp.receiver.reserve = 0
    assert await asyncio.to_thread(store, CT, uid, data) == 0
    assert scp.ready() == [data]
    assert scp.left_over() == []


@pytest.mark.req("ING-08")
async def test_anything_unexpected_is_out_of_resources(
    scp: RunningScp, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, data = an_object()

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(scp.spool, "write", broken)
        assert await asyncio.to_thread(send, scp.port, [(uid, data)]) == {uid: 0xA700}
    with monkeypatch.context() as patch:
        patch.setattr(scp.spool, "commit", broken)
        assert await asyncio.to_thread(send, scp.port, [(uid, data)]) == {uid: 0xA700}
    assert scp.left_over() == []
    assert scp.spool.waiting() == []
    assert await asyncio.to_thread(send, scp.port, [(uid, data)]) == {uid: 0}


@pytest.mark.req("ING-08")
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
async def test_a_volume_that_takes_no_more_is_out_of_resources(
    scp: RunningScp, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    uid, data = an_object()

    def broken(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        assert await asyncio.to_thread(send, scp.port, [(uid, data)]) == {uid: 0xA700}
    assert "fsync failed" in scp.spool.failed
    assert await asyncio.to_thread(send, scp.port, [(uid, data)]) == {uid: 0xA700}  # for good
    assert scp.spool.waiting() == []


@pytest.mark.req("ING-02", "ING-08")
async def test_rejections(tmp_path: Path) -> None:
    async with running_scp(tmp_path, max_associations=10, max_associations_per_host=3) as scp:

        def try_all() -> None:
            with pytest.raises(Rejected) as caught:
                Association(scp.port, CONTEXTS, called="OTHER")
            assert caught.value.answer == (1, 1, 7)
            with ExitStack() as stack:
                for _ in range(3):
                    stack.enter_context(Association(scp.port, CONTEXTS))
                with pytest.raises(Rejected) as caught:
                    Association(scp.port, CONTEXTS)
                assert caught.value.answer == (2, 3, 2)
            scp.scp._door.refuse_new()  # type: ignore[union-attr]
            with pytest.raises(Rejected) as caught:
                Association(scp.port, CONTEXTS)
            assert caught.value.answer == (CONGESTION.result, 3, 1)

        await asyncio.to_thread(try_all)
    other = tmp_path / "other"
    other.mkdir()
    async with running_scp(other, max_associations=10, max_associations_per_host=50) as scp:

        def try_in_all() -> None:
            with ExitStack() as stack:
                for _ in range(10):
                    stack.enter_context(Association(scp.port, CONTEXTS))
                with pytest.raises(Rejected) as caught:
                    Association(scp.port, CONTEXTS)
                assert caught.value.answer == (2, 3, 2)

        await asyncio.to_thread(try_in_all)


@pytest.mark.req("ING-08")
async def test_unaccepted_contexts_are_told_apart(scp: RunningScp) -> None:
    def results() -> dict[int, int]:
        contexts = {1: (CT, "1.2.3"), 3: ("1.2.3", EXPLICIT), 5: (CT, EXPLICIT)}
        with Association(scp.port, contexts) as peer:
            return peer.results

    assert await asyncio.to_thread(results) == {1: 4, 3: 3, 5: 0}


async def test_an_abort_mid_object_leaves_nothing(scp: RunningScp) -> None:
    def cut() -> None:
        peer = Association(scp.port, CONTEXTS)
        peer._status = lambda: 0  # type: ignore[method-assign]
        whole = peer._send
        peer._send = lambda c, k, d: whole(c, k, d) if k else None  # type: ignore[method-assign, misc, assignment]
        peer.store(1, CT, new_uid(), b"")
        part = struct.pack(">LBB", 5002, 1, 0) + bytes(5000)
        peer._socket.sendall(pdu(4, part) + pdu(7, bytes(4)))
        peer._socket.close()

    await asyncio.to_thread(cut)
    await until(lambda: not scp.left_over())
    assert scp.spool.waiting() == []
    assert scp.reasons() == []


@pytest.mark.parametrize(
    "hostile",
    [
        struct.pack(">BBL", 1, 0, 0xFFFFFFFF),  # a request that claims 4 GiB
        pdu(1, b"\0\1" + bytes(66) + b"\x10\0\xff\xff"),  # an item that goes on behind it
        pdu(4, bytes(100)),  # data before an association
    ],
)
async def test_a_bad_beginning_is_aborted(scp: RunningScp, hostile: bytes) -> None:
    def attack() -> bytes:
        with scp.connect() as peer:
            peer.sendall(hostile)
            return read_to_end(peer)

    assert (await asyncio.to_thread(attack)).startswith(ABORTED)
    assert await asyncio.to_thread(echo, scp) < 1


@pytest.mark.parametrize(
    "hostile",
    [
        struct.pack(">BBL", 4, 0, 131073),  # longer than negotiated
        pdu(4, struct.pack(">LBB", 4, 9, 3) + b"xx"),  # a context that was not accepted
        pdu(4, struct.pack(">LBB", 4, 1, 2) + b"xx"),  # a data set without a command
        pdu(4, struct.pack(">LBB", 4, 1, 3) + b"xx"),  # a command that is none
        pdu(1, bytes(68)),
        pdu(4, struct.pack(">LBB", 100_002, 1, 1) + bytes(100_000)),  # an endless command
    ],
)
async def test_a_violation_is_aborted(scp: RunningScp, hostile: bytes) -> None:
    def attack() -> bytes:
        peer = Association(scp.port, CONTEXTS)
        with peer._socket:
            peer._socket.sendall(hostile)
            return read_to_end(peer._socket)

    assert (await asyncio.to_thread(attack)).startswith(ABORTED)
    assert await asyncio.to_thread(echo, scp) < 1
    assert scp.left_over() == []


async def test_never_a_last_fragment_is_cut_at_the_limit(tmp_path: Path) -> None:
    async with running_scp(tmp_path, max_object_bytes=1 << 20) as scp:

        def endless() -> int:
            peer = Association(scp.port, CONTEXTS)
            whole = peer._send
            peer._send = lambda c, k, d: whole(c, k, d) if k else None  # type: ignore[method-assign, misc, assignment]
            peer._status = lambda: 0  # type: ignore[method-assign]
            peer.store(1, CT, new_uid(), b"")
            part = pdu(4, struct.pack(">LBB", 100_002, 1, 0) + bytes(100_000))
            sent = 0
            with peer._socket:
                try:
                    while sent < 50 << 20:
                        peer._socket.sendall(part)
                        sent += len(part)
                except OSError:
                    return sent
            return sent

        assert await asyncio.to_thread(endless) < 20 << 20  # and what the kernel has taken
        uid, data = an_object()
        over = encode(a_data_set(SOPInstanceUID=uid, PixelData=bytes(1 << 20)))
        assert await asyncio.to_thread(send, scp.port, [(uid, over)]) == {uid: 0xC000}
        assert scp.reasons() == ["too-large"]
        assert await asyncio.to_thread(send, scp.port, [(uid, data)]) == {uid: 0}
        assert scp.left_over() == []


@pytest.mark.parametrize("said", [b"", b"\x01\x00\x00"])
async def test_a_silent_stranger_is_shown_out(scp: RunningScp, said: bytes) -> None:
    def wait() -> float:
        began = time.monotonic()
        with scp.connect() as peer:
            peer.sendall(said)
            read_to_end(peer)
        return time.monotonic() - began

    assert await asyncio.to_thread(wait) < 4


async def test_a_drip_of_bytes_does_not_prolong_the_request(scp: RunningScp) -> None:
    def drip() -> float:
        began = time.monotonic()
        with scp.connect() as peer:
            try:
                for byte in pdu(1, bytes(1000)):
                    peer.sendall(bytes([byte]))
                    dawdle(0.2)
            except OSError:
                pass
        return time.monotonic() - began

    assert await asyncio.to_thread(drip) < 5


@pytest.mark.parametrize("drips", [False, True])
async def test_a_stall_within_a_pdu_ends_the_association(scp: RunningScp, drips: bool) -> None:
    def stall() -> float:
        peer = Association(scp.port, CONTEXTS)
        began = time.monotonic()
        with peer._socket:
            peer._socket.sendall(b"\x04\x00\x00\x01")
            if drips:
                try:
                    for byte in bytes.fromhex("0000 0000fffa 01 00") + bytes(200):
                        peer._socket.sendall(bytes([byte]))
                        dawdle(0.1)
                except OSError:
                    return time.monotonic() - began
            read_to_end(peer._socket)
        return time.monotonic() - began

    assert await asyncio.to_thread(stall) < 6


async def test_an_idle_association_is_ended(tmp_path: Path) -> None:
    async with running_scp(tmp_path, idle_seconds=1.0) as scp:

        def idle() -> float:
            peer = Association(scp.port, CONTEXTS)
            began = time.monotonic()
            with peer._socket:
                read_to_end(peer._socket)
            return time.monotonic() - began

        assert await asyncio.to_thread(idle) < 4


async def test_idle_connections_hold_up_nobody(scp: RunningScp) -> None:
    def crowd() -> float:
        with ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(scp.connect())
            return echo(scp)

    assert await asyncio.to_thread(crowd) < 1


async def test_http_is_closed_with_one_line(scp: RunningScp) -> None:
    def ask() -> bytes:
        with scp.connect() as peer:
            peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return read_to_end(peer)

    with capture_logs() as logs:
        assert await asyncio.to_thread(ask) == b""
    assert [line["event"] for line in logs] == ["connection.not_dicom"]
    assert await asyncio.to_thread(echo, scp) < 1


async def test_a_reset_is_no_error(scp: RunningScp) -> None:
    def reset() -> None:
        for _ in range(5):
            peer = Association(scp.port, CONTEXTS)
            option = struct.pack("ii", 1, 0)
            peer._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
            peer._socket.close()

    await asyncio.to_thread(reset)
    assert await asyncio.to_thread(echo, scp) < 1


async def test_what_is_durable_is_answered_with_success_though_nobody_could_be_told(
    scp: RunningScp,
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    scp.receiver.on_ready = broken
    uid, data = an_object()
    assert await asyncio.to_thread(send, scp.port, [(uid, data)]) == {uid: 0}
    assert len(scp.spool.waiting()) == 1
