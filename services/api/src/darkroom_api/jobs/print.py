"""Print jobs: ask for films, look at them before and after, act on them (PRN-05, PRN-06)."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Path, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code, invalid
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import JobsQuery
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.accepted import Accepted, JobView, accept
from darkroom_api.jobs.routes import JobRoutes
from darkroom_common.errors import PermanentError
from darkroom_common.films.fitting import fit, require_images
from darkroom_common.films.profiles import capabilities
from darkroom_common.index.objects import find_images, find_objects, of_several_patients, pictures
from darkroom_common.messages.base import MessageId, Reply, new_message_id
from darkroom_common.messages.commands import PrintFilm
from darkroom_common.messages.events import PrintState
from darkroom_common.messages.requests import ActOnPrintJob, DrawFilm
from darkroom_common.postgres.pool import Connection
from darkroom_common.readers import print as print_reader
from darkroom_common.specs.base import as_spec, strict
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.film_layouts import InvalidLayout
from darkroom_common.specs.films import MAX_IMAGES, FilmOrder
from darkroom_common.telemetry import traces

DRAW_LIMIT: Final = 120.0
_HEADER_LIMIT: Final = 2000

VIEW: Final = JobView(
    name="print",
    path="/api/v1/print/jobs",
    table="print.job",
    owned=print_reader.JOBS,
    shown="a.job_id, a.command ->> 'printer', a.command ->> 'layout', a.state, a.reason,"
    " '{}'::text[], a.requested_by, '', (a.command ->> 'copies')::integer, 0, 0,"
    " jsonb_array_length(a.command -> 'sop_instance_uids'), 0, NULL,"
    " a.created_at, a.updated_at, a.finished_at",
)
State = PrintState | Literal["ACCEPTED"]


@strict
class NewPrintJob(FilmOrder):
    """Films to print: images by name, or all of a series or study."""

    printer: Name


class PreviewOrder(NewPrintJob):
    """A film to look at before it is printed."""

    film: int = Field(default=1, ge=0, le=10_000, description="0: all; a PDF only")
    form: Literal["png", "pdf"] = "png"
    max_edge: int | None = Field(
        default=2048, ge=64, le=20_000, description="pixels of a PNG; null: those of the film"
    )


class PrintJob(BaseModel):
    """A job as it is."""

    job_id: str
    printer: str
    layout: str
    state: State
    reason: str = Field(description="in words; empty when all is well")
    warnings: list[str] = Field(description="what the printer had to say")
    requested_by: str
    rule: str = Field(description="the rule that has made it; empty when somebody has asked")
    copies: int
    images: int
    films: int = Field(description="pages; 0 until the first attempt")
    films_done: int
    attempts: int
    next_at: dt.datetime | None = Field(description="when it is tried next")
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None


class PrintedFilm(BaseModel):
    """One film of a job."""

    number: int
    state: Literal["WAITING", "ACTING", "DONE", "UNKNOWN"]
    warnings: list[str]
    updated_at: dt.datetime


class PrintJobDetail(PrintJob):
    """A job with its films."""

    film_list: list[PrintedFilm]


class PrintJobSearch(JobsQuery):
    """What the list is narrowed by."""

    state: State | None = None
    printer: Name | None = None


@contextmanager
def _refusals() -> Iterator[None]:
    """Say before 202 what print would say after it."""
    try:
        yield
    except PermanentError as error:
        field, colon, reason = str(error).partition(": ")
        known = colon and field in NewPrintJob.model_fields
        place = "layout" if isinstance(error, InvalidLayout) else field if known else "body"
        raise invalid(place, reason if known else str(error)) from None


async def _resolved(request: Request, given: NewPrintJob) -> FilmOrder:
    """Return the order with its images named.

    Raises:
        ApiError: 404 without printer or images, 422 when there is nothing to print, or the printer
            cannot print it.
    """
    named = as_spec(FilmOrder, given)
    if not named.names_images:
        raise ApiError(422, Code.INVALID_REQUEST, "Name images, a series or a study.")
    async with parts_of(request.scope).database.acquire() as db:
        printer = await print_reader.printer(db, given.printer)
        if printer is None:
            raise ApiError(404, Code.NOT_FOUND, "There is no printer of this name.")
        with _refusals():
            fit(named, capabilities(printer))
        if named.images:
            known = await pictures(db, [one.sop_instance_uid for one in named.images])
            if any(one.sop_instance_uid not in known for one in named.images):
                raise ApiError(404, Code.NOT_FOUND, "An image is not stored here.")
            with _refusals():
                require_images(named.images, known)
            return named.model_copy(update={"without_pixels": 0})
        found = await find_images(
            db,
            study=named.study_instance_uid,
            series=named.series_instance_uid,
            limit=MAX_IMAGES * named.every + 1,
        )
        mixed = await of_several_patients(db, named.study_instance_uid, named.series_instance_uid)
        stored = await find_objects(db, named.study_instance_uid, named.series_instance_uid, ())
    if not found:
        raise ApiError(404, Code.NOT_FOUND, "There are no images of this study or series.")
    if mixed:
        text = "It is of several patients or studies; name the images, or resolve the conflict."
        raise ApiError(422, Code.INVALID_REQUEST, text)
    images = tuple(named.choose(found, MAX_IMAGES + 1))
    if len(images) > MAX_IMAGES:
        raise ApiError(422, Code.INVALID_REQUEST, f"A job prints at most {MAX_IMAGES} images.")
    named_by = {"study_instance_uid": None, "series_instance_uid": None}
    update = {"images": images, "without_pixels": len(stored) - len(found), **named_by}
    return named.model_copy(update=update)


async def _command(request: Request, given: NewPrintJob) -> PrintFilm:
    traces.about([given.study_instance_uid])
    async with parts_of(request.scope).database.acquire() as db:
        printer = await print_reader.printer_known(db, given.printer)
    order = await _resolved(request, given)
    seal = parts_of(request.scope).seal
    return PrintFilm(
        job_id=new_message_id(),
        printer=given.printer,
        printer_id=printer or "",
        layout=order.layout,
        sop_instance_uids=tuple(one.sop_instance_uid for one in order.images),
        copies=order.copies,
        requested_by=principal_of(request.scope).username[:64],
        sealed=seal.seal(order.model_dump(mode="json"), purpose=PrintFilm.TYPE),
    )


async def add_print_job(request: Request, response: Response, given: NewPrintJob) -> Accepted:
    """Have stored images printed on film. The job is there from the answer on."""
    return await accept(request, response, VIEW, given, partial(_command, request, given))


async def reprint(request: Request, response: Response, job: MessageId) -> Accepted:
    """Print all films of a job once more, as a job of its own; that one stays as it is."""
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        await VIEW.find(db, job)
        row = await print_reader.ordered(db, job)
    if row is None:
        raise ApiError(409, Code.CONFLICT, "The job waits to be printed.")
    order = print_reader.open_order(row, parts.seal).model_dump(exclude={"without_pixels"})
    given = NewPrintJob.model_validate({**order, "printer": row["printer"]})
    return await accept(request, response, VIEW, given, partial(_command, request, given))


async def _films(db: Connection, job: str) -> dict[str, Any]:
    return {"film_list": [dict(one) for one in await print_reader.films(db, job)]}


async def _picture(request: Request, reply: Reply) -> Response:
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        row = await print_reader.picture(db, reply.body["picture"])
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "The picture is gone; ask again.")
    headers = {"x-darkroom-films": str(reply.body["films"]), "cache-control": "no-store"}
    if told := reply.body.get("warnings"):
        headers["x-darkroom-warnings"] = "; ".join(told)[:_HEADER_LIMIT]
    if reply.body["as_printed"] is not None:
        headers["x-darkroom-as-printed"] = str(reply.body["as_printed"]).lower()
    opened = parts.seal.open_bytes(row["sealed"], purpose=DrawFilm.TYPE)
    return Response(opened, media_type=row["media_type"], headers=headers)


async def preview(request: Request, given: PreviewOrder) -> Response:
    """Show a film before it is printed: the bitmap that would be sent, as PNG or PDF.

    `x-darkroom-warnings` has what of the images could not be followed: a window that is none, say.
    """
    order = await _resolved(request, given)
    if given.film == 0 and given.form == "png":
        raise ApiError(422, Code.INVALID_REQUEST, "All films come as a PDF.")
    seal = parts_of(request.scope).seal
    drawn = DrawFilm(
        printer=given.printer,
        film=given.film,
        form=given.form,
        max_edge=given.max_edge,
        sealed=seal.seal(order.model_dump(mode="json"), purpose=DrawFilm.TYPE),
    )
    return await _picture(request, await ask(request.scope, drawn, limit=DRAW_LIMIT))


async def show_film(
    request: Request,
    job: MessageId,
    film: Annotated[str, Path(pattern=r"^\d{1,4}\.(png|pdf)$", description="3.png; 0.pdf: all")],
    max_edge: Annotated[int | None, Query(ge=64, le=20_000)] = None,
) -> Response:
    """Show a film of a job: the very bitmap that was or is to be sent.

    `x-darkroom-as-printed` says of a film that was printed whether these are its samples.
    """
    number, _, form = film.partition(".")
    if number.strip("0") == "" and form == "png":
        raise ApiError(422, Code.INVALID_REQUEST, "All films come as a PDF.")
    drawn = DrawFilm.model_validate(
        {"job_id": job, "film": int(number), "form": form, "max_edge": max_edge}
    )
    return await _picture(request, await ask(request.scope, drawn, limit=DRAW_LIMIT))


_PICTURE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The film.", "content": {"image/png": {}, "application/pdf": {}}}
}


ROUTES: Final = JobRoutes(
    VIEW,
    "print",
    PrintJob,
    PrintJobSearch,
    ActOnPrintJob,
    {
        "retry": "Print what has failed, was cancelled or is unknown; an unknown film comes again.",
        "cancel": "Print no more of a job; a job that is being printed cannot be stopped.",
        "confirm": "Say that the film of an unknown job has come out: the rest goes on.",
    },
    detail=PrintJobDetail,
    more=_films,
)


def add(app: FastAPI) -> None:
    """Add the routes."""
    ROUTES.serve(app)
    ROUTES.accept(app, add_print_job)
    ROUTES.accept(app, reprint, f"{VIEW.path}/{{job}}/reprint")
    app.add_api_route(
        f"{VIEW.path}/{{job}}/films/{{film}}",
        show_film,
        tags=["print"],
        response_class=Response,
        responses={**_PICTURE, **errors(401, 403, 404, 422, 500, 503)},
    )
    app.add_api_route(
        "/api/v1/print/preview",
        preview,
        methods=["POST"],
        tags=["print"],
        response_class=Response,
        responses={**_PICTURE, **errors(400, 401, 403, 404, 413, 422, 500, 503)},
    )
