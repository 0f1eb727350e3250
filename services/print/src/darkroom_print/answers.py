"""What print answers to requests: the real outcome, not a promise."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from darkroom_common.clock import monotonic
from darkroom_common.echoes.echo import Echo
from darkroom_common.echoes.rounds import Rounds
from darkroom_common.errors import PermanentError
from darkroom_common.films.profiles import capabilities
from darkroom_common.jobs.operator import Operator
from darkroom_common.messages.base import Reply, Request, new_message_id
from darkroom_common.messages.requests import ActOnPrintJob, AskPrinter, DrawFilm
from darkroom_common.readers.print import open_order
from darkroom_common.resources.answers import ResourceAnswers, refused
from darkroom_common.resources.resource import NotThere, Refusal
from darkroom_common.specs.films import FilmOrder
from darkroom_common.telemetry.logs import get_logger
from darkroom_print.composing.bitmap import Film
from darkroom_print.composing.composer import ComposingFailed
from darkroom_print.planning.plan import of_film, plan
from darkroom_print.preview import pdf, png
from darkroom_print.printers.asking import Asking
from darkroom_print.printers.configuration import Printer
from darkroom_print.printing.orders import as_files, find_pictures, without_pixels
from darkroom_print.printing.printing import digest
from darkroom_print.printing.workshop import Workshop

log = get_logger(__name__)
MOST_PAGES = 50
"""Of one PDF."""


@dataclass(frozen=True)
class Answers:
    """Answers the requests of the queue `print.requests`."""

    resources: ResourceAnswers
    shop: Workshop
    operator: Operator
    asking: Asking
    rounds: Rounds[Printer]

    async def __call__(self, message: Request) -> Reply:
        """Do what is asked and say what came of it."""
        try:
            return await self.resources.answer(message) or await self._answer(message)
        except Refusal as error:
            return refused(error)
        except ComposingFailed as error:
            log.warning("film.not_drawn", reason=str(error))
            return Reply(outcome="unavailable", reason="films cannot be composed for the moment")
        except PermanentError as error:
            return Reply(outcome="invalid", reason=str(error))

    async def _answer(self, message: Request) -> Reply:
        match message:
            case AskPrinter():
                return await self._ask(message.name)
            case ActOnPrintJob():
                return await self.operator.act(
                    message.job_id, message.action, by=message.requested_by
                )
            case DrawFilm():
                return await self._draw(message)
            case _:
                raise TypeError(f"print.requests got {message.TYPE}")

    async def _ask(self, name: str) -> Reply:
        printer = await self.shop.configuration.printer(name)
        began = monotonic()
        status, reason = await self.asking.status(printer)
        seconds = monotonic() - began
        await self.rounds.keep(printer, Echo(reason, seconds))
        log.info("printer.asked", printer=name, reason=reason or "well")
        body = {
            "ok": not reason,
            "reason": reason,
            "status": status.status,
            "info": status.info,
            "seconds": round(seconds, 4),
        }
        return Reply(outcome="done", body=body)

    async def _draw(self, message: DrawFilm) -> Reply:
        shop = self.shop
        known: bytes | None = None
        async with shop.database.transaction() as db:
            if message.job_id is None:
                order = FilmOrder.model_validate(
                    shop.seal.open(message.sealed, purpose=DrawFilm.TYPE)
                )
                name = message.printer or ""
            else:
                job = await shop.jobs.find(db, message.job_id)
                if job is None:
                    raise NotThere("there is no such job")
                order, name = open_order(job, shop.seal), job["printer"]
                known = await db.fetchval(
                    "SELECT sha256 FROM print.film WHERE job_id = $1 AND number = $2",
                    message.job_id,
                    message.film,
                )
            pictures = await find_pictures(db, order, order.images)
        printer = await shop.configuration.printer(name)
        planned = plan(order, capabilities(printer.spec), images=len(pictures))
        numbers = [message.film] if message.film else list(range(1, planned.count + 1))
        if numbers[-1] > planned.count:
            raise NotThere(f"it has {planned.count} films")
        if len(numbers) > MOST_PAGES:
            return Reply(outcome="invalid", reason=f"a PDF has at most {MOST_PAGES} films")
        async with AsyncExitStack() as stack:
            films: list[Film] = []
            for number in numbers:
                chosen = of_film(pictures, number, planned.boxes)
                files = await stack.enter_async_context(as_files(shop.store, chosen))
                composed = shop.composers.compose(planned.film, files)
                films.append(await stack.enter_async_context(composed))
            if message.form == "pdf":
                made, media_type = await asyncio.to_thread(pdf, films), "application/pdf"
            else:
                made = await asyncio.to_thread(png, films[0], message.max_edge)
                media_type = "image/png"
            same = None if known is None else await asyncio.to_thread(digest, films[0]) == known
        picture = new_message_id()
        sealed = await asyncio.to_thread(shop.seal.seal_bytes, made, purpose=DrawFilm.TYPE)
        async with shop.database.transaction() as db:
            await shop.jobs.keep_picture(db, picture, media_type, sealed)
        told = [
            f"film {number}, {text}"
            for number, film in zip(numbers, films, strict=True)
            for text in film.warnings
        ]
        body = {
            "picture": picture,
            "films": planned.count,
            "as_printed": same,
            "warnings": [*without_pixels(order), *told],
        }
        return Reply(outcome="done", body=body)
