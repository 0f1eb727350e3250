"""Exports of lists of studies: ask for one, see how far it is, fetch it, delete it (API-08)."""

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from asyncpg import Record
from fastapi import FastAPI
from fastapi import Query as Parameter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.accounts.permissions import Permission, allows
from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.exports.columns import COLUMNS, DEFAULT
from darkroom_api.exports.formats import FORMATS, Format, ListFormat
from darkroom_api.exports.making import FILTERS
from darkroom_api.exports.repository import LIST, NewExport, ahead_of, find
from darkroom_api.http.documented import body, errors
from darkroom_api.http.errors import ApiError, Code, invalid
from darkroom_api.http.etags import (
    ETAG,
    IfMatch,
    IfNoneMatch,
    answer,
    is_known,
    require,
    unless_known,
)
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import JOBS, LINKED, Catalogue, JobsQuery, Listed, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import begin, ranged
from darkroom_api.jobs.once import IDEMPOTENCY_KEY, Asked, Once, require_authority
from darkroom_api.rates.classes import Class
from darkroom_api.studies.examinations import Examinations
from darkroom_api.studies.search import StudyFilters, query_of
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.messages.base import MessageId, new_message_id
from darkroom_common.objects.store import ObjectMissing
from darkroom_common.postgres.pool import Connection, after_commit
from darkroom_common.seal import Unsealable
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
Status = Literal["pending", "processing", "completed", "failed"]
_TAG: Final = "exports"
PATH: Final = "/api/v1/exports"
_ONE: Final = PATH + "/{job}"
_ONCE: Final = Once("export")
_START_SECONDS: Final = 1.0
_STATUS: Final[Mapping[str, Status]] = {
    "PENDING": "pending",
    "RETRYING": "pending",
    "PROCESSING": "processing",
    "COMPLETED": "completed",
    "FAILED": "failed",
}


def _known(name: str) -> str:
    if name not in COLUMNS:
        raise ValueError("there is no such column")
    return name


ColumnName = Annotated[
    str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(COLUMNS)})
]


class ExportFilters(StudyFilters):
    """Which studies: what `GET /studies/search` takes."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class ExportRequest(BaseModel):
    """A list of studies as a file."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    format: ListFormat
    filters: ExportFilters = Field(default_factory=ExportFilters)
    columns: list[ColumnName] = Field(
        default_factory=lambda: list(DEFAULT),
        min_length=1,
        max_length=len(COLUMNS),
        description="in this order, each once",
    )
    shared: StrictBool = Field(
        default=False, description="whether everybody with `exports:download` may have it, too"
    )


class ExportAccepted(BaseModel):
    """An export is kept, and will be made."""

    job_id: str
    status: Status
    estimated_time: int = Field(description="seconds until it is there, about")
    message: str


class ExportStatus(BaseModel):
    """How far an export is."""

    job_id: str
    status: Status
    progress: int = Field(ge=0, le=100, description="percent")
    message: str
    download_url: str | None = Field(description="while there is a file")
    file_size: int | None = Field(description="bytes")
    expires_at: dt.datetime | None
    code: int | None = Field(description="2002 when it has failed")
    name: str | None = Field(description="EXPORT_FAILED when it has failed")
    format: Format
    columns: list[str]
    shared: bool
    requested_by: str
    created_at: dt.datetime
    finished_at: dt.datetime | None


class ExportSearch(JobsQuery):
    """Which page of the list."""


