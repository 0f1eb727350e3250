"""The memory in which all processes of the api keep answers."""

import os
import signal
from collections.abc import Iterator

import pytest

from darkroom_api.rendering.cache import Cache, memory_of

LIMIT = 100_000


@pytest.fixture
def cache() -> Iterator[Cache]:
    made = Cache("rendered", LIMIT)
    yield made
    made.close()


def test_what_was_asked_for_last_stays_and_the_oldest_goes(cache: Cache) -> None:
    cache.put(b"often", b"o" * 4000)
    cache.put(b"once", b"n" * 4000)
    for number in range(300):
        cache.put(b"%d" % number, bytes([number % 256]) * 4000)
        assert cache.get(b"often") == b"o" * 4000
    assert cache.get(b"once") is None
    assert cache.get(b"299") == bytes([299 % 256]) * 4000
    assert cache.get(b"10") is None


def test_what_is_too_large_is_not_kept_and_costs_nothing_else(cache: Cache) -> None:
    cache.put(b"small", b"s")
    cache.put(b"large", b"x" * LIMIT)
    assert cache.get(b"large") is None
    assert cache.get(b"small") == b"s"


@pytest.mark.parametrize("body", [b"", b"x" * (LIMIT - 32)])
def test_the_smallest_and_the_largest_answer_are_kept(cache: Cache, body: bytes) -> None:
    for key in (b"first", b"second"):
        cache.put(key, body)
        assert cache.get(key) == body


def test_a_limit_of_nothing_keeps_nothing() -> None:
    cache = Cache("rendered", 0)
    cache.put(b"a", b"")
    assert cache.get(b"a") is None
    cache.close()


def test_many_keys_of_one_place_push_out_the_oldest_alone(cache: Cache) -> None:
    for number in range(2000):
        cache.put(b"%d" % number, b"%d" % number)
    kept = [number for number in range(2000) if cache.get(b"%d" % number) is not None]
    assert len(kept) > 10
    assert all(cache.get(b"%d" % number) == b"%d" % number for number in kept)


def of(number: int) -> bytes:
    return b"%d" % number * (2000 + number)


def test_what_one_process_keeps_all_have_also_when_one_is_killed_while_it_writes() -> None:
    memory = memory_of(LIMIT)
    mine = Cache("rendered", LIMIT, memory)
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        theirs = Cache("rendered", LIMIT, memory)
        theirs.put(b"theirs", b"t" * 500)
        os.write(tell, b"!")
        os.kill(os.getpid(), signal.SIGSTOP)
        while True:  # until it is killed, somewhere in the middle
            for number in range(99):  # more than there is room for
                theirs.put(b"%d" % number, of(number))
    try:
        assert os.read(told, 1) == b"!"
        assert mine.get(b"theirs") == b"t" * 500
        os.waitpid(child, os.WUNTRACED)
        os.kill(child, signal.SIGCONT)
        hits = 0
        while hits < 200:
            for number in range(99):
                found = mine.get(b"%d" % number)
                assert found in (None, of(number))
                hits += found is not None
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told)
        os.close(tell)
    mine.put(b"after", b"a")  # its lock went with it
    assert mine.get(b"after") == b"a"
    mine.close()
