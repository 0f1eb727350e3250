"""Turns: one user's searches never stop the others'."""

import asyncio

from darkroom_api.studies.turns import Turns
from tests.support.waiting import LIMIT, until


async def test_a_user_with_many_searches_leaves_room_for_others() -> None:
    turns = Turns(at_once=4, of_each=2)
    go = asyncio.Event()
    running: list[str] = []

    async def search(user: str) -> None:
        async with turns.of(user):
            running.append(user)
            await go.wait()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(search("greedy"))
        for user in ("one", "other", "late"):
            tasks.create_task(search(user))
        await until(lambda: len(running) == 4)
        assert sorted(running) == ["greedy", "greedy", "one", "other"]
        go.set()
    assert len(running) == 13
    assert not turns._lines


async def test_who_gives_up_frees_the_turn() -> None:
    turns = Turns(at_once=1, of_each=1)
    waiting = asyncio.create_task(_hold(turns, "a"))
    second = asyncio.create_task(_hold(turns, "a"))
    await asyncio.wait({waiting, second}, timeout=0.05)
    for task in (second, waiting):
        task.cancel()
    await asyncio.gather(second, waiting, return_exceptions=True)
    async with asyncio.timeout(LIMIT), turns.of("a"):
        pass


async def _hold(turns: Turns, user: str) -> None:
    async with turns.of(user):
        await asyncio.Event().wait()
