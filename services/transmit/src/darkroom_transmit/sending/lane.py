"""One destination's own lane: what waits here holds up nobody else (TRX-08).

A lane has as many slots as the destination takes associations. A slot takes a batch of the job
that goes first, sends it in a thread of the lane's own, and comes back for the next; so a job of
higher priority waits for a batch, not for a job. What is answered is kept in groups, while sending
goes on.
"""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from opentelemetry.trace import SpanKind

from darkroom_common.backoff import delay
from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry import metrics, traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.breaker import Breaker, State
from darkroom_transmit.sending.job import DICOM_PRIORITY, Claimed, Result, conclude
from darkroom_transmit.sending.outcome import Outcome, Verdict
from darkroom_transmit.sending.pool import PoolExhausted
from darkroom_transmit.sending.repository import JobRepository
from darkroom_transmit.sending.sender import Orders, Sender
from darkroom_transmit.sending.sources import (
    CannotPrepare,
    Item,
    PreparationUnavailable,
    Preparer,
    Source,
)
from darkroom_transmit.sending.throttle import Throttle

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
POLL_SECONDS: Final = 1.0
FALLBACK_SYNTAXES: Final = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
"""What every storage SCP takes at least the last of, PS3.5 section 10.1."""
NOT_ACCEPTED: Final = "TransferSyntaxNotAccepted"
_MOST_REMEMBERED: Final = 10_000
_STATES: Final[tuple[State, ...]] = ("closed", "open", "half-open")
_LAST_WORDS_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Yard:
    """What all lanes work with."""

    database: Database
    jobs: JobRepository
    outbox: Outbox
    preparer: Preparer
    senders: dict[str, Sender]
    owner: str
    lease_seconds: float
    sent: Callable[[str], Awaitable[None]]
    """Is told the id of each job that is sent."""
    show_breaker: Callable[[str, State, str, float], Awaitable[None]]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    chance: Callable[[], float] = random.random


