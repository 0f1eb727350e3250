"""The jobs in the hands of this process: claimed, kept by renewing their leases, finished.

What waits for its next try is remembered by the monotonic clock as well, so that neither a wall
clock that is set back nor one that is set forward moves it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Generic

from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.attempt import Ending
from darkroom_common.jobs.kind import A, Row
from darkroom_common.jobs.table import JobTable
from darkroom_common.lull import Lull
from darkroom_common.postgres.pool import CLASHES, Connection, Database
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
COUNT_SECONDS: Final = 30.0
POLL_SECONDS: Final = 1.0
"""Between two tries while the database is away, and two looks while something is in hand."""
_MOST_REMEMBERED: Final = 10_000
_PATIENCE_SECONDS: Final = 5.0
Decide = Callable[[Connection], Awaitable[Ending]]


class _NotOurs(Exception):
    """The job is not this process's any more: nothing of the attempt's end is kept."""


@dataclass
class Claims(Generic[A]):
    """Jobs of one lane, or of all lanes of a kind, that this process has claimed.

    Attributes:
        owner: this process.
        lane: None for all.
        bound: the id of what the lane is for.
        held: by job id.
    """

    table: JobTable[A]
    database: Database
    owner: str
    lease_seconds: float
    lane: str | None = None
    clock: Clock = SYSTEM_CLOCK
    bound: str = ""
    held: dict[str, A] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    _lull: Lull = field(default_factory=Lull)

    async def claim(self, *, below: float = float("inf"), full: Sequence[str] = ()) -> A | None:
        """Claim the job that goes first, if one is due. What is claimed is in `held`.

        Raises:
            DependencyUnavailable: the database is away.
        """
        claiming = asyncio.ensure_future(self._claim(below, full))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await asyncio.wait({claiming}, timeout=_PATIENCE_SECONDS)  # else it is held by nobody
            raise

    async def _claim(self, below: float, full: Sequence[str]) -> A | None:
        while True:
            now = self.clock.monotonic()
            due = [job for job, at in self._due.items() if at <= now]
            waiting = [job for job, at in self._due.items() if at > now]
            async with self.database.transaction() as db:
                found = await self.table.claim(
                    db,
                    lane=self.lane,
                    owner=self.owner,
                    lease=self.lease_seconds,
                    below=below,
                    full=full,
                    due=due,
                    not_due=[*waiting, *self.held],
                    bound=self.bound,
                )
            if found is None:
                for job in due:
                    self._due.pop(job, None)
                return None
            self._lull.over()
            attempt, ending = found
            self._due.pop(attempt.id, None)
            if ending is None:
                self.held[attempt.id] = attempt
                return attempt
            self._ended(attempt, ending)

    def until_due(self) -> float:
        """Return the seconds after which to look again, having found nothing."""
        now = self.clock.monotonic()
        pause = POLL_SECONDS if self.held else self._lull.pause()
        return max(0.0, min([pause, *(at - now for at in self._due.values())]))

    async def finish(self, attempt: A, ending: Ending | Decide) -> Row | None:
        """End an attempt, however long the database is away, and let go of the job.

        Args:
            attempt: at the job.
            ending: of it; or what writes all that goes with the end in the transaction that it
                gets, and returns the ending. None of that is kept when the job is not ours.

        Returns:
            The row as it was written; None when the job was not this process's any more.
        """
        try:
            while True:
                try:
                    async with self.database.transaction() as db:
                        if not await self.table.ours(db, attempt, owner=self.owner):
                            raise _NotOurs
                        decided = ending if isinstance(ending, Ending) else await ending(db)
                        row = await self.table.finish(db, attempt, decided, owner=self.owner)
                    break
                except DependencyUnavailable as error:
                    log.warning("job.waits", job=attempt.id, reason=str(error))
                    await asyncio.sleep(POLL_SECONDS)
                except CLASHES:  # with another transaction, which has won
                    log.info("job.again", job=attempt.id)
        except _NotOurs:
            log.debug("job.lost", kind=self.table.kind.name, job=attempt.id)
            return None
        finally:
            self.held.pop(attempt.id, None)
        self._ended(attempt, decided)
        return row

    def _ended(self, attempt: A, ending: Ending) -> None:
        if ending.wait and ending.remembered:
            if len(self._due) >= _MOST_REMEMBERED:
                self._due.clear()  # the database knows them, too
            self._due[attempt.id] = self.clock.monotonic() + ending.wait
        phases = self.table.kind.phases
        tell = log.error if ending.state in (phases.failed, phases.doubtful) else log.info
        tell = log.warning if ending.state == phases.retrying else tell
        tell(
            "job.attempted",
            kind=self.table.kind.name,
            job=attempt.id,
            lane=attempt.lane,
            state=ending.state,
            reason=ending.reason,
            attempt=attempt.number,
            wait=round(ending.wait, 3),
        )

    def acted(self, job: str) -> None:
        """Take it that an operator has acted on a job: what is known of it is not true any more."""
        self._due.pop(job, None)
        attempt = self.held.get(job)
        if attempt is not None:
            attempt.stop("lost")

    async def renew(self) -> None:
        """Renew the leases once; stop the work at jobs that are this process's no more.

        Raises:
            DependencyUnavailable: the database is away.
        """
        attempts = list(self.held.values())
        if not attempts:
            return
        async with self.database.acquire() as db:
            ours = await self.table.renew(db, attempts, owner=self.owner, lease=self.lease_seconds)
        for attempt in attempts:
            if attempt.id not in ours:
                attempt.stop("lost")

    async def count(self) -> None:
        """Set the gauges now and then, until cancelled; those of one lane are its `Lanes`'."""
        while self.lane is None:
            with suppress(DependencyUnavailable):  # claims say so
                async with self.database.acquire() as db:
                    await self.table.count(db, ())
            await asyncio.sleep(COUNT_SECONDS)

    async def keep(self) -> None:
        """Renew the leases, until cancelled."""
        pause = self.lease_seconds / 4
        if self.table.kind.progress:
            pause = min(pause, POLL_SECONDS)
        while True:
            await asyncio.sleep(pause)
            try:
                await self.renew()
            except DependencyUnavailable as error:
                log.warning("lease.waits", kind=self.table.kind.name, reason=str(error))
            except CLASHES:  # with another transaction, which has won
                log.info("lease.again", kind=self.table.kind.name)
