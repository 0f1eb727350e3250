"""Runs a lane for each printer, and takes what was changed."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.telemetry import metrics
from darkroom_common.telemetry.logs import get_logger
from darkroom_print.printing.lane import Lane
from darkroom_print.printing.workshop import Workshop

log = get_logger(__name__)
RELOAD_SECONDS: Final = 5.0
PICTURE_SECONDS: Final = 600.0
_SHOWN: Final = ("QUEUED", "COMPOSING", "PRINTING", "RETRYING", "UNKNOWN", "FAILED")


@dataclass
class Dispatcher:
    """The lanes of this process."""

    shop: Workshop
    lanes: dict[str, Lane] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _ending: set[asyncio.Task[None]] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def reload(self) -> None:
        """Look for changed printers now."""
        self._changed.set()

    def wake(self, printer: str) -> None:
        """Say that a job has come."""
        lane = self.lanes.get(printer)
        if lane is not None:
            lane.wake()
        else:
            self.reload()

    async def run(self) -> None:
        """Keep a lane for each printer, until cancelled; then end them all."""
        try:
            while True:
                self._changed.clear()
                try:
                    await self._arrange()
                    await self._count()
                except DependencyUnavailable as error:
                    log.warning("dispatcher.waits", reason=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(RELOAD_SECONDS):
                        await self._changed.wait()
        finally:
            ending = [*self._tasks.values(), *self._ending]
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def _arrange(self) -> None:
        wanted = {one.name: one for one in await self.shop.configuration.printers()}
        for name, lane in list(self.lanes.items()):
            if self._tasks[name].done() or wanted.get(name) != lane.printer:
                self._end(name)
        busy = {task.get_name() for task in self._ending}
        for name, printer in wanted.items():
            if name not in self.lanes and f"lane {name}" not in busy:
                lane = Lane(printer, self.shop)
                self.lanes[name] = lane
                self._tasks[name] = asyncio.create_task(lane.run(), name=f"lane {name}")

    def _end(self, name: str) -> None:
        task = self._tasks.pop(name)
        del self.lanes[name]
        if task.done() and not task.cancelled() and task.exception() is not None:
            log.error(
                "lane.failed",
                printer=name,
                error=type(task.exception()).__name__,
                exc_info=task.exception(),
            )
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        self.reload()

    async def _count(self) -> None:
        """Count the jobs by state, for the metrics; forget old pictures."""
        async with self.shop.database.acquire() as db:
            rows = await db.fetch(
                "SELECT printer, state, count(*) AS jobs FROM print.job"
                " WHERE state = ANY($1::text[]) GROUP BY 1, 2",
                list(_SHOWN),
            )
            await self.shop.jobs.forget_pictures(db, older_than_seconds=PICTURE_SECONDS)
        counted = {(row["printer"], row["state"]): row["jobs"] for row in rows}
        for name in self.lanes:
            for state in _SHOWN:
                metrics.PRINT_WAITING.labels(name, state).set(counted.get((name, state), 0))
