"""Work at one print job: its films, from the first that waits to the last."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.errors import DarkroomError, DependencyUnavailable
from darkroom_common.films.film import Mode
from darkroom_common.films.profiles import Profile, capabilities
from darkroom_common.jobs.attempt import Stop
from darkroom_common.readers.print import PURPOSE, open_order
from darkroom_common.specs.films import FilmOrder
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import printing as metrics
from darkroom_print.composing.bitmap import Film
from darkroom_print.planning.plan import Plan, of_film, plan
from darkroom_print.printers.configuration import Printer
from darkroom_print.printers.connecting import asked_of, peer_of
from darkroom_print.printing.ending import Ended, Lost, Stopping
from darkroom_print.printing.orders import StoredPicture, as_files, find_pictures, without_pixels
from darkroom_print.printing.print_scu import (
    FilmSheet,
    FormatRefused,
    PrintAssociation,
    PrinterStatus,
    Refused,
)
from darkroom_print.printing.repository import PrintJob
from darkroom_print.printing.workshop import ASSOCIATIONS, Workshop

log = get_logger(__name__)


def digest(film: Film) -> bytes:
    """Return the SHA-256 of a film's samples."""
    return sha256(np.ascontiguousarray(film.sheet.pixels).data).digest()


@dataclass
class Printing:
    """Prints one job that was claimed.

    Attributes:
        stopping: begin no further film.
    """

    printer: Printer
    shop: Workshop
    job: PrintJob
    stopping: bool = False
    _association: PrintAssociation | None = None

    def stop(self, why: Stop) -> None:
        """Begin no further film; with `now`, have whatever waits for the printer fail."""
        self.stopping = True
        if why == "now" and self._association is not None:
            self._association.interrupt()

    async def run(self) -> None:
        """Print the films that wait.

        Raises:
            Ended: it goes no further, for a reason in words.
            Lost: the job is not ours any more.
            Stopping: `stopping` was set.
            CannotCompose, ComposingFailed: of a film.
            CannotPrint, InvalidFilm, InvalidLayout, ImageMissing: the order cannot be done.
            Refused, FormatRefused, PeerFault: of the printer; nothing has come out of it.
            DependencyUnavailable: the database is away.
        """
        job, profile = self.job, capabilities(self.printer.spec)
        try:
            order = open_order(job.row, self.shop.seal)
        except ValueError as error:
            raise Ended("FAILED", "the order makes no sense") from error
        job.warnings.extend(without_pixels(order))
        planned = plan(order, profile, images=len(order.images))
        try:
            await self._films(order, planned, profile)
        except FormatRefused as error:
            if order.arrange != "auto" or not planned.has_boxes:
                raise
            log.info("film.arranged", job=job.id, printer=self.printer.name, reason=str(error))
            job.warnings.append(f"{error}: each film is sent as one bitmap")
            order = await self._arrange_ourselves(order)
            planned = plan(order, profile, images=len(order.images))
            await self._films(order, planned, profile)

    async def _arrange_ourselves(self, order: FilmOrder) -> FilmOrder:
        """Keep that the printer does not know the layout of a job, so that previews show it."""
        arranged = order.model_copy(update={"arrange": "sheet"})
        sealed = self.shop.seal.seal(arranged.model_dump(mode="json"), purpose=PURPOSE)
        async with self.shop.database.transaction() as db:
            await self.shop.jobs.change_order(db, self.job.id, sealed)
        return arranged

    async def _films(self, order: FilmOrder, planned: Plan, profile: Profile) -> None:
        shop, job = self.shop, self.job
        async with shop.database.transaction() as db:
            pictures = await find_pictures(db, order, order.images)
            waiting = await shop.jobs.waiting_films(db, job.id, planned.count)
        if not waiting:
            return
        one_each = "one-film-box-a-session" in profile.quirks
        batches = [[number] for number in waiting] if one_each else [waiting]
        for numbers in batches:
            async with (
                self._compose(planned, pictures, numbers[0]) as first,
                self._session(planned, profile) as association,
            ):
                await self._film(planned, profile, association, numbers[0], first)
                for number in numbers[1:]:
                    async with self._compose(planned, pictures, number) as film:
                        await self._film(planned, profile, association, number, film)

    @asynccontextmanager
    async def _compose(
        self, planned: Plan, pictures: list[StoredPicture], number: int
    ) -> AsyncIterator[Film]:
        chosen = of_film(pictures, number, planned.boxes)
        async with AsyncExitStack() as held:
            with metrics.PRINT_COMPOSING.time():
                files = await held.enter_async_context(as_files(self.shop.store, chosen))
                composing = self.shop.composers.compose(planned.film, files)
                film = await held.enter_async_context(composing)
            yield film

    async def _call(self, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.shop.threads, partial(function, *given, **named))

    @asynccontextmanager
    async def _session(self, planned: Plan, profile: Profile) -> AsyncIterator[PrintAssociation]:
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
        async with shop.places.of(self.printer.name, ASSOCIATIONS):
            association: PrintAssociation = await self._call(PrintAssociation, peer, asked, heard)
            self._association = association
            try:
                await self._begin(planned, profile, association)
                yield association
                await self._leave(profile, association)
            except (Refused, FormatRefused):
                await self._leave(profile, association)
                raise
            except BaseException:
                association.abort()
                raise
            finally:
                said = [*self.job.warnings, *association.warnings]
                self.job.warnings = list(dict.fromkeys(said))[-50:]
                self._association = None

    async def _begin(self, planned: Plan, profile: Profile, association: PrintAssociation) -> None:
        shop = self.shop
        if "no-status" not in profile.quirks:
            await self._look(association)
        await self._call(association.begin, planned.session)
        async with shop.database.transaction() as db:
            if not await shop.jobs.table.enter(db, self.job, "PRINTING", owner=shop.owner):
                raise Lost

    async def _look(self, association: PrintAssociation) -> None:
        """Do not begin while the printer says that it cannot print."""
        try:
            status: PrinterStatus = await self._call(association.status)
        except Refused as error:  # some printers do not tell, and print all the same
            self.job.warnings.append(str(error))
            return
        if status.status == "FAILURE":
            words = f"printer: FAILURE{', ' if status.info else ''}{status.info}"
            raise Ended("FAILED", words, transient=True)

    async def _leave(self, profile: Profile, association: PrintAssociation) -> None:
        """End the session as the printer likes it; what it has printed is printed."""
        if "no-delete" not in profile.quirks:
            await self._tidy(association.end_session)
        await self._tidy(association.release)

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

    async def _film(
        self,
        planned: Plan,
        profile: Profile,
        association: PrintAssociation,
        number: int,
        film: Film,
    ) -> None:
        if self.stopping:
            raise Stopping
        shop, job = self.shop, self.job
        boxes = film.boxes if planned.film.mode is Mode.BOXES else (film.sheet,)
        sheet = FilmSheet(
            planned.film_box,
            boxes,
            planned.image_box,
            planned.lut if association.applies_lut else None,
            planned.annotations,
        )
        if film.unprintable:
            job.warnings.append(f"film {number}: {film.unprintable} characters have no font")
        job.warnings.extend(f"film {number}, {text}" for text in film.warnings)
        if planned.lut is not None and not association.applies_lut:
            raise Ended("FAILED", "the printer takes no Presentation LUT, as its profile says")
        box = await self._call(association.prepare, sheet)
        known = await asyncio.to_thread(digest, film)
        async with shop.database.transaction() as db:
            if not await shop.jobs.acting(db, job.id, number, known, owner=shop.owner):
                raise Lost
        print_job = await self._act(profile, association, number, box)
        warnings = await self._await_end(association, number, print_job)
        async with shop.database.transaction() as db:
            await shop.jobs.printed(
                db, job.id, number, print_job, [*association.warnings, *warnings]
            )
        job.progressed = True
        job.warnings.extend(warnings)
        metrics.PRINT_FILMS.labels(self.printer.name).inc()
        log.info("film.printed", job=job.id, film=number, printer=self.printer.name)
        if "no-delete" not in profile.quirks:
            await self._tidy(association.forget, box)

    async def _act(
        self, profile: Profile, association: PrintAssociation, number: int, box: str
    ) -> str:
        shop, job = self.shop, self.job
        on_session = "action-on-session" in profile.quirks
        try:
            return str(await self._call(association.act, box, on_session=on_session))
        except Refused:
            async with shop.database.transaction() as db:
                await shop.jobs.not_acted(db, job.id, number)
            raise
        except Exception as fault:  # whatever it is: nobody knows whether it prints
            async with shop.database.transaction() as db:
                await shop.jobs.unknown(db, job.id, number)
            why = _words(fault)
            reason = f"film {number}: no answer after the order to print ({why}); look for it"
            raise Ended("UNKNOWN", reason) from fault

    async def _await_end(
        self, association: PrintAssociation, number: int, print_job: str
    ) -> list[str]:
        """Wait for the end of the printer's own job; return what there is to say."""
        seconds = self.printer.spec.done_seconds
        try:
            state = await self._call(association.follow, print_job, seconds)
        except Exception as error:  # noqa: BLE001 - whatever it is, the film was taken
            why = _words(error)
            return [f"film {number}: taken, but the printer did not tell its end ({why})"]
        if state == "FAILURE":
            async with self.shop.database.transaction() as db:
                await self.shop.jobs.unknown(db, self.job.id, number)
            info = association.job_info(print_job)
            words = f"film {number}: the printer's job has failed{', ' if info else ''}{info}"
            raise Ended("FAILED", words)
        return [] if state == "DONE" else [f"film {number}: {state} after {seconds:g} s"]


def _words(error: Exception) -> str:
    """Return the text of our own errors, else the type: other texts may hold what was received."""
    return str(error) if isinstance(error, DarkroomError) else type(error).__name__
