"""The table "Bad input" of design/reliability.md, as far as it reaches the DICOM port, against the
real processes: the answer, flat memory, a C-ECHO within a second, nothing left behind.
"""

import asyncio
import struct
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conftest import RabbitServer
from tests.integration.ingest.real import (
    CONTEXTS,
    DEFLATED,
    EXPLICIT,
    RealIngest,
    real_ingest,
    shared_ingest,
    store_command,
    until_closed,
    value,
)
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.dicom_peer import Association, Rejected, send
from tests.support.waiting import LIMIT, until

MOST_RSS = 24 << 20
"""Bytes that an attack may cost both processes together; an association's buffer is 0.5 MB."""
ABORTED = b"\x07\x00\x00\x00\x00\x04"
OBJECT_LIMIT = 4 << 20
_OPEN = bytes.fromhex("40007502 53510000 ffffffff feff00e0 ffffffff")
_CLOSE = bytes.fromhex("feff0de0 00000000 feffdde0 00000000")


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(rabbitmq_server: RabbitServer) -> AsyncIterator[RealIngest]:
    """One ingest that all the attacks meet, one after the other."""
    limits = {
        "REQUEST_SECONDS": "1.5",
        "STALL_SECONDS": "1.5",
        "MAX_OBJECT_BYTES": str(OBJECT_LIMIT),
        "MAX_INFLATED_BYTES": str(64 << 20),
    }
    async with shared_ingest(rabbitmq_server, **limits) as made:
        await asyncio.to_thread(warm, made)
        yield made


@pytest.fixture
def ingest(running: RealIngest) -> RealIngest:
    running.mark()
    return running


def warm(ingest: RealIngest) -> None:
    """Let both processes receive once, so that what they use is what they use at work."""
    with ExitStack() as stack:
        for _ in range(4):
            peer = stack.enter_context(Association(ingest.port, CONTEXTS))
            one = a_data_set(PixelData=bytes(1 << 20))
            assert peer.store(1, CT, str(one.SOPInstanceUID), encode(one)) == 0


def headless(depth: int = 0, tail: bytes = b"") -> tuple[str, bytes]:
    """A UID, and a data set without pixels that ends in sequences within sequences."""
    one = a_data_set()
    del one.PixelData
    return str(one.SOPInstanceUID), encode(one) + _OPEN * depth + tail


def connected(ingest: RealIngest, *pieces: bytes) -> bytes:
    """Say something on a new connection, and return all that is answered until it is closed."""
    with ingest.connect() as peer:
        with suppress(ConnectionError):
            for piece in pieces:
                peer.sendall(piece)
        return until_closed(peer)


def associated(ingest: RealIngest, *pieces: bytes) -> bytes:
    """Say something on a new association, and return all that is answered until it is closed."""
    peer = Association(ingest.port, CONTEXTS)
    with peer._socket:
        with suppress(ConnectionError):
            for piece in pieces:
                peer._socket.sendall(piece)
        return until_closed(peer._socket)


@pytest.mark.req("ING-02")
async def test_lengths_that_are_claimed_take_no_memory(ingest: RealIngest) -> None:
    def attack() -> None:
        before = ingest.rss()
        with ExitStack() as stack:
            for _ in range(10):
                peer = stack.enter_context(ingest.connect())
                peer.sendall(struct.pack(">BxL", 1, 1 << 20) + bytes(100))  # just within the cap
                assert ingest.rss() - before < MOST_RSS
            ingest.unharmed()
        for _ in range(20):
            answer = connected(ingest, struct.pack(">BxL", 1, 0xFFFFFFFF), bytes(1000))
            assert answer.startswith(ABORTED)
            too_long = struct.pack(">BxL", 4, 0xFFFFFFFF) + bytes(1000)
            assert associated(ingest, too_long).startswith(ABORTED)
            assert associated(ingest, struct.pack(">BxL", 4, 131073)).startswith(ABORTED)
        assert ingest.rss() - before < MOST_RSS
        ingest.unharmed()

    await asyncio.to_thread(attack)


