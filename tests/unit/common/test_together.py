"""Whoever comes first works for all that wait; nobody's end is another's."""

import asyncio
from collections.abc import Sequence

import pytest

from darkroom_common.together import AT_ONCE, Together


class Work:
    """Doubles numbers; waits until it may, and fails for what it is told."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.poison: int | None = None

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.began.set()
        await self.go_on.wait()
        if self.poison in numbers:
            raise ValueError(self.poison)
        self.done.append(len(numbers))
        return [2 * number for number in numbers]


async def test_what_gathers_meanwhile_is_done_in_one_go() -> None:
    work = Work()
    together = Together[int, int](work)
    tasks = [asyncio.create_task(together.do(number)) for number in range(AT_ONCE + 3)]
    await work.began.wait()
    work.go_on.set()
    assert await asyncio.gather(*tasks) == [2 * number for number in range(AT_ONCE + 3)]
    assert sorted(work.done) in ([3, AT_ONCE], [1, 2, AT_ONCE])


async def test_whoever_gives_up_while_working_for_others_leaves_them_theirs() -> None:
    work = Work()
    together = Together[int, int](work)
    first = asyncio.create_task(together.do(1))
    await work.began.wait()
    others = [asyncio.create_task(together.do(number)) for number in (2, 3)]
    first.cancel()
    work.go_on.set()
    assert await asyncio.gather(*others) == [4, 6]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_failure_is_everybodys_who_shared_it_and_nobody_elses() -> None:
    work = Work()
    work.poison = 2
    together = Together[int, int](work)
    first = asyncio.create_task(together.do(1))
    await work.began.wait()
    others = [asyncio.create_task(together.do(number)) for number in (2, 3)]
    work.go_on.set()
    results = await asyncio.gather(*others, return_exceptions=True)
    assert [type(one) for one in results] == [ValueError, ValueError]
    assert await first == 2
    assert await together.do(3) == 6
