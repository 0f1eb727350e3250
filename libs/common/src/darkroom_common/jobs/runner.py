"""Runs jobs whose attempt is one piece of work: claims, works, finishes, stops in good order."""

import asyncio
import random
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.attempt import Ending, Stop
from darkroom_common.jobs.kind import A
from darkroom_common.jobs.lease import POLL_SECONDS, Claims, Decide
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
_LAST_WORDS_SECONDS: Final = 5.0


@dataclass
class Runner(Generic[A]):
    """Runs the jobs of one lane, or of all.

    Attributes:
        work: one attempt, from the claim to how it ends; see `Claims.finish`. When it is stopped,
            it finishes what cannot be left and gives the rest back.
        at_once: attempts in all; `each`: of one lane.
        stop_seconds: that work may take to an end when it is to stop; then it waits no longer.
        enabled: whether anything may be claimed.
    """

    claims: Claims[A]
    work: Callable[[A], Awaitable[Ending | Decide]]
    at_once: int = 1
    each: int = 1
    stop_seconds: float = _LAST_WORDS_SECONDS
    enabled: bool = True
    chance: Callable[[], float] = random.random
    _busy: Counter[str] = field(default_factory=Counter)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.claims.table.on_waiting(self.wake)

    def wake(self) -> None:
        """Say that there may be something to do."""
        self._wake.set()

    def acted(self, job: str) -> None:
        """Say that an operator has acted on a job."""
        self.claims.acted(job)
        self.wake()

    async def run(self) -> None:
        """Run jobs, until cancelled; return when all that was begun has ended."""
        running = asyncio.create_task(self._run(), name=f"jobs {self.claims.table.kind.name}")
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            self._stop.set()
            self.wake()
            self._stop_all("stopping")
            await asyncio.wait({running}, timeout=self.stop_seconds)
            self._stop_all("now")
            await asyncio.wait({running}, timeout=_LAST_WORDS_SECONDS)
            running.cancel()
            await asyncio.wait({running}, timeout=_LAST_WORDS_SECONDS)
            raise

    def _stop_all(self, why: Stop) -> None:
        for attempt in list(self.claims.held.values()):
            attempt.stop(why)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            beside = [tasks.create_task(one) for one in (self.claims.keep(), self.claims.count())]
            while not self._stop.is_set() or self._busy.total():
                self._wake.clear()
                if self.enabled:
                    try:
                        await self._fill(tasks)
                    except DependencyUnavailable as error:
                        kind = self.claims.table.kind.name
                        log.warning("jobs.wait", kind=kind, reason=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.claims.until_due() or POLL_SECONDS):
                        await self._wake.wait()
            for task in beside:
                task.cancel()

    async def _fill(self, tasks: asyncio.TaskGroup) -> None:
        while not self._stop.is_set() and self._busy.total() < self.at_once:
            full = [lane for lane, count in self._busy.items() if count >= self.each]
            attempt = await self.claims.claim(full=full)
            if attempt is None:
                return
            if self._stop.is_set():
                attempt.stop("stopping")
            self._busy[attempt.lane] += 1
            tasks.create_task(self._attempt(attempt), name=f"job {attempt.id}")

    async def _attempt(self, attempt: A) -> None:
        kind = self.claims.table.kind
        try:
            with traces.span(
                tracer,
                kind.name,
                parent=traces.extract(attempt.trace),
                links=attempt.links,
                darkroom__job=attempt.id,
                darkroom__lane=attempt.lane,
            ):
                ending = await self._ending(attempt)
            await self.claims.finish(attempt, ending)
        finally:
            self._busy[attempt.lane] -= 1
            self.wake()

    async def _ending(self, attempt: A) -> Ending | Decide:
        """Do the work; what it raises is no end of the other jobs."""
        kind = self.claims.table.kind
        try:
            return await self.work(attempt)
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
            return kind.given_back()  # it was asked to end, and has taken too long
        except DependencyUnavailable as error:
            log.warning("job.interrupted", kind=kind.name, job=attempt.id, reason=str(error))
            return Ending(kind.phases.retrying, str(error), wait=POLL_SECONDS)
        except Exception as error:  # noqa: BLE001 - this is the place that decides
            # Where, not what: its text may hold what was received.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{Path(frame.filename).name}:{frame.lineno}"
            name = type(error).__name__
            log.error("job.not_understood", kind=kind.name, job=attempt.id, error=name, at=at)
            return kind.again(attempt, attempt.backoff, f"not understood: {name}", self.chance())