@dataclass
class Lane:
    """Sends to one destination until it is cancelled."""

    destination: Destination
    yard: Yard
    breaker: Breaker = field(default_factory=Breaker)
    _runs: dict[str, Claimed] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _claiming: asyncio.Lock = field(default_factory=asyncio.Lock)
    _look_at: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Make the threads, which start when they are needed."""
        spec = self.destination.spec
        self._threads = ThreadPoolExecutor(
            spec.max_associations, thread_name_prefix=f"send-{self.destination.name}"
        )
        self._throttle = Throttle(spec.throttle_bytes_per_second)
        self._results: asyncio.Queue[tuple[Claimed, Result]] = asyncio.Queue()

    def wake(self) -> None:
        """Say that there may be something to do."""
        self._look_at = 0.0
        self._wake.set()

    def drop(self, job_id: str) -> None:
        """Send no more of a job that was cancelled."""
        claimed = self._runs.get(job_id)
        if claimed is not None:
            claimed.stop("Cancelled")
        self._due.pop(job_id, None)

    def forget(self, job_id: str) -> None:
        """Forget when a job was to be tried again: an operator wants it now."""
        self._due.pop(job_id, None)
        self.breaker.reset()
        self.wake()

    async def run(self) -> None:
        """Send; when cancelled, finish the objects that are under way and keep their fate."""
        recorder = asyncio.create_task(self._record())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._renew())
                for _ in range(self.destination.spec.max_associations):
                    tasks.create_task(self._slot())
        finally:
            self._stop.set()
            await self._last_words(recorder)
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _last_words(self, recorder: asyncio.Task[None]) -> None:
        """Keep what was answered, and give back the jobs in hand."""
        with suppress(TimeoutError, DependencyUnavailable):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._results.join()
                for claimed in list(self._runs.values()):
                    claimed.items.clear()
                    await self._finish(claimed)
        recorder.cancel()
        await asyncio.gather(recorder, return_exceptions=True)

    # --- what may be sent now -----------------------------------------------------------------
    def _pause(self) -> float:
        """Return the seconds in which nothing may be sent, as far as is known; 0 for now."""
        if not self.destination.spec.enabled:
            return POLL_SECONDS
        opens = self.destination.opens_at(self.yard.now())
        is_open = opens is not None and opens <= self.yard.now()
        metrics.TRANSMIT_OPEN.labels(self.destination.name).set(is_open)
        if not is_open:
            return POLL_SECONDS  # the wall clock may be set: look again
        return self.breaker.wait(time.monotonic())

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
                    async with asyncio.timeout(min(pause or POLL_SECONDS, POLL_SECONDS)):
                        await self._wake.wait()
                continue
            try:
                await self._send(claimed, batch)
            finally:
                claimed.in_flight -= 1
                if probe:
                    self.breaker.nothing_learnt()  # unless it has learnt something
            if claimed.over:
                await self._finish(claimed)

    async def _choose(self) -> Claimed | None:
        """Return the job to take the next batch of; claim one that goes before those in hand."""
        ready = [claimed for claimed in self._runs.values() if claimed.items]
        best = min(ready, key=lambda claimed: claimed.rank, default=None)
        now = time.monotonic()
        if now < self._look_at:
            return best
        try:
            found = await self._claim(best, now)
        except DependencyUnavailable as error:
            log.warning("lane.waits", destination=self.destination.name, reason=str(error))
            self._look_at = now + POLL_SECONDS
            return best
        if found is None:
            self._look_at = now + self._until_due(now)
            return best
        self._runs[found.id] = found
        if found.items:
            return found
        await self._finish(found)  # there was nothing left to send
        return best

    def _until_due(self, now: float) -> float:
        return max(0.0, min([POLL_SECONDS, *(at - now for at in self._due.values())]))

    async def _claim(self, best: Claimed | None, now: float) -> Claimed | None:
        due = [job for job, at in self._due.items() if at <= now]
        waiting = [job for job, at in self._due.items() if at > now]
        async with self.yard.database.transaction() as db:
            found = await self.yard.jobs.claim(
                db,
                self.destination.name,
                owner=self.yard.owner,
                lease=self.yard.lease_seconds,
                due=due,
                not_due=[*waiting, *self._runs],
                below=float("inf") if best is None else best.rank,
            )
        for job in due:
            if found is None or job == found.id:
                self._due.pop(job, None)
        if found is not None:
            self.yard.outbox.wake()
        return found

    # --- sending ------------------------------------------------------------------------------
    async def _send(self, claimed: Claimed, batch: Sequence[Item]) -> None:
        """Send a batch, made over into what the destination takes where it refuses."""
        name = self.destination.name
        spec = self.destination.spec
        wanted = spec.transfer_syntaxes
        refused: set[str] = set()
        left = list(batch)
        with (
            metrics.TRANSMIT_SECONDS.labels(name).time(),
            traces.span(
                tracer,
                f"C-STORE SCU {name}" if spec.kind == "dimse" else f"STOW-RS {name}",
                kind=SpanKind.CLIENT,
                parent=traces.extract(claimed.trace),
                links=claimed.origin,
                darkroom__job=claimed.id,
                darkroom__instances=len(batch),
            ),
        ):
            while left and not claimed.stopped:
                again = await self._try(claimed, left, wanted)
                refused |= {item_syntax for _, item_syntax in again}
                offered = spec.transfer_syntaxes or FALLBACK_SYNTAXES
                wanted = tuple(syntax for syntax in offered if syntax not in refused)
                left = [item for item, _ in again]
                if not wanted:
                    for item in left:
                        self._told(claimed, item, Outcome(Verdict.FAILED, NOT_ACCEPTED))
                    return

    async def _try(
        self, claimed: Claimed, items: Sequence[Item], wanted: tuple[str, ...]
    ) -> list[tuple[Item, str]]:
        """Send what can be made ready; return what was refused, with its transfer syntax."""
        again: list[tuple[Item, str]] = []
        loop = asyncio.get_running_loop()

        def told(source: Source, outcome: Outcome) -> None:
            if outcome.reason == NOT_ACCEPTED:
                again.append((source.item, source.transfer_syntax_uid))
            else:
                loop.call_soon_threadsafe(self._told, claimed, source.item, outcome)

        async with AsyncExitStack() as held:
            ready: dict[str, list[Source]] = {}
            for item in items:
                source = await self._prepare(claimed, item, wanted, held)
                if source is not None:
                    ready.setdefault(source.transfer_syntax_uid, []).append(source)
            for sources in ready.values():
                if not claimed.stopped:
                    await self._deliver(claimed, sources, told)
        return again

    async def _prepare(
        self, claimed: Claimed, item: Item, wanted: tuple[str, ...], held: AsyncExitStack
    ) -> Source | None:
        try:
            return await held.enter_async_context(
                self.yard.preparer.prepare(item, self.destination, wanted)
            )
        except CannotPrepare as error:
            self._told(claimed, item, Outcome(Verdict.FAILED, error.reason))
        except PreparationUnavailable as error:
            self._told(claimed, item, Outcome(Verdict.RETRY, error.reason))
        return None

    async def _deliver(
        self, claimed: Claimed, sources: Sequence[Source], told: Callable[[Source, Outcome], None]
    ) -> None:
        sender = self.yard.senders.get(self.destination.spec.kind)
        if sender is None:
            claimed.stop("KindNotAvailable", permanent=True)
            return
        orders = Orders(
            told, self._stop, self._throttle, self._threads, DICOM_PRIORITY[claimed.priority]
        )
        try:
            await self._to_its_end(sender.send(self.destination, sources, orders))
        except PoolExhausted:
            self.breaker.nothing_learnt()
            claimed.stop("PoolExhausted", exhausted=True)
        except PeerFault as fault:
            await self._faulted(claimed, fault)
        else:
            await self._closed_again()

    async def _to_its_end(self, sending: Awaitable[None]) -> None:
        """Wait for a batch; when the lane is cancelled, for the object that is under way."""
        task = asyncio.ensure_future(sending)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self._stop.set()
            with suppress(PeerFault, PoolExhausted):
                await task
            raise

    async def _faulted(self, claimed: Claimed, fault: PeerFault) -> None:
        name = self.destination.name
        metrics.TRANSMIT_FAULTS.labels(name, fault.reason).inc()
        log.warning(
            "destination.failed",
            destination=name,
            job=claimed.id,
            reason=fault.reason,
            detail=fault.detail,
        )
        claimed.stop(fault.reason, permanent=not fault.transient)
        backoff = self.destination.spec.backoff
        seconds = delay(backoff, self.breaker.failures, 0.5)
        self.breaker.failed(fault.reason, time.monotonic(), seconds)
        await self._show_breaker(seconds)
        self._wake.set()

    async def _closed_again(self) -> None:
        if self.breaker.failures:
            if self.breaker.state() != "closed":
                log.info("destination.recovered", destination=self.destination.name)
            self.breaker.succeeded()
            await self._show_breaker(0.0)
            self._wake.set()
        else:
            self.breaker.succeeded()

    async def _show_breaker(self, seconds: float) -> None:
        name, state = self.destination.name, self.breaker.state()
        for one in _STATES:
            metrics.TRANSMIT_BREAKER.labels(name, one).set(one == state)
        with suppress(DependencyUnavailable):  # it is for people to look at
            await self.yard.show_breaker(name, state, self.breaker.reason, seconds)

    # --- what became of it ----------------------------------------------------------------------
    def _told(self, claimed: Claimed, item: Item, outcome: Outcome) -> None:
        name = self.destination.name
        metrics.TRANSMIT_INSTANCES.labels(name, outcome.verdict.value).inc()
        if outcome.arrived:
            claimed.arrived += 1
            metrics.TRANSMIT_BYTES.labels(name).inc(item.size)
        elif outcome.verdict is Verdict.FAILED:
            claimed.failed += 1
        else:
            claimed.stop(outcome.reason)
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
        self._results.put_nowait((claimed, Result(claimed.id, item.sop_instance_uid, outcome)))

    async def _record(self) -> None:
        """Keep results, as many at once as have come, however long the database is away."""
        while True:
            group = [await self._results.get()]
            while not self._results.empty():
                group.append(self._results.get_nowait())
            while True:
                try:
                    async with self.yard.database.transaction() as db:
                        await self.yard.jobs.record(db, [result for _, result in group])
                    break
                except DependencyUnavailable as error:
                    log.warning(
                        "results.wait", destination=self.destination.name, reason=str(error)
                    )
                    await asyncio.sleep(POLL_SECONDS)
            for claimed, _ in group:
                claimed.unrecorded -= 1
                self._results.task_done()
            for claimed in {id(claimed): claimed for claimed, _ in group}.values():
                if claimed.over:
                    await self._finish(claimed)

    async def _finish(self, claimed: Claimed) -> None:
        """End an attempt: sent, failed, or to be tried again."""
        if self._runs.pop(claimed.id, None) is None:
            return  # somebody else has just done it
        spec = self.destination.spec
        while True:
            try:
                async with self.yard.database.transaction() as db:
                    progress = await self.yard.jobs.progress(db, claimed.id)
                    ending = conclude(claimed, progress, spec, self.yard.chance())
                    mine = await self.yard.jobs.finish(db, claimed, ending, owner=self.yard.owner)
                break
            except DependencyUnavailable as error:
                log.warning("job.waits", destination=self.destination.name, reason=str(error))
                await asyncio.sleep(POLL_SECONDS)
        if not mine:
            return
        self.yard.outbox.wake()
        if ending.state == "RETRYING":
            if len(self._due) >= _MOST_REMEMBERED:
                self._due.clear()  # the database knows them, too
            self._due[claimed.id] = time.monotonic() + ending.wait
        log.info(
            "job.attempted",
            job=claimed.id,
            destination=self.destination.name,
            state=ending.state,
            reason=ending.reason,
            attempt=claimed.number,
            sent=claimed.arrived,
            failed=claimed.failed,
            wait=round(ending.wait, 3),
        )
        if ending.state == "SENT":
            await self.yard.sent(claimed.id)

    async def _renew(self) -> None:
        """Keep the leases; stop jobs that are ours no more: cancelled, or taken over."""
        while True:
            await asyncio.sleep(self.yard.lease_seconds / 4)
            if not self._runs:
                continue
            try:
                async with self.yard.database.transaction() as db:
                    ours = await self.yard.jobs.renew(
                        db, list(self._runs), owner=self.yard.owner, lease=self.yard.lease_seconds
                    )
            except DependencyUnavailable as error:
                log.warning("lease.waits", destination=self.destination.name, reason=str(error))
                continue
            for job_id in [job for job in self._runs if job not in ours]:
                self.drop(job_id)