async def test_never_a_last_fragment_ends_at_the_object_limit(ingest: RealIngest) -> None:
    def attack() -> None:
        before = ingest.rss()
        piece = value(1, 0, bytes(100_000))
        pieces = [value(1, 3, store_command(new_uid())), *[piece] * 1000]  # 100 MB
        assert ABORTED in associated(ingest, *pieces) or not ingest.left_over()
        assert ingest.rss() - before < MOST_RSS
        ingest.unharmed()

    await asyncio.to_thread(attack)
    assert ingest.left_over() == []
    assert b'"object-too-long"' in ingest.log


async def test_silence_and_stalls_end_within_their_limits(ingest: RealIngest) -> None:
    def attack() -> None:
        began = time.monotonic()
        assert connected(ingest, b"\x01\x00\x00") == b""
        assert time.monotonic() - began < LIMIT
        began = time.monotonic()
        associated(ingest, b"\x04\x00\x00")
        associated(ingest, value(1, 3, store_command(new_uid())), value(1, 0, bytes(100))[:50])
        assert time.monotonic() - began < LIMIT
        ingest.unharmed()

    await asyncio.to_thread(attack)
    assert ingest.left_over() == []


async def test_silent_connections_hold_up_nobody(ingest: RealIngest) -> None:
    def attack() -> None:
        before = ingest.rss()
        with ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(ingest.connect())
            for _ in range(3):
                ingest.unharmed()
            assert ingest.rss() - before < MOST_RSS
        ingest.unharmed()

    await asyncio.to_thread(attack)


async def test_a_peer_that_drips_holds_up_nobody(ingest: RealIngest) -> None:
    def attack() -> None:
        peer = Association(ingest.port, CONTEXTS)
        with peer._socket:
            peer._socket.settimeout(0.05)
            uid, data = headless()
            ended = False
            for byte in (value(1, 3, store_command(uid)) + value(1, 2, data))[:60]:
                if not ended:
                    try:
                        peer._socket.sendall(bytes([byte]))
                        ended = not peer._socket.recv(1)
                    except TimeoutError:
                        pass
                    except ConnectionError:
                        ended = True
                assert ingest.echo() < 1
        ingest.unharmed()

    await asyncio.to_thread(attack)


def with_uid(uid: str) -> bytes:
    """A data set whose SOP instance UID is what it should not be."""
    raw, old = uid.encode() + b"\x00" * (len(uid) % 2), b"1.2.3\x00"
    head = struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", len(old)) + old
    data = encode(a_data_set(SOPInstanceUID="1.2.3"))
    assert head in data
    return data.replace(head, struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", len(raw)) + raw)


@pytest.mark.parametrize(
    "uid", ["1.2/../../x", "1.2\x00.3", "1.2\n3", "1" * 129, "1.2\\3", "1.\x1b[3m"]
)
async def test_a_uid_that_can_be_none_writes_nothing_outside(ingest: RealIngest, uid: str) -> None:
    data = with_uid(uid)
    root = ingest.services.directory

    def attack() -> None:
        with Association(ingest.port, CONTEXTS) as peer:
            assert peer.store(1, CT, uid, data) == 0xC000
        ingest.unharmed()

    before = {path for path in root.rglob("*") if path.is_file()}
    await asyncio.to_thread(attack)
    await until(lambda: "bad-uid" in ingest.reasons())
    new = {path for path in root.rglob("*") if path.is_file()} - before
    # The journal's files change their names whenever the relay takes them.
    own = {ingest.services.spool / name for name in ("quarantine", "associations")}
    strays = {path for path in new if path.parent not in own and path.suffix != ".dcm"}
    assert strays == set()


async def test_uids_that_real_archives_have_are_accepted_and_counted(ingest: RealIngest) -> None:
    def attack() -> None:
        for uid in ("1.2.840.0099.7", "ABC-hex-0F", "d41d8cd98f00b204e9800998ecf8427e"):
            assert send(ingest.port, [(uid, with_uid(uid))]) == {uid: 0}

    await asyncio.to_thread(attack)
    process = ingest.services.running["ingest"]
    await until(
        lambda: (
            '\ndarkroom_odd_objects_total{flag="nonconformant-uid"} 3.0'
            in process.probe("/metrics")[1]
        )
    )


async def test_strict_uids_are_refused(tmp_path: Path, amqp_url: str) -> None:
    async with real_ingest(tmp_path, amqp_url, STRICT_UIDS="true", PROCESSES="1") as ingest:
        data = with_uid("1.2.03")
        assert await asyncio.to_thread(send, ingest.port, [("1.2.03", data)]) == {"1.2.03": 0xC000}
        assert ingest.reasons() == ["nonconformant-uid"]


async def test_a_deflated_bomb_costs_no_memory(ingest: RealIngest) -> None:
    uid, data = headless()
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = data + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 1 << 30)
    packed = packer.compress(head)
    packed += b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()

    def attack() -> None:
        before = ingest.rss()
        answer = send(ingest.port, [(uid, packed)], transfer_syntax=DEFLATED)
        assert answer == {uid: 0xC000}
        assert ingest.rss() - before < MOST_RSS
        ingest.unharmed()

    await asyncio.to_thread(attack)
    assert ingest.reasons() == ["inflates-too-far"]


