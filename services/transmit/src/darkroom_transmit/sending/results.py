"""What became of the instances of a lane's jobs, kept in groups while sending goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.attempt import Ending
from darkroom_common.jobs.lease import POLL_SECONDS, Claims
from darkroom_common.postgres.pool import CLASHES, Connection
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import transmit as metrics
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.job import Claimed, Result, conclude
from darkroom_transmit.sending.outcome import Outcome, Verdict
from darkroom_transmit.sending.repository import SendJobs
from darkroom_transmit.sending.sources import Item

log = get_logger(__name__)
_LAST_WORDS_SECONDS: Final = 5.0


@dataclass
class Results:
    """Keeps what was answered, and ends attempts that send nothing more.

    Attributes:
        sent: is called with the id of each job that is sent.
    """

    destination: Destination
    jobs: SendJobs
    claims: Claims[Claimed]
    sent: Callable[[str], Awaitable[None]]
    chance: Callable[[], float]
    _queue: asyncio.Queue[tuple[Claimed, Result]] = field(default_factory=asyncio.Queue)

    def take(self, claimed: Claimed, item: Item, outcome: Outcome) -> None:
        """Take what a destination has answered of an instance."""
        name = self.destination.name
        metrics.TRANSMIT_INSTANCES.labels(name, outcome.verdict.value).inc()
        if outcome.arrived:
            claimed.arrived += 1
            claimed.progressed = True
            metrics.TRANSMIT_BYTES.labels(name).inc(item.size)
        elif outcome.verdict is Verdict.FAILED:
            claimed.failed += 1
        elif outcome.verdict is Verdict.RETRY:
            claimed.halt(outcome.reason)
        if outcome.reason:
            log.warning(
                "instance.answered",
                destination=name,
                job=claimed.id,
                sop_instance_uid=item.sop_instance_uid,
                reason=outcome.reason,
                status=None if outcome.status is None else f"{outcome.status:04X}",
            )
        claimed.unrecorded += 1
        self._queue.put_nowait((claimed, Result(claimed.id, item.sop_instance_uid, outcome)))

    async def record(self) -> None:
        """Keep results, as many at once as have come, however long the database is away."""
        while True:
            group = [await self._queue.get()]
            while not self._queue.empty():
                group.append(self._queue.get_nowait())
            await self._keep([result for _, result in group])
            for claimed, _ in group:
                claimed.unrecorded -= 1
                self._queue.task_done()
            for claimed in {claimed.id: claimed for claimed, _ in group}.values():
                if claimed.over:
                    await self.finish(claimed)

    async def _keep(self, results: list[Result]) -> None:
        while True:
            try:
                async with self.claims.database.transaction() as db:
                    await self.jobs.record(db, results)
            except DependencyUnavailable as error:
                log.warning("results.wait", destination=self.destination.name, reason=str(error))
                await asyncio.sleep(POLL_SECONDS)
            except CLASHES:  # with another transaction, which has won
                log.info("results.again", destination=self.destination.name)
            else:
                return

    async def finish(self, claimed: Claimed) -> None:
        """End an attempt: sent, failed, or to be tried again."""
        if claimed.finishing:
            return  # somebody else just does it
        claimed.finishing = True

        async def decide(db: Connection) -> Ending:
            progress = await self.jobs.progress(db, claimed.id)
            return conclude(claimed, progress, self.destination.spec, self.chance())

        row = await self.claims.finish(claimed, decide)
        if row is not None and row["state"] == "SENT":
            await self.sent(claimed.id)

    async def last_words(self, recorder: asyncio.Task[None]) -> None:
        """Keep what was answered, give back the jobs in hand, and end the recorder."""
        with suppress(TimeoutError, DependencyUnavailable):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._queue.join()
                for claimed in list(self.claims.held.values()):
                    claimed.halt("")
                    await self.finish(claimed)
        recorder.cancel()
        await asyncio.gather(recorder, return_exceptions=True)
