"""Hundreds of mutants of whole conversations against the real processes.

Each gets an answer of the documented set or is hung up on; the next C-ECHO is answered within a
second; no process dies; memory is flat. `tests/unit/test_mutants.py` has the other thousands.
"""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio

from darkroom_local.engines.ports import LOOPBACK
from tests.conftest import RabbitServer
from tests.integration.ingest.real import (
    CONTEXTS,
    EXPLICIT,
    RealIngest,
    shared_ingest,
    store_command,
    until_closed,
    value,
)
from tests.support.builders import CT, a_data_set, encode
from tests.support.dicom_peer import Association
from tests.support.mutation import a_seed, mutated

pytestmark = pytest.mark.asyncio(loop_scope="module")
STATUSES = {0x0000, 0x0122, 0x0124, 0x0211, 0xA700, 0xA900, 0xC000}
REJECTIONS = {(1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 1, 7), (1, 2, 2), (2, 3, 1), (2, 3, 2)}
CASES = 250  # of each kind
MOST_RSS = 24 << 20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ingest(rabbitmq_server: RabbitServer) -> AsyncIterator[RealIngest]:
    async with shared_ingest(rabbitmq_server, STALL_SECONDS="2", REQUEST_SECONDS="2") as made:
        yield made


def status_of(body: bytes) -> int:
    data, at = body[6:], 0
    while at < len(data):
        _, number, length = struct.unpack_from("<HHL", data, at)
        if number == 0x0900:
            return int(struct.unpack_from("<H", data, at + 8)[0])
        at += 8 + length
    raise AssertionError("a response without a status")


def check(said: bytes) -> None:
    """Whatever was answered is of the documented set."""
    at = 0
    while at < len(said):
        kind, length = struct.unpack_from(">BxL", said, at)
        body = said[at + 6 : at + 6 + length]
        assert len(body) == length, "a PDU that is cut"
        match kind:
            case 2 | 6 | 7:
                pass
            case 3:
                assert tuple(body[1:4]) in REJECTIONS
            case 4:
                assert status_of(body) in STATUSES
            case _:
                raise AssertionError(f"PDU {kind}")
        at += 6 + length


def talk(peer: socket.socket, said: bytes) -> None:
    with peer:
        with suppress(ConnectionError):
            peer.sendall(said)
            peer.shutdown(socket.SHUT_WR)
        with suppress(OSError):  # it was reset before the shutdown
            check(until_closed(peer))


def a_request() -> bytes:
    """The A-ASSOCIATE-RQ that our sender says."""
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        calling = threading.Thread(target=_call, args=(port,))
        calling.start()
        peer, _ = server.accept()
        with peer:
            said = peer.recv(65536)
        calling.join()
    return said


def _call(port: int) -> None:
    with suppress(ConnectionError):
        Association(port, CONTEXTS)


def requests(ingest: RealIngest, chance: random.Random) -> None:
    """A mutant of an A-ASSOCIATE-RQ."""
    whole = a_request()
    talk(ingest.connect(), whole[:6] + mutated(chance, whole[6:]))


def conversations(ingest: RealIngest, chance: random.Random) -> None:
    """A mutant of what is said on an open association."""
    one = a_data_set()
    data = encode(one)
    stream = value(1, 3, store_command(str(one.SOPInstanceUID)))
    stream += value(1, 0, data[:100]) + value(1, 2, data[100:])
    stream += struct.pack(">BxLL", 5, 4, 0)
    peer = Association(ingest.port, CONTEXTS)
    talk(peer._socket, mutated(chance, stream))


def data_sets(ingest: RealIngest, chance: random.Random) -> None:
    """A mutant of a data set, in a C-STORE that is in order."""
    one = a_data_set(ReferencedStudySequence=[a_data_set()])
    with Association(ingest.port, {1: (CT, EXPLICIT)}) as peer:
        answer = peer.store(1, CT, str(one.SOPInstanceUID), mutated(chance, encode(one)))
        assert answer in STATUSES


@pytest.mark.parametrize("kind", [requests, conversations, data_sets], ids=lambda k: k.__name__)
async def test_mutants_are_answered_and_harm_nobody(ingest: RealIngest, kind: object) -> None:
    assert callable(kind)
    seed = a_seed()

    def attack() -> None:
        settled = 0
        for number in range(CASES):
            try:
                kind(ingest, random.Random(f"{seed} {number}"))
                ingest.unharmed()
            except Exception as error:
                raise AssertionError(f"seed {seed}, case {number}: {error!r}") from error
            if number == CASES // 4:
                settled = ingest.rss()
        assert ingest.rss() - settled < MOST_RSS

    await asyncio.to_thread(attack)
    assert ingest.left_over() == []
    log = ingest.services.running["ingest"].log.read_bytes()
    assert [line[:2000] for line in log.splitlines() if b"Traceback" in line] == []
    assert b'"association.failed"' not in log
