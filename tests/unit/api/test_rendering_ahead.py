"""Who takes slowly what workers make keeps none of them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from darkroom_api.rendering.ahead import CLIENTS, Ahead, TooSlow
from tests.support.waiting import LIMIT


class Worker:
    """Makes pieces, and says when it is free."""

    def __init__(self, pieces: int, fails: bool = False) -> None:
        self.free = asyncio.Event()
        self.made = 0
        self._pieces = pieces
        self._fails = fails

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            for number in range(self._pieces):
                self.made += 1
                yield bytes([number])
            if self._fails:
                raise ValueError("no more")
        finally:
            self.free.set()


def nobody() -> bool:
    return False


def somebody() -> bool:
    return True


async def test_a_worker_is_free_when_it_has_made_all_however_slow_the_client() -> None:
    worker = Worker(5)
    async with aclosing(Ahead(pieces=5).of(worker.chunks(), nobody)) as sent:
        assert await anext(sent) == b"\x00"
        await asyncio.wait_for(worker.free.wait(), LIMIT)
        assert [one async for one in sent] == [bytes([n]) for n in range(1, 5)]


async def test_a_slow_client_keeps_it_as_long_as_nobody_waits_for_it() -> None:
    waits = asyncio.Event()
    worker = Worker(50)
    async with aclosing(Ahead(patience=0.0, pieces=2).of(worker.chunks(), waits.is_set)) as sent:
        assert await anext(sent) == b"\x00"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(worker.free.wait(), 1.5)
        assert worker.made < 6
        waits.set()
        await asyncio.wait_for(worker.free.wait(), LIMIT)
        with pytest.raises(TooSlow):
            [one async for one in sent]


async def test_a_client_that_keeps_up_gets_all_of_it_though_others_wait() -> None:
    sent = Ahead(patience=5.0, pieces=2).of(Worker(200).chunks(), somebody)
    assert len([one async for one in sent]) == 200


async def test_who_leaves_lets_it_go() -> None:
    worker = Worker(50)
    async with aclosing(Ahead(pieces=2).of(worker.chunks(), nobody)) as sent:
        await anext(sent)
    assert worker.free.is_set()


async def test_what_fails_later_is_told_after_what_was_made() -> None:
    sent = Ahead().of(Worker(3, fails=True).chunks(), nobody)
    for number in range(3):
        assert await anext(sent) == bytes([number])
    with pytest.raises(ValueError, match="no more"):
        await anext(sent)


async def test_only_some_clients_have_room() -> None:
    ahead = Ahead(pieces=10)
    workers = [Worker(10) for _ in range(CLIENTS + 1)]
    sent = [ahead.of(worker.chunks(), nobody) for worker in workers]
    for one in sent:
        await anext(one)
    for worker in workers[:-1]:
        await asyncio.wait_for(worker.free.wait(), LIMIT)
    assert workers[-1].made < 4
    for one in sent:
        await one.aclose()
    assert workers[-1].free.is_set()
