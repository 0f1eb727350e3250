"""How the outbox is drained: at once when something was committed, and by looking otherwise."""

import asyncio
from typing import Any

import pytest

from darkroom_common.errors import TransientError
from darkroom_common.lull import Lull
from darkroom_common.postgres.outbox import BATCH, Outbox
from tests.support.waiting import LIMIT

NOBODY: Any = None


class Drained:
    """Says how many messages each look finds, and lets a test wait for the looks."""

    def __init__(self, *found: int | Exception) -> None:
        self._found = list(found)
        self.looks = 0
        self.looked = asyncio.Event()
        self.empty = asyncio.Event()

    async def drain(self, *_: object) -> int:
        self.looks += 1
        found = self._found.pop(0) if self._found else 0
        if not self._found:
            self.empty.set()
        self.looked.set()
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses after failures; none of them is waited for."""
    found: list[float] = []
    real = asyncio.sleep

    async def pause(seconds: float) -> None:
        found.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", pause)
    return found


async def ran(outbox: Outbox, drained: Drained, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(outbox, "drain", drained.drain)
    return asyncio.create_task(outbox.run(NOBODY, NOBODY))


async def test_what_is_committed_goes_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lull, "pause", lambda _: 3600.0)
    outbox, drained = Outbox("index"), Drained()
    running = await ran(outbox, drained, monkeypatch)
    async with asyncio.timeout(LIMIT):
        await drained.looked.wait()
        drained.looked.clear()
        await asyncio.wait({running}, timeout=0.05)
        assert drained.looks == 1, "it waits until it is told"
        outbox.wake()
        await drained.looked.wait()
    assert drained.looks == 2
    running.cancel()


async def test_it_looks_by_itself_for_what_others_have_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Lull, "pause", lambda _: 0.001)
    drained = Drained(0, 0, 0)
    running = await ran(Outbox("index"), drained, monkeypatch)
    async with asyncio.timeout(LIMIT):
        await drained.empty.wait()
    running.cancel()


async def test_full_batches_are_followed_by_the_next_and_end_the_lull(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Lull, "pause", lambda _: 3600.0)
    ended: list[int] = []
    monkeypatch.setattr(Lull, "over", lambda _: ended.append(1))
    drained = Drained(BATCH, BATCH, 1)
    running = await ran(Outbox("index"), drained, monkeypatch)
    async with asyncio.timeout(LIMIT):
        await drained.empty.wait()
        await asyncio.wait({running}, timeout=0.05)
    assert (drained.looks, len(ended)) == (3, 3)
    running.cancel()


async def test_pauses_grow_while_the_broker_is_away_and_begin_anew_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    away = [TransientError("away")] * 7
    drained = Drained(*away, BATCH, TransientError("away"), BATCH)
    running = await ran(Outbox("index"), drained, monkeypatch)
    async with asyncio.timeout(LIMIT):
        await drained.empty.wait()
    running.cancel()
    assert pauses[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 0.5]