@pytest.mark.parametrize("depth", [300, 10_000])
async def test_deep_nesting_is_refused(ingest: RealIngest, depth: int) -> None:
    uid, data = headless(depth, _CLOSE * depth)

    def attack() -> None:
        before = ingest.rss()
        assert send(ingest.port, [(uid, data)]) == {uid: 0xC000}
        assert ingest.rss() - before < MOST_RSS
        ingest.unharmed()

    await asyncio.to_thread(attack)
    assert ingest.reasons() == ["nested-too-deep"]


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (_OPEN, "truncated"),
        (struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFE), "truncated"),
        (struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF), "truncated"),
        (struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFE), "item-outside-sequence"),
    ],
)
async def test_lengths_without_an_end_are_refused(
    ingest: RealIngest, tail: bytes, reason: str
) -> None:
    uid, data = headless(0, tail)

    def attack() -> None:
        before = ingest.rss()
        assert send(ingest.port, [(uid, data)]) == {uid: 0xC000}
        assert ingest.rss() - before < MOST_RSS
        ingest.unharmed()

    await asyncio.to_thread(attack)
    assert ingest.reasons() == [reason]


async def test_what_is_kept_has_no_preamble_of_the_senders(ingest: RealIngest) -> None:
    """DIMSE sends no preamble: one in a data set is no element, and the kept head is ours."""
    uid, data = headless()
    assert await asyncio.to_thread(send, ingest.port, [(uid, data)]) == {uid: 0}
    file = b"MZ" + bytes(126) + b"DICM" + data
    assert await asyncio.to_thread(send, ingest.port, [(uid, file)]) == {uid: 0xC000}
    spool, store = ingest.services.spool, ingest.services.store
    assert ingest.reasons() == ["truncated"]
    kept = [*store.rglob("*.dcm"), *(p for p in spool.rglob("*/*") if len(p.name) == 32)]
    kept = [path for path in kept if path.is_file()]
    assert len(kept) >= 2
    assert {path.read_bytes()[:132] for path in kept} == {bytes(128) + b"DICM"}


async def test_control_characters_in_ae_titles_are_escaped_in_logs(ingest: RealIngest) -> None:
    calling = "A\r\nB\x1b[31mC"

    def attack() -> None:
        try:
            peer = Association(ingest.port, CONTEXTS, calling=calling)
        except Rejected as rejected:
            assert rejected.answer == (1, 1, 3)
        except ConnectionError:
            pass
        else:
            with peer:
                assert peer.echo(3) == 0
        ingest.unharmed()

    await asyncio.to_thread(attack)
    raw = ingest.log
    assert b"\x1b" not in raw
    assert b"\r" not in raw
    assert all(line.startswith(b"{") for line in raw.splitlines())


async def test_http_at_the_dicom_port_is_closed_with_one_line(ingest: RealIngest) -> None:
    def attack() -> None:
        assert connected(ingest, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        ingest.unharmed()

    await asyncio.to_thread(attack)
    assert ingest.log.count(b'"connection.not_dicom"') == 1


@pytest.mark.req("ING-02")
async def test_ten_associations_store_at_once(ingest: RealIngest) -> None:
    """Ten associations store at the same time, each object is kept."""
    objects = [headless() for _ in range(10)]

    def store(number: int) -> int:
        uid, data = objects[number]
        with Association(ingest.port, {1: (CT, EXPLICIT)}) as peer:
            return peer.store(1, CT, uid, data)

    found = await asyncio.gather(*(asyncio.to_thread(store, number) for number in range(10)))
    assert found == [0] * 10
