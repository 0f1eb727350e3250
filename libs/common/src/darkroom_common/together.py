"""Work that costs as much for many as for one: whoever comes first does it for all that wait."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

AT_ONCE: Final = 500
Task = TypeVar("Task")
Result = TypeVar("Result")


class Together(Generic[Task, Result]):
    """Does the tasks of many callers in one go; while that is under way, further ones gather.

    Args:
        work: does some tasks, and returns the result of each in their order; what it raises, all of
            them get.
    """

    def __init__(self, work: Callable[[Sequence[Task]], Awaitable[Sequence[Result]]]) -> None:
        self._work = work
        self._waiting: list[tuple[Task, asyncio.Future[Result]]] = []
        self._lock = asyncio.Lock()

    async def do(self, task: Task) -> Result:
        """Return the result of a task; raise what `work` has raised."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        mine = (task, done)
        self._waiting.append(mine)
        try:
            while not done.done():
                async with self._lock:
                    if not done.done():
                        await self._do_some()
            return done.result()
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)

    async def _do_some(self) -> None:
        some, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
        try:
            results = await self._work([task for task, _ in some])
        except asyncio.CancelledError:  # of the one who works: the others still want theirs
            self._waiting[:0] = [one for one in some if not one[1].done()]
            raise
        except BaseException as error:
            for _, done in some:
                if not done.done():
                    done.set_exception(error)
                    done.exception()  # whoever has gone does not look at it
            raise
        for (_, done), result in zip(some, results, strict=True):
            if not done.done():
                done.set_result(result)
