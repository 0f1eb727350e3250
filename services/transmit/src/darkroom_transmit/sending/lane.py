"""One destination's own lane: what waits here holds up nobody else (TRX-08).

A lane has as many slots as the destination takes associations. A slot takes a batch of the job
that goes first, sends it in a thread of the lane's own, and comes back for the next; so a job of
higher priority waits for a batch, not for a job.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.lanes import Lanes
from darkroom_common.jobs.lease import POLL_SECONDS, Claims
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import transmit as metrics
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.breaker import Breaker
from darkroom_transmit.sending.delivery import Delivery, Yard
from darkroom_transmit.sending.job import Claimed
from darkroom_transmit.sending.pool import SWEEP_SECONDS, AssociationPool
from darkroom_transmit.sending.results import Results

log = get_logger(__name__)


@dataclass
class Lane:
    """Sends to one destination until it is cancelled."""

    destination: Destination
    yard: Yard
    breaker: Breaker = field(default_factory=Breaker)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _claiming: asyncio.Lock = field(default_factory=asyncio.Lock)
    _look_at: float = 0.0

    def __post_init__(self) -> None:
        """Put the parts of the lane together."""
        yard, one = self.yard, self.destination
        self._claims: Claims[Claimed] = Claims(
            yard.jobs.table,
            yard.database,
            yard.owner,
            yard.lease_seconds,
            one.name,
            yard.clock,
            one.id,
        )
        self._results = Results(one, yard.jobs, self._claims, yard.sent, yard.chance)
        self._places = yard.places.of(one.name, yard.at_once(one))
        self._delivery = Delivery(one, yard, self.breaker, self._results, self._wake.set)

    def wake(self) -> None:
        """Say that there may be something to do."""
        self._look_at = 0.0
        self._wake.set()

    def acted(self, job: str) -> None:
        """Say that an operator has acted on a job: the destination is tried now."""
        self._claims.acted(job)
        self.breaker.reset()
        self.wake()

    def answered(self) -> None:
        """Say that the destination has answered an echo."""
        self.breaker.answered(self.yard.clock.monotonic())
        self._wake.set()

    async def run(self) -> None:
        """Send; when cancelled, finish the objects that are under way and keep their fate."""
        recorder = asyncio.create_task(self._results.record())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._claims.keep())
                for _ in range(self.yard.at_once(self.destination)):
                    tasks.create_task(self._slot())
        finally:
            self._delivery.stop.set()
            await self._results.last_words(recorder)
            self._delivery.close()

    def _pause(self) -> float:
        """Return the seconds in which nothing may be sent, as far as is known; 0 for now."""
        if not self.destination.spec.enabled:
            return POLL_SECONDS
        now = self.yard.clock.now()
        opens = self.destination.opens_at(now)
        is_open = opens is not None and opens <= now
        metrics.TRANSMIT_OPEN.labels(self.destination.name).set(is_open)
        if not is_open:
            return POLL_SECONDS  # the wall clock may be set: look again
        return self.breaker.wait(self.yard.clock.monotonic())

    async def _slot(self) -> None:
        while True:
            self._wake.clear()
            pause = self._pause()
            claimed = None
            if not pause:
                async with self._claiming:
                    # Another slot may have become the probe meanwhile.
                    if not self._pause():
                        claimed = await self._choose()
                        if claimed is not None:
                            probe = self.breaker.begin()
                            batch = claimed.take()
                            claimed.in_flight += 1
            if claimed is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._until_look(pause)):
                        await self._wake.wait()
                continue
            try:
                async with self._places:
                    await self._delivery.send(claimed, batch)
            finally:
                claimed.in_flight -= 1
                if probe:
                    self.breaker.nothing_learnt()  # unless it has learnt something
            if claimed.over:
                await self._results.finish(claimed)

    def _until_look(self, pause: float) -> float:
        """Return the seconds to wait: short ones while something may be sent again soon."""
        if pause or self._claims.held:
            return min(pause or POLL_SECONDS, POLL_SECONDS)
        return max(POLL_SECONDS, self._look_at - self.yard.clock.monotonic())

    async def _choose(self) -> Claimed | None:
        """Return the job to take the next batch of; claim one that goes before those in hand."""
        ready = [claimed for claimed in self._claims.held.values() if claimed.is_ready]
        best = min(ready, key=lambda claimed: claimed.rank, default=None)
        now = self.yard.clock.monotonic()
        if now < self._look_at:
            return best
        try:
            below = float("inf") if best is None else best.rank
            found = await self._claims.claim(below=below)
        except DependencyUnavailable as error:
            log.warning("lane.waits", destination=self.destination.name, reason=str(error))
            self._look_at = now + POLL_SECONDS
            return best
        if found is None:
            self._look_at = now + self._claims.until_due()
            return best
        if found.is_ready:
            return found
        await self._results.finish(found)  # there was nothing left to send
        return best


class DestinationLanes(Lanes[Destination, Lane]):
    """The lanes of all destinations."""

    def answered(self, name: str) -> None:
        """Say that a destination has answered an echo."""
        lane = self.lanes.get(name)
        if lane is not None:
            lane.answered()


def destination_lanes(configuration: Configuration, yard: Yard) -> DestinationLanes:
    """Return the lanes of all destinations."""
    wanted = configuration.destinations
    return DestinationLanes(yard.database, yard.jobs.table, wanted, lambda one: Lane(one, yard))


async def run_lanes(lanes: DestinationLanes, pool: AssociationPool) -> None:
    """Send, and release idle associations, until cancelled; then release all."""
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(lanes.run())
            while True:
                await asyncio.sleep(SWEEP_SECONDS)
                await asyncio.to_thread(pool.sweep)
    finally:
        await asyncio.to_thread(pool.sweep, everything=True)
