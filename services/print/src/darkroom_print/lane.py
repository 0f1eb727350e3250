"""One printer's jobs, one after the other, from the claim to the last film."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, Final

import numpy as np
from opentelemetry.trace import SpanKind

from darkroom_common.backoff import delay
from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.index.origin import links_to_origin
from darkroom_common.messages.films import FilmOrder
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Database
from darkroom_common.seal import Seal
from darkroom_common.telemetry import metrics, traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_print.composer import Composers, ComposingFailed
from darkroom_print.connecting import Tls, asked_of, peer_of
from darkroom_print.domain.bitmap import Film
from darkroom_print.domain.film import Mode
from darkroom_print.domain.picture import Picture
from darkroom_print.ending import Ended, Lost, Stopping
from darkroom_print.orders import PURPOSE, Paths, find_pictures, open_order
from darkroom_print.planning import Plan, of_film, plan
from darkroom_print.print_scu import (
    FilmSheet,
    FormatRefused,
    PrintAssociation,
    PrinterStatus,
    Refused,
)
from darkroom_print.printers import Configuration, Printer
from darkroom_print.profiles import Profile, capabilities
from darkroom_print.repository import JobRepository, PrintJob

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
POLL_SECONDS: Final = 1.0
STOP_SECONDS: Final = 15.0
"""How long a film that is being printed is waited for at the end."""


@dataclass(frozen=True)
class Workshop:
    """What lanes work with.

    Attributes:
        owner: this process.
        lease_seconds: until another process takes over a job of one that died.
    """

    database: Database
    jobs: JobRepository
    configuration: Configuration
    outbox: Outbox
    composers: Composers
    store: Paths
    seal: Seal
    threads: Executor
    tls: Tls
    owner: str
    lease_seconds: float
    chance: Callable[[], float] = random.random


def digest(film: Film) -> bytes:
    """Return the SHA-256 of a film's samples."""
    return sha256(np.ascontiguousarray(film.sheet.pixels).data).digest()


