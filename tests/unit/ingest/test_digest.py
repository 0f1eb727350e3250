"""The digest of a large object is made beside receiving, and is the same."""

import hashlib
import os
import queue
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_ingest.receiving import digest as digest_module
from darkroom_ingest.receiving.digest import Digest
from tests.support.waiting import LIMIT, until_true


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "digest"]


@given(sizes=st.lists(st.lists(st.integers(0, 40), max_size=3), max_size=12))
def test_whatever_the_pieces_it_is_the_digest_of_all_bytes(sizes: list[list[int]]) -> None:
    before = digest_module.ASIDE_FROM
    digest_module.ASIDE_FROM = 100  # type: ignore[misc]
    try:
        digest, expected = Digest(), hashlib.sha256()
        buffer = bytearray(128)
        for row in sizes:
            parts, at = [], 0
            for size in row:
                buffer[at : at + size] = os.urandom(size)
                parts.append(memoryview(buffer)[at : at + size])
                at += size
            expected.update(b"".join(parts))
            digest.update(parts)
            buffer[:] = bytes(128)  # what came is overwritten by what comes
        assert digest.hexdigest() == expected.hexdigest()
        assert threads() == []
    finally:
        digest_module.ASIDE_FROM = before  # type: ignore[misc]


def test_an_abandoned_digest_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_module, "ASIDE_FROM", 10)
    digest = Digest()
    digest.update([memoryview(bytes(1000))])
    assert len(threads()) == 1
    digest.close()
    digest.close()
    assert threads() == []


def test_a_thread_comes_with_the_size_from_which_it_is_worth_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(digest_module, "ASIDE_FROM", 100)
    digest = Digest()
    digest.update([memoryview(bytes(99))])
    assert threads() == []
    digest.update([memoryview(bytes(1))])
    assert len(threads()) == 1
    digest.update([memoryview(b"x")])
    assert len(threads()) == 1, "one for all of it"
    digest.restart()
    assert threads() == []
    digest.update([memoryview(bytes(99))])
    assert threads() == [], "it counts from the beginning"
    assert digest.hexdigest() == hashlib.sha256(bytes(99)).hexdigest()


def test_no_more_than_some_pieces_wait_for_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: receiving waits for hashing, not the other way round."""
    monkeypatch.setattr(digest_module, "ASIDE_FROM", 1)
    may = threading.Event()
    digest = Digest()
    real = digest._work

    def work(pieces: "queue.Queue[bytes | None]") -> None:
        assert may.wait(30)
        real(pieces)

    monkeypatch.setattr(digest, "_work", work)
    content = [bytes([n]) for n in range(10)]
    taken: list[bytes] = []

    def receive() -> None:
        for piece in content:
            digest.update([memoryview(piece)])
            taken.append(piece)

    receiving = threading.Thread(target=receive)
    receiving.start()
    until_true(lambda: len(taken) == 2)
    receiving.join(0.05)
    assert len(taken) == 2
    may.set()
    receiving.join(LIMIT)
    assert digest.hexdigest() == hashlib.sha256(b"".join(content)).hexdigest()
