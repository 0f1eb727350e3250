"""A lane for each destination or printer there is, made anew when what it is for has changed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.table import JobTable
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
RELOAD_SECONDS: Final = 5.0
"""How late a change by another process is seen, and how often states are counted."""


class Named(Protocol):
    """What a lane is for; it equals another one that is the same in all respects."""

    @property
    def name(self) -> str:
        """The name, which jobs bear in the lane's column."""
        ...


class Lane(Protocol):
    """Works at the jobs of one lane."""

    async def run(self) -> None:
        """Work, until cancelled; return when all that was begun has ended."""
        ...

    def wake(self) -> None:
        """Say that there may be something to do."""
        ...

    def acted(self, job: str) -> None:
        """Say that an operator has acted on a job."""
        ...


N = TypeVar("N", bound=Named)
L = TypeVar("L", bound=Lane)


@dataclass
class Lanes(Generic[N, L]):
    """The lanes of this process. A new one starts only when the old one of its name has ended.

    Attributes:
        wanted: returns what there is.
        make: makes a lane.
    """

    database: Database
    table: JobTable[Any]
    wanted: Callable[[], Awaitable[Sequence[N]]]
    make: Callable[[N], L]
    lanes: dict[str, L] = field(default_factory=dict)
    _made_for: dict[str, N] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def reload(self) -> None:
        """Look for changes now."""
        self._changed.set()

    def wake(self, name: str) -> None:
        """Say that a job has come."""
        lane = self.lanes.get(name)
        if lane is not None:
            lane.wake()
        else:
            self.reload()

    def acted(self, name: str, job: str) -> None:
        """Say that an operator has acted on a job."""
        lane = self.lanes.get(name)
        if lane is not None:
            lane.acted(job)

    async def run(self) -> None:
        """Keep a lane for all there is, until cancelled; return when all have ended."""
        try:
            while True:
                self._changed.clear()
                try:
                    self._arrange(await self.wanted())
                    async with self.database.transaction() as db:
                        if ended := await self.table.end_orphans(db):
                            log.warning("jobs.orphaned", kind=self.table.kind.name, jobs=ended)
                        await self.table.count(db, list(self.lanes))
                except DependencyUnavailable as error:
                    log.warning("lanes.wait", reason=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(RELOAD_SECONDS):
                        await self._changed.wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _arrange(self, wanted: Sequence[N]) -> None:
        by_name = {one.name: one for one in wanted}
        for name in list(self.lanes):
            if by_name.get(name) != self._made_for[name]:
                del self.lanes[name]
                self._tasks[name].cancel()
        for name, one in by_name.items():
            if name not in self._tasks:  # also not one that still ends
                lane = self.make(one)
                self.lanes[name], self._made_for[name] = lane, one
                task = asyncio.create_task(lane.run(), name=f"lane {name}")
                self._tasks[name] = task
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        name = task.get_name().removeprefix("lane ")
        self._tasks.pop(name, None)
        self.lanes.pop(name, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("lane.failed", lane=name, error=type(error).__name__, exc_info=error)
        else:
            self.reload()
