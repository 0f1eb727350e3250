"""One printer's jobs, one after the other, from the claim to how each ends."""

import asyncio
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from opentelemetry.trace import SpanKind

from darkroom_common.backoff import delay
from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.index.origin import links_to_origin
from darkroom_common.telemetry import metrics, traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_print.composing.composer import ComposingFailed
from darkroom_print.printers.configuration import Printer
from darkroom_print.printing.ending import Ended, Lost, Stopping
from darkroom_print.printing.print_scu import FormatRefused, Refused
from darkroom_print.printing.printing import Printing
from darkroom_print.printing.repository import PrintJob
from darkroom_print.printing.workshop import Workshop

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
POLL_SECONDS: Final = 1.0
STOP_SECONDS: Final = 15.0
"""How long a film that is being printed is waited for at the end."""


@dataclass
class Lane:
    """Prints the jobs of one printer."""

    printer: Printer
    shop: Workshop
    stopping: bool = False
    _awake: asyncio.Event = field(default_factory=asyncio.Event)
    _printing: Printing | None = None

    def wake(self) -> None:
        """Say that a job has come."""
        self._awake.set()

    async def run(self) -> None:
        """Print, until cancelled; then finish the film that is being printed."""
        work = asyncio.create_task(self._run(), name=f"printer {self.printer.name}")
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self.stopping = True
            if self._printing is not None:
                self._printing.stopping = True
            self._awake.set()
            await asyncio.wait({work}, timeout=STOP_SECONDS)
            if self._printing is not None:
                self._printing.interrupt()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            raise

    async def _run(self) -> None:
        shop = self.shop
        while not self.stopping:
            job = None
            self._awake.clear()
            try:
                if self.printer.spec.enabled:
                    async with shop.database.transaction() as db:
                        job = await shop.jobs.claim(
                            db, self.printer.name, owner=shop.owner, lease=shop.lease_seconds
                        )
                    shop.outbox.wake()
                if job is not None:
                    await self._print(job)
                    continue
            except DependencyUnavailable as error:
                log.warning("lane.waits", printer=self.printer.name, reason=str(error))
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._awake.wait()
            except TimeoutError:
                pass

    async def _print(self, job: PrintJob) -> None:
        keeping = asyncio.create_task(self._keep(job))
        try:
            async with self.shop.database.acquire() as db:
                origin = await links_to_origin(db, job.sop_instance_uids[0])
            with traces.span(
                tracer,
                "print",
                kind=SpanKind.CLIENT,
                parent=traces.extract(job.trace),
                links=origin,
                darkroom__job=job.id,
                printer=self.printer.name,
            ):
                ended = await self._work(job)
            if ended is not None:
                await self._finish(job, ended)
        finally:
            keeping.cancel()

    async def _keep(self, job: PrintJob) -> None:
        shop = self.shop
        while True:
            await asyncio.sleep(shop.lease_seconds / 3)
            try:
                async with shop.database.acquire() as db:
                    await shop.jobs.renew(db, job.id, owner=shop.owner, lease=shop.lease_seconds)
            except DependencyUnavailable as error:
                log.warning("lane.waits", printer=self.printer.name, reason=str(error))

    async def _work(self, job: PrintJob) -> Ended | None:
        self._printing = Printing(self.printer, self.shop, job, stopping=self.stopping)
        try:
            await self._printing.run()
        except Ended as ended:
            return ended
        except Lost:
            log.info("job.lost", job=job.id)
            return None
        except DependencyUnavailable:
            raise
        except PeerFault as fault:
            metrics.PRINT_FAULTS.labels(self.printer.name, fault.reason).inc()
            await self._away(str(fault))
            return Ended("FAILED", str(fault), transient=fault.transient)
        except Exception as error:  # noqa: BLE001 - this is the place that decides
            return _ended_by(error)
        finally:
            self._printing = None
        return Ended("DONE", "")

    async def _away(self, reason: str) -> None:
        await self.shop.configuration.show_status(self.printer.name, "AWAY", reason[:200])

    async def _finish(self, job: PrintJob, ended: Ended) -> None:
        shop, backoff = self.shop, self.printer.spec.backoff
        state, wait = ended.state, 0.0
        if ended.transient:
            if job.tries + 1 < backoff.max_attempts:
                state, wait = "RETRYING", delay(backoff, job.tries, shop.chance())
            else:
                state = "FAILED"
        async with shop.database.transaction() as db:
            await shop.jobs.finish(
                db, job, state, ended.reason, owner=shop.owner, wait=wait, counts=ended.transient
            )
        shop.outbox.wake()
        metrics.PRINT_JOBS.labels(self.printer.name, state).inc()
        log.info(
            "job.ended", job=job.id, printer=self.printer.name, state=state, reason=ended.reason
        )


def _ended_by(error: Exception) -> Ended:
    """Return how a job ends, or waits, for an error that left no film in doubt."""
    match error:
        case Stopping():
            return Ended("QUEUED", "")
        case ComposingFailed():
            return Ended("RETRYING", str(error), transient=True)
        case Refused():
            return Ended("FAILED", str(error), transient=error.transient)
        case FormatRefused() | PermanentError():
            return Ended("FAILED", str(error))
        case _:
            # Where, not what: its text may hold what was received.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{Path(frame.filename).name}:{frame.lineno}"
            log.error("job.not_understood", error=type(error).__name__, at=at)
            return Ended("FAILED", f"not understood: {type(error).__name__}", transient=True)
