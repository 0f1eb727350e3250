"""Migrations from earlier archives: begin one, see how it goes, have its report (STO-06)."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.exports import csv_file, pdf_file
from darkroom_api.exports.table import Column, Table
from darkroom_api.http.documented import body, errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import JobsQuery
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.accepted import Accepted, JobView, accept
from darkroom_api.jobs.acts import KEY, act_of, kept_unless_refused
from darkroom_api.jobs.routes import JobRoutes
from darkroom_api.remote.query import asked
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.messages.base import MessageId, new_message_id
from darkroom_common.messages.commands import StartMigration
from darkroom_common.messages.requests import ActOnMigration, BringFirst
from darkroom_common.readers import transmit
from darkroom_common.readers.migrations import MIGRATIONS, TITLES, Line, report
from darkroom_common.specs.base import as_spec, strict
from darkroom_common.specs.remote import FILES, OF_FILES, FirstOrder, MigrationSpec

State = Literal[
    "ACCEPTED", "PENDING", "MIGRATING", "RETRYING", "PAUSED", "DONE", "FAILED", "CANCELLED"
]
MOST_PRINTED: Final = 5000
"""Lines of the PDF; the CSV has all."""
_AT_ONCE: Final = 200
VIEW: Final = JobView(
    name="migration",
    path="/api/v1/migrations",
    table="transmit.migration",
    owned=MIGRATIONS,
    shown=f"a.job_id, coalesce(a.command -> 'spec' ->> 'source', '{OF_FILES}'),"
    " a.command -> 'spec' ->> 'way', a.state, a.reason, false, '', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,"
    " 0, a.requested_by, NULL, a.created_at, a.updated_at, a.finished_at",
)


class Migration(BaseModel):
    """A migration as it is."""

    job_id: str
    source: str = Field(description="a destination; `:files` for files")
    way: str = Field(description="get, move, web, directory or dicomdir")
    state: State
    reason: str = Field(description="a word of docs/migration.md; empty when all is well")
    listed: bool = Field(description="whether the source has told of all that it has")
    undated: str = Field(description="why studies without a date are not all listed")
    studies: int = Field(description="that the source has told of")
    studies_done: int = Field(description="that were compared with what is stored")
    objects: int = Field(description="that the source has told of")
    received: int
    bytes: int = Field(description="of data sets that were received")
    there: int = Field(description="stored, with the digest of what was received")
    missing: int = Field(description="that the source has told of, and has not given")
    differing: int = Field(description="stored with another content")
    refused: int
    passed_over: int = Field(description="files that are no DICOM")
    at_work: int = Field(description="studies that are copied just now")
    attempts: int
    requested_by: str
    next_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None


@strict
class NewMigration(MigrationSpec):
    """What is to come from where."""


@strict
class First(FirstOrder):
    """What is to come before all else."""


class FirstCome(BaseModel):
    """How many studies come first, and the state of their migration."""

    studies: int
    state: str


class MigrationSearch(JobsQuery):
    """What the list is narrowed by."""

    state: State | None = None


async def _command(request: Request, given: MigrationSpec) -> StartMigration:
    spec = as_spec(MigrationSpec, given)
    identity = ""
    if spec.way not in FILES:
        async with parts_of(request.scope).database.acquire() as db:
            known = await transmit.destination_known(db, spec.lane)
        if known is None:
            raise ApiError(404, Code.NOT_FOUND, "There is no destination of this name.")
        if (known[0] == "stow") != (spec.way == "web"):
            raise ApiError(422, Code.INVALID_REQUEST, "The destination is not of this kind.")
        identity = known[1]
    return StartMigration(
        job_id=new_message_id(),
        source_id=identity,
        spec=spec,
        requested_by=principal_of(request.scope).username[:64],
    )


async def start(request: Request, response: Response, given: NewMigration) -> Accepted:
    """Have the studies of an earlier archive brought here, the newest first."""
    return await accept(request, response, VIEW, given, partial(_command, request, given))


async def first(request: Request, job: MessageId, given: First) -> FirstCome:
    """Have studies, or all of a patient, come before the rest, outside its windows as well."""
    content = as_spec(FirstOrder, given)
    database = parts_of(request.scope).database
    async with database.transaction() as db:
        act = await act_of(db, request, given)
    if act.said:
        return FirstCome.model_validate_json(act.said)
    # Asked for before, and nobody knows what came of it: what comes first comes no sooner by that.
    async with kept_unless_refused(act):
        reply, _ = await asked(request, BringFirst, content, job_id=job)
    come = FirstCome.model_validate(reply.body)
    async with database.acquire() as db:
        await act.say(db, come.model_dump_json())
    return come


async def _lines(request: Request, job: str, *, exceptions: bool) -> AsyncIterator[Line]:
    database = parts_of(request.scope).database
    async with database.acquire() as db:
        await VIEW.find(db, job)
    async for line in report(database, job, exceptions=exceptions):
        yield line


def _table(request: Request, title: str, rows: Sequence[Line]) -> Table:
    widths = {"study": 40, "object": 40, "digest": 40, "reason": 24}
    return Table(
        title=title,
        columns=[Column(name, name, widths.get(name, 8)) for name in TITLES],
        total=sum(not row.sop_instance_uid for row in rows),
        rows=[row[:-1] for row in rows],
        made_at=SYSTEM_CLOCK.now(),
        made_for=principal_of(request.scope).username,
    )


async def as_csv(request: Request, job: MessageId, exceptions: bool = False) -> Response:
    """Have the reconciliation report: each study, and each object that is not there."""
    lines = _lines(request, job, exceptions=exceptions)
    begun = await anext(lines, None)

    async def content() -> AsyncIterator[bytes]:
        some = [] if begun is None else [begun]
        heading = True
        async for line in lines:
            some.append(line)
            if len(some) >= _AT_ONCE:
                yield _csv(request, some, heading=heading)
                some, heading = [], False
        yield _csv(request, some, heading=heading)

    return StreamingResponse(
        content(), media_type="text/csv; charset=utf-8", headers=_named(job, "csv")
    )


def _csv(request: Request, some: Sequence[Line], *, heading: bool) -> bytes:
    text = b"".join(csv_file.content(_table(request, "", some)))
    return text if heading else text.partition(b"\r\n")[2]


async def as_pdf(request: Request, job: MessageId) -> Response:
    """Have what is not there on paper, with the sums of what is."""
    rows: list[Line] = []
    async for line in _lines(request, job, exceptions=True):
        rows.append(line)
        if len(rows) == MOST_PRINTED:
            break
    async with parts_of(request.scope).database.acquire() as db:
        one = await VIEW.find(db, job)
    sums = ", ".join(f"{one[name]} {name}" for name in ("there", "missing", "differing", "refused"))
    cut = f"; the first {MOST_PRINTED} lines" if len(rows) == MOST_PRINTED else ""
    title = f"Migration from {one['source']}: {one['objects']} objects, {sums}{cut}"
    table = _table(request, title, rows)
    text = await asyncio.to_thread(lambda: b"".join(pdf_file.content(table)))
    return Response(text, media_type="application/pdf", headers=_named(job, "pdf"))


def _named(job: str, ending: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="migration-{job}.{ending}"'}


ROUTES: Final = JobRoutes(
    VIEW,
    "migrations",
    Migration,
    MigrationSearch,
    ActOnMigration,
    {
        "retry": "Try once more what is missing or was refused.",
        "cancel": "Bring nothing more; what is here stays.",
        "pause": "Let it rest.",
        "resume": "Let it go on.",
    },
)


def add(app: FastAPI) -> None:
    """Add the routes."""
    ROUTES.serve(app)
    ROUTES.accept(app, start)
    app.add_api_route(
        f"{VIEW.path}/{{job}}/first",
        first,
        methods=["POST"],
        tags=["migrations"],
        responses=errors(401, 403, 404, 409, 413, 422, 500, 502, 503, 504),
        openapi_extra=KEY,
    )
    for ending, endpoint, kind in (("csv", as_csv, "text/csv"), ("pdf", as_pdf, "application/pdf")):
        app.add_api_route(
            f"{VIEW.path}/{{job}}/report.{ending}",
            endpoint,
            tags=["migrations"],
            response_class=Response,
            responses={**body("The report.", kind), **errors(401, 403, 404, 422, 503)},
        )
