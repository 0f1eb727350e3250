"""What a decoder does to others: nothing."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from darkroom_api.rendering.appearance import JPEG, Appearance
from darkroom_api.rendering.cache import Cache
from darkroom_api.rendering.exchange import Picture
from darkroom_api.rendering.rendering import CannotMake, DecoderFailed, Rendering
from darkroom_common.index.rows import StoredInstance
from darkroom_common.workers.pool import open_workers
from tests.support.waiting import LIMIT, until

PICTURE = Picture(None, JPEG, Appearance())
MEMORY = str(2 << 30)


def an_instance(key: str) -> StoredInstance:
    return StoredInstance(1, "1", "2", "3", "4", "1.2", key, 10, 0, key.encode())


@pytest.fixture
async def rendering() -> AsyncIterator[Rendering]:
    async with open_workers("tests.support.failing_renderer", MEMORY, processes=2) as workers:
        yield Rendering(workers, Cache("rendered", 10), processes=2, limit=LIMIT)


async def test_a_decoder_that_crashes_costs_its_own_object_alone(rendering: Rendering) -> None:
    good, bad = an_instance("good"), an_instance("crash")
    wanted = [rendering.image(bad, PICTURE), rendering.image(good, PICTURE)]
    found = await asyncio.gather(*wanted, return_exceptions=True)
    assert isinstance(found[0], DecoderFailed)
    assert found[1] == b"abc"
    for _ in range(3):
        with pytest.raises(DecoderFailed):
            await rendering.image(bad, PICTURE)
    assert await rendering.image(good, PICTURE) == b"abc"


def paused() -> int | None:
    """Return the decoder that waits for good, if one does."""
    me = os.getpid()
    for pid in map(int, Path(f"/proc/{me}/task/{me}/children").read_text().split()):
        if b"failing_renderer" in Path(f"/proc/{pid}/cmdline").read_bytes() and (
            "pause" in Path(f"/proc/{pid}/wchan").read_text()
        ):
            return pid
    return None


async def test_a_decoder_that_is_killed_costs_its_own_object_alone(rendering: Rendering) -> None:
    good, bad = an_instance("good"), an_instance("hang")
    rendering.limit = LIMIT
    asked = asyncio.create_task(rendering.image(bad, PICTURE))
    worker = await until(paused)
    assert await rendering.image(good, PICTURE) == b"abc"
    assert not asked.done()
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(DecoderFailed):
        await asked
    served = [rendering.image(an_instance(f"good{n}"), PICTURE) for n in range(4)]
    assert await asyncio.gather(*served) == [b"abc"] * 4


async def test_a_decoder_that_hangs_is_replaced() -> None:
    async with open_workers("tests.support.failing_renderer", MEMORY, processes=1) as workers:
        rendering = Rendering(workers, Cache("rendered", 0), processes=1, limit=LIMIT)
        await rendering.image(an_instance("good"), PICTURE)  # it has started by now
        rendering.limit = 0.3
        with pytest.raises(DecoderFailed):
            await rendering.image(an_instance("hang"), PICTURE)
        rendering.limit = LIMIT
        assert await rendering.image(an_instance("good"), PICTURE) == b"abc"


async def test_frames_come_one_by_one_and_a_later_one_may_fail(rendering: Rendering) -> None:
    async def taken(key: str) -> list[bytes]:
        async with rendering.frames(an_instance(key), [0, 1, 2], ["1.2"]) as made:
            assert made.syntax == "1.2"
            return [b"".join([c async for c in body]) async for _, body in made.bodies]

    assert await taken("good") == [b"abc"] * 3
    with pytest.raises(DecoderFailed):
        await taken("crash-later")
    assert await taken("good") == [b"abc"] * 3
    with pytest.raises(CannotMake, match="it is empty"):
        await taken("cannot")


async def test_who_leaves_between_frames_keeps_no_worker(rendering: Rendering) -> None:
    for _ in range(5):
        async with rendering.frames(an_instance("good"), [0, 1, 2], ["1.2"]) as made:
            _, body = await anext(made.bodies)
            assert [c async for c in body] == [b"abc"]
    assert await rendering.image(an_instance("good"), PICTURE) == b"abc"