def _shown(row: Record, ahead: int = 0) -> ExportStatus:
    job, status = row["job_id"], _STATUS[row["state"]]
    done, total = row["done"], row["total"]
    over = row["expires_at"] is not None and row["expires_at"] <= SYSTEM_CLOCK.now()
    there, failed = status == "completed" and not over, status == "failed"
    progress = 100 if status == "completed" else min(99, 100 * done // max(1, total or 1))
    match status:
        case "pending":
            message = f"Waiting; {ahead} before it." if ahead else "Waiting to begin."
        case "processing" if total is None:
            message = "Looking for the studies."
        case "processing":
            message = f"Processing {done} of {total} records"
        case "completed" if over:
            message = "The file has expired."
        case "completed":
            message = f"{total} {'objects' if row['format'] == 'person' else 'records'}"
        case _:
            message = row["reason"]
    return ExportStatus(
        job_id=job,
        status=status,
        progress=progress,
        message=message,
        download_url=f"{PATH}/{job}/download" if there else None,
        file_size=row["size"] if there else None,
        expires_at=row["expires_at"],
        code=Code.EXPORT_FAILED if failed else None,
        name=Code.EXPORT_FAILED.name if failed else None,
        **{key: row[key] for key in ("format", "columns", "shared", "requested_by")},
        created_at=row["created_at"],
        finished_at=row["finished_at"],
    )


async def add_export(request: Request, response: Response, given: ExportRequest) -> ExportAccepted:
    """Have a list of studies made as a file. It is there for 24 hours; ask for its status."""
    if len(set(given.columns)) < len(given.columns):
        raise invalid("body.columns", "A column is there twice.")
    parts, principal = parts_of(request.scope), principal_of(request.scope)
    exams = Examinations(parts.keys, parts.blind)
    # What the worker would refuse is refused now.
    query = await query_of(given.filters, exams, parts.database)
    expected = 0 if query is None else await parts.reader.guessed(query)
    filters = given.filters.model_dump(mode="json", exclude_none=True)

    async def keep(asked: Asked) -> str | None:
        left = await parts.rates.take(Class.EXPORTS, str(principal.user_id))
        response.headers.update(left)
        new = NewExport(
            principal.user_id,
            principal.username[:64],
            given.format,
            given.columns,
            parts.seal.seal(filters, purpose=FILTERS),
            given.shared,
            asked.key,
            asked.fingerprint,
        )
        async with parts.database.transaction() as db:
            await require_authority(db, request)
            await _ONCE.forget(db, request, asked)
            row = await parts.own.exports.add(db, new_message_id(), new)
            if row is None:
                return None
            details = {
                "format": given.format,
                "columns": given.columns,
                "shared": given.shared,
                "filtered_by": sorted(filters),
            }
            job: str = row["id"]
            await record(
                db, request.scope, Action.EXPORT_CREATE, "export", job, details=details, phi=filters
            )
        log.info("export.accepted", job=job, format=given.format)
        return job

    job = await _ONCE.job(request, given, keep)
    async with parts.database.acquire() as db:
        row = await _find(request, db, job)
        ahead = await ahead_of(db, row["created_at"], job)
    url = f"{PATH}/{job}/status"
    response.headers["location"] = url
    written = FORMATS[given.format]
    seconds = _START_SECONDS * (1 + ahead // parts.own.making.at_once) + expected * written.seconds
    return ExportAccepted(
        job_id=job,
        status=_STATUS[row["state"]],
        estimated_time=math.ceil(seconds),
        message="Export job created. Check status for progress.",
    )


async def _find(request: Request, db: Connection, job: str) -> Record:
    """Return an export that whoever asks may see.

    Raises:
        ApiError: 404.
    """
    row = await find(db, job)
    if row is None or not _may_see(request, row):
        raise ApiError(404, Code.NOT_FOUND, "There is no such export.")
    return row


def _may_see(request: Request, row: Record) -> bool:
    principal = principal_of(request.scope)
    may_download = allows(Permission.EXPORTS_DOWNLOAD, principal.permissions)
    if row["user_id"] == principal.user_id:
        return may_download or allows(Permission.EXPORTS_CREATE, principal.permissions)
    return bool(row["shared"]) and may_download


async def list_exports(
    request: Request, response: Response, asked: Annotated[ExportSearch, Parameter()]
) -> Listed[ExportStatus]:
    """List one's own exports, and those that others share, newest first."""
    principal = principal_of(request.scope)
    may_download = allows(Permission.EXPORTS_DOWNLOAD, principal.permissions)
    catalogue = Catalogue(LIST, JOBS, _shown, bound=(principal.user_id, may_download))
    return await list_of(request, response, asked, catalogue)


async def show_export(
    request: Request, job: MessageId, if_none_match: IfNoneMatch = None
) -> Response:
    """Show how far an export is."""
    async with parts_of(request.scope).database.acquire() as db:
        shown = await _current(request, db, job)
    return unless_known(answer(shown), if_none_match)


async def _current(request: Request, db: Connection, job: str) -> dict[str, Any]:
    """Return what is shown of an export that whoever asks may see.

    Raises:
        ApiError: 404.
    """
    row = await _find(request, db, job)
    waits = row["state"] in ("PENDING", "RETRYING")
    ahead = await ahead_of(db, row["created_at"], job) if waits else 0
    return _shown(row, ahead).model_dump()


async def download_export(request: Request, job: MessageId) -> Response:
    """Fetch the file of an export, or a range of it."""
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        row = await _find(request, db, job)
    shown = _shown(row)
    if shown.status == "failed":
        raise ApiError(409, Code.EXPORT_FAILED, shown.message or "The export has failed.")
    if shown.status != "completed":
        raise ApiError(409, Code.CONFLICT, "The export is not finished yet.")
    if shown.download_url is None:
        raise _gone()
    try:
        file = await parts.own.making.files.open(job)
    except ObjectMissing:
        raise _gone() from None
    except Unsealable:
        log.error("export.unsealable", job=job)
        raise ApiError(
            409, Code.EXPORT_FAILED, "The file cannot be opened with the keys of today."
        ) from None
    written = FORMATS[shown.format]
    name = written.file_name(row["created_at"])
    etag = f'"{job}"'
    if is_known(request, etag):
        return Response(status_code=304, headers={"etag": etag})
    part = ranged(request, file.size, etag)
    headers = {
        "content-type": written.media_type,
        "content-disposition": f'attachment; filename="{name}"',
        "etag": etag,
        **part.headers,
    }
    details = {
        "format": shown.format,
        "own": row["user_id"] == principal_of(request.scope).user_id,
        "bytes": f"{part.first}+{part.length}/{file.size}",
    }
    async with parts.database.transaction() as db:
        await record(db, request.scope, Action.EXPORT_DOWNLOAD, "export", job, details=details)
    if not part.length:
        return Response(b"", part.status, headers=headers)
    chunks = await begin(file.read(part.first, part.length))
    return StreamingResponse(chunks, part.status, headers=headers)


def _gone() -> ApiError:
    return ApiError(410, Code.NOT_FOUND, "The file has expired: exports are kept for 24 hours.")


async def delete_export(request: Request, job: MessageId, if_match: IfMatch = None) -> Response:
    """Delete an export of one's own, whether it is finished or not."""
    parts = parts_of(request.scope)
    async with parts.database.transaction() as db:
        require(if_match, await _current(request, db, job))
        if await parts.own.exports.cancel(db, job, principal_of(request.scope).user_id) is None:
            raise ApiError(404, Code.NOT_FOUND, "There is no such export.")
        await record(db, request.scope, Action.EXPORT_DELETE, "export", job)
        after_commit(db, lambda: parts.own.making.acted(job))
    return Response(status_code=204)


def add(app: FastAPI) -> None:
    """Add the routes."""
    app.add_api_route(
        "/api/v1/studies/export",
        add_export,
        methods=["POST"],
        status_code=202,
        tags=[_TAG],
        responses=errors(400, 401, 403, 409, 413, 422, 429, 503),
        openapi_extra={"parameters": [IDEMPOTENCY_KEY]},
    )
    app.add_api_route(
        PATH, list_exports, tags=[_TAG], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    app.add_api_route(
        _ONE + "/status",
        show_export,
        tags=[_TAG],
        response_class=Response,
        responses={
            200: {"model": ExportStatus, "headers": ETAG},
            **errors(401, 403, 404, 422, 503),
        },
    )
    kinds = [re.sub(";.*", "", written.media_type) for written in FORMATS.values()]
    app.add_api_route(
        _ONE + "/download",
        download_export,
        tags=[_TAG],
        response_class=Response,
        responses={
            **body("The file.", *kinds),
            206: {"description": "The range of the file."},
            304: {"description": "It is still as it was."},
            **errors(401, 403, 404, 409, 410, 412, 416, 422, 503),
        },
    )
    app.add_api_route(
        _ONE,
        delete_export,
        methods=["DELETE"],
        status_code=204,
        tags=[_TAG],
        response_class=Response,
        responses=errors(401, 403, 404, 412, 422, 503),
    )