@dataclass
class Lane:
    """Prints the jobs of one printer."""

    printer: Printer
    shop: Workshop
    stopping: bool = False
    _awake: asyncio.Event = field(default_factory=asyncio.Event)
    _association: PrintAssociation | None = None

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
            self._awake.set()
            await asyncio.wait({work}, timeout=STOP_SECONDS)
            if self._association is not None:
                self._association.interrupt()
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
                tracer, "print", kind=SpanKind.CLIENT, parent=traces.extract(job.trace),
                links=origin, darkroom__job=job.id, printer=self.printer.name,
            ):  # fmt: skip
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

    async def _work(  # noqa: PLR0911 - one for each way to end
        self, job: PrintJob
    ) -> Ended | None:
        try:
            await self._films(job)
        except Ended as ended:
            return ended
        except Stopping:
            return Ended("QUEUED", "")
        except Lost:
            log.info("job.lost", job=job.id)
            return None
        except ComposingFailed as error:
            return Ended("RETRYING", str(error), transient=True)
        except FormatRefused as error:
            return Ended("FAILED", str(error))
        except Refused as error:
            return Ended("FAILED", str(error), transient=error.transient)
        except PeerFault as fault:
            metrics.PRINT_FAULTS.labels(self.printer.name, fault.reason).inc()
            await self._away(str(fault))
            return Ended("FAILED", str(fault), transient=fault.transient)
        except (PermanentError, ValueError) as error:
            words = str(error) if isinstance(error, PermanentError) else "the order makes no sense"
            return Ended("FAILED", words)
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
        log.info("job.ended", job=job.id, printer=self.printer.name, state=state,
                 reason=ended.reason)  # fmt: skip

    async def _films(self, job: PrintJob) -> None:
        order, profile = open_order(job, self.shop.seal), capabilities(self.printer.spec)
        planned = plan(order, profile, images=len(order.images))
        try:
            await self._films_of(job, order, planned, profile)
        except FormatRefused as error:
            if order.arrange != "auto" or not planned.has_boxes:
                raise
            log.info("film.arranged", job=job.id, printer=self.printer.name, reason=str(error))
            job.warnings.append(f"{error}: each film is sent as one bitmap")
            order = await self._arrange_ourselves(job, order)
            planned = plan(order, profile, images=len(order.images))
            await self._films_of(job, order, planned, profile)

    async def _arrange_ourselves(self, job: PrintJob, order: FilmOrder) -> FilmOrder:
        """Keep that the printer does not know the layout of a job, so that previews show it."""
        arranged = order.model_copy(update={"arrange": "sheet"})
        sealed = self.shop.seal.seal(arranged.model_dump(mode="json"), purpose=PURPOSE)
        async with self.shop.database.transaction() as db:
            await self.shop.jobs.change_order(db, job, sealed)
        return arranged

    async def _films_of(
        self, job: PrintJob, order: FilmOrder, planned: Plan, profile: Profile
    ) -> None:
        shop = self.shop
        async with shop.database.transaction() as db:
            pictures = await find_pictures(db, order, order.images, shop.store)
            waiting = await shop.jobs.waiting_films(db, job.id, planned.count)
        if not waiting:
            return
        one_each = "one-film-box-a-session" in profile.quirks
        batches = [[number] for number in waiting] if one_each else [waiting]
        for numbers in batches:
            async with (
                self._compose(planned, pictures, numbers[0]) as first,
                self._session(job, planned, profile) as association,
            ):
                await self._film(job, planned, profile, association, numbers[0], first)
                for number in numbers[1:]:
                    async with self._compose(planned, pictures, number) as film:
                        await self._film(job, planned, profile, association, number, film)

    @asynccontextmanager
    async def _compose(
        self, planned: Plan, pictures: list[Picture], number: int
    ) -> AsyncIterator[Film]:
        chosen = of_film(pictures, number, planned.boxes)
        with metrics.PRINT_COMPOSING.time():
            context = self.shop.composers.compose(planned.film, chosen)
            film = await context.__aenter__()
        try:
            yield film
        finally:
            await context.__aexit__(None, None, None)

    async def _call(self, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.shop.threads, partial(function, *given, **named))

    @asynccontextmanager
    async def _session(
        self, job: PrintJob, planned: Plan, profile: Profile
    ) -> AsyncIterator[PrintAssociation]:
        if self.stopping:
            raise Stopping
        shop = self.shop
        loop = asyncio.get_running_loop()
        asked = asked_of(
            profile, colour=planned.film.colour == "RGB", annotated=bool(planned.annotations)
        )

        def heard(status: PrinterStatus) -> None:
            asyncio.run_coroutine_threadsafe(self._show(status), loop)

        peer = peer_of(self.printer, shop.tls)
        association: PrintAssociation = await self._call(PrintAssociation, peer, asked, heard)
        self._association = association
        try:
            await self._begin(job, planned, profile, association)
            yield association
            if "no-delete" not in profile.quirks:
                await self._tidy(association.end_session)
            await self._call(association.release)
        except (Refused, FormatRefused):
            await self._tidy(association.end_session)
            await self._tidy(association.release)
            raise
        except BaseException:
            association.abort()
            raise
        finally:
            job.warnings = list(dict.fromkeys([*job.warnings, *association.warnings]))[-50:]
            self._association = None

    async def _begin(
        self, job: PrintJob, planned: Plan, profile: Profile, association: PrintAssociation
    ) -> None:
        shop = self.shop
        if "no-status" not in profile.quirks:
            await self._look(job, association)
        await self._call(association.begin, planned.session)
        async with shop.database.transaction() as db:
            if not await shop.jobs.printing(db, job, owner=shop.owner):
                raise Lost
        shop.outbox.wake()

    async def _look(self, job: PrintJob, association: PrintAssociation) -> None:
        """Do not begin while the printer says that it cannot print."""
        try:
            status: PrinterStatus = await self._call(association.status)
        except Refused as error:  # some printers do not tell, and print all the same
            job.warnings.append(str(error))
            return
        if status.status == "FAILURE":
            words = f"printer: FAILURE{', ' if status.info else ''}{status.info}"
            raise Ended("FAILED", words, transient=True)

    async def _tidy(self, function: Callable[..., None], *given: Any) -> None:
        """Do what the film does not need; a printer that refuses it has printed all the same."""
        try:
            await self._call(function, *given)
        except (Refused, PeerFault) as error:
            log.info("printer.untidy", printer=self.printer.name, reason=str(error))

    async def _show(self, status: PrinterStatus) -> None:
        try:
            await self.shop.configuration.show_status(self.printer.name, status.status, status.info)
        except DependencyUnavailable as error:
            log.warning("lane.waits", printer=self.printer.name, reason=str(error))

    async def _film(  # noqa: PLR0913, PLR0917 - what a film is made of
        self,
        job: PrintJob,
        planned: Plan,
        profile: Profile,
        association: PrintAssociation,
        number: int,
        film: Film,
    ) -> None:
        if self.stopping:
            raise Stopping
        shop = self.shop
        boxes = film.boxes if planned.film.mode is Mode.BOXES else (film.sheet,)
        sheet = FilmSheet(
            planned.film_box, boxes, planned.image_box,
            planned.lut if association.applies_lut else None, planned.annotations,
        )  # fmt: skip
        if film.unprintable:
            job.warnings.append(f"film {number}: {film.unprintable} characters have no font")
        if planned.lut is not None and not association.applies_lut:
            raise Ended("FAILED", "the printer takes no Presentation LUT, as its profile says")
        box = await self._call(association.prepare, sheet)
        known = await asyncio.to_thread(digest, film)
        async with shop.database.transaction() as db:
            if not await shop.jobs.acting(db, job.id, number, known, owner=shop.owner):
                raise Lost
        print_job = await self._act(job, profile, association, number, box)
        warnings = await self._await_end(job, association, number, print_job)
        async with shop.database.transaction() as db:
            await shop.jobs.printed(
                db, job.id, number, print_job, [*association.warnings, *warnings]
            )
        job.warnings.extend(warnings)
        metrics.PRINT_FILMS.labels(self.printer.name).inc()
        log.info("film.printed", job=job.id, film=number, printer=self.printer.name)
        if "no-delete" not in profile.quirks:
            await self._tidy(association.forget, box)

    async def _act(
        self, job: PrintJob, profile: Profile, association: PrintAssociation, number: int, box: str
    ) -> str:
        shop = self.shop
        on_session = "action-on-session" in profile.quirks
        try:
            return str(await self._call(association.act, box, on_session=on_session))
        except Refused:
            async with shop.database.transaction() as db:
                await shop.jobs.not_acted(db, job.id, number)
            raise
        except PeerFault as fault:
            async with shop.database.transaction() as db:
                await shop.jobs.unknown(db, job.id, number)
            reason = f"film {number}: no answer after the order to print ({fault}); look for it"
            raise Ended("UNKNOWN", reason) from fault

    async def _await_end(
        self, job: PrintJob, association: PrintAssociation, number: int, print_job: str
    ) -> list[str]:
        """Wait for the end of the printer's own job; return what there is to say."""
        seconds = self.printer.spec.done_seconds
        try:
            state = await self._call(association.follow, print_job, seconds)
        except (PeerFault, Refused) as error:
            return [f"film {number}: taken, but the printer did not tell its end ({error})"]
        if state == "FAILURE":
            async with self.shop.database.transaction() as db:
                await self.shop.jobs.unknown(db, job.id, number)
            info = association.job_info(print_job)
            words = f"film {number}: the printer's job has failed{', ' if info else ''}{info}"
            raise Ended("FAILED", words)
        return [] if state == "DONE" else [f"film {number}: {state} after {seconds:g} s"]
