"""The port where the api hands bodies of STOW over: it is for the api alone."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from darkroom_api.dicomweb.storing.handover import Handover, NotTaken
from darkroom_common.clock import SYSTEM_CLOCK, monotonic
from darkroom_common.stow.handover import Outcome, Proof
from darkroom_common.stow.multipart import PartLimits
from darkroom_ingest.stow.entrance import StowEntrance
from darkroom_ingest.stow.exchange import Exchange
from tests.support.builders import a_data_set
from tests.support.stow import TYPE, a_body, a_file
from tests.support.waiting import LIMIT, until_true
from tests.unit.ingest.stow.bodies import Taking

KEY = b"k" * 32
UPLOADS = 4


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    made = Taking(tmp_path)
    yield made
    made.spool.close()


@contextmanager
def listening(taking: Taking, around_seconds: float = 30.0) -> Iterator[int]:
    """Take bodies at a port."""
    listener = socket.create_server(("127.0.0.1", 0))
    proof = Proof(KEY, SYSTEM_CLOCK)
    exchange = Exchange(taking.intake, proof, PartLimits(), 30.0, around_seconds)
    entrance = StowEntrance(listener, exchange, UPLOADS)
    entrance.start()
    yield listener.getsockname()[1]
    entrance.close(1.0)


@pytest.fixture
def port(taking: Taking) -> Iterator[int]:
    with listening(taking) as made:
        yield made


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 1000):
        yield body[at : at + 1000]


def handover(port: int, key: bytes = KEY) -> Handover:
    return Handover("127.0.0.1", port, Proof(key, SYSTEM_CLOCK))


async def test_strangers_keep_nobody_waiting_however_many_come(taking: Taking, port: int) -> None:
    one = a_data_set()
    with ExitStack() as open_:
        silent = [
            open_.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(3 * UPLOADS)
        ]
        outcome = await handover(port).store(TYPE, "", pieces(a_body([a_file(one)])))
        assert [item.failure for item in outcome.items] == [0]
        silent[0].settimeout(20)
        assert silent[0].recv(100) == b""  # the oldest one has gone
    assert [str(made.identity.sop_instance_uid) for made in taking.receipts] == [
        str(one.SOPInstanceUID)
    ]


async def test_uploads_beyond_the_room_wait_and_are_all_taken(taking: Taking, port: int) -> None:
    bodies = [a_body([a_file(a_data_set())]) for _ in range(5 * UPLOADS)]
    sent = (handover(port).store(TYPE, "", pieces(body)) for body in bodies)
    outcomes = await asyncio.gather(*sent)
    assert [item.failure for one in outcomes for item in one.items] == [0] * len(bodies)
    assert len(taking.receipts) == len(bodies)


async def test_who_has_another_key_is_told_before_a_byte_of_the_body(
    taking: Taking, port: int
) -> None:
    asked = []

    async def body() -> AsyncIterator[bytes]:
        asked.append(1)
        yield b"x"

    with pytest.raises(NotTaken) as refused:
        await handover(port, b"x" * 32).store(TYPE, "", body())
    assert refused.value.status == 401
    assert not asked
    assert not taking.receipts


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 9000 + b"\r\n\r\n",
        b"POST /stow HTTP/1.1\r\n" + b"a: b\r\n" * 99,
    ],
)
def test_what_is_no_request_of_ours_is_ended(port: int, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.settimeout(20)
        line.sendall(said)
        answer = line.recv(4096)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 ", b"HTTP/1.1 431 ")), answer


def test_the_head_of_a_part_has_its_time(taking: Taking) -> None:
    """Who begins one and goes silent is answered, with what came whole before it."""
    whole = a_body([a_file(a_data_set())]).removesuffix(b"--\r\n") + b"\r\nContent-Type: app"
    with listening(taking, 0.3) as port, socket.create_connection(("127.0.0.1", port)) as line:
        line.settimeout(20)
        line.sendall(handover(port)._request(TYPE, ""))
        assert line.recv(100).startswith(b"HTTP/1.1 100 ")
        line.sendall(b"%x\r\n%s\r\n" % (len(whole), whole))
        answer = b"".join(iter(lambda: line.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    outcome = Outcome.model_validate_json(answer.partition(b"\r\n\r\n")[2])
    assert ([item.failure for item in outcome.items], outcome.fault) == ([0], "unterminated")


@pytest.mark.parametrize(
    ("before", "fault"),
    [
        (a_body([a_file(a_data_set())]), ""),
        (a_body([a_file(a_data_set())]).removesuffix(b"--\r\n") + b"\r\nX: ", "long-head"),
    ],
)
async def test_what_is_passed_over_has_its_time(taking: Taking, before: bytes, fault: str) -> None:
    """However fast it comes: a body without an end is answered."""

    async def body() -> AsyncIterator[bytes]:
        yield before
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0)

    with listening(taking, 0.3) as port:
        outcome = await asyncio.wait_for(handover(port).store(TYPE, "", body()), LIMIT)
    assert outcome.fault == fault
    assert outcome.items[0].failure == 0


def test_at_its_end_it_waits_for_bodies_and_then_breaks_them_off(taking: Taking) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    exchange = Exchange(taking.intake, Proof(KEY, SYSTEM_CLOCK), PartLimits(), 30.0)
    entrance = StowEntrance(listener, exchange, UPLOADS)
    entrance.start()
    with socket.create_connection(listener.getsockname()) as silent:
        silent.settimeout(20)
        until_true(lambda: entrance._open)
        began = monotonic()
        entrance.close(0.5)
        assert 0.5 <= monotonic() - began < LIMIT
        assert silent.recv(1) == b"", "it is broken off"
    until_true(lambda: not entrance._open)
