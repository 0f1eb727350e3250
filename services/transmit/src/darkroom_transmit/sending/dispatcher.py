"""Runs a lane for each destination, and takes what was changed."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.telemetry import metrics
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.lane import Lane, Yard
from darkroom_transmit.sending.pool import SWEEP_SECONDS, AssociationPool

log = get_logger(__name__)
RELOAD_SECONDS: Final = 5.0
"""How late a change by another process is seen, and how often states are counted."""


@dataclass
class Dispatcher:
    """The lanes of this process."""

    configuration: Configuration
    yard: Yard
    pool: AssociationPool
    lanes: dict[str, Lane] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _ending: set[asyncio.Task[None]] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def reload(self) -> None:
        """Look for changed destinations now."""
        self._changed.set()

    def lane(self, destination: str) -> Lane | None:
        """Return the lane of a destination, if there is one."""
        return self.lanes.get(destination)

    def wake(self, destination: str) -> None:
        """Say that a job has come."""
        lane = self.lanes.get(destination)
        if lane is not None:
            lane.wake()
        else:
            self.reload()

    async def run(self) -> None:
        """Keep a lane for each destination, until cancelled; then end them all."""
        try:
            while True:
                self._changed.clear()
                try:
                    self._arrange(await self.configuration.destinations())
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
            await asyncio.to_thread(self.pool.sweep, everything=True)

    def _arrange(self, destinations: list[Destination]) -> None:
        wanted = {one.name: one for one in destinations}
        for name, lane in list(self.lanes.items()):
            ended = self._tasks[name].done()
            if ended or wanted.get(name) != lane.destination:
                self._end(name, failed=ended)
        for name, destination in wanted.items():
            if name not in self.lanes:
                lane = Lane(destination, self.yard)
                self.lanes[name] = lane
                self._tasks[name] = asyncio.create_task(lane.run(), name=f"lane {name}")

    def _end(self, name: str, *, failed: bool) -> None:
        task = self._tasks.pop(name)
        del self.lanes[name]
        if failed and not task.cancelled() and task.exception() is not None:
            log.error(
                "lane.failed",
                destination=name,
                error=type(task.exception()).__name__,
                exc_info=task.exception(),
            )
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _count(self) -> None:
        """Count the jobs by state, for the metrics."""
        async with self.yard.database.acquire() as db:
            rows = await db.fetch(
                "SELECT destination, state, count(*) AS jobs,"
                " extract(epoch FROM now() - min(created_at))::double precision AS age"
                " FROM transmit.job WHERE state IN ('PENDING', 'SENDING', 'RETRYING', 'FAILED')"
                " GROUP BY 1, 2"
            )
        counted = {(row["destination"], row["state"]): row for row in rows}
        for name in self.lanes:
            ages = [0.0]
            for state in ("PENDING", "SENDING", "RETRYING", "FAILED"):
                row = counted.get((name, state))
                metrics.TRANSMIT_WAITING.labels(name, state).set(row["jobs"] if row else 0)
                if row and state != "FAILED":
                    ages.append(row["age"])
            metrics.TRANSMIT_OLDEST.labels(name).set(max(ages))

    async def sweep(self) -> None:
        """Release idle associations, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await asyncio.to_thread(self.pool.sweep)
