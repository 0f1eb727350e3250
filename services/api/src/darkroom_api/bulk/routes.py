"""Change the work status or the assigned physician of many examinations (API-09)."""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from asyncpg import Record
from fastapi import FastAPI
from fastapi import Query as Parameter
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import entry
from darkroom_api.bulk.changes import SOME, Change, Result, What
from darkroom_api.bulk.repository import LIST, PURPOSE, NewBulk, find
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.etags import ETAG, IfNoneMatch, answer, unless_known
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import JOBS, LINKED, Catalogue, JobsQuery, Listed, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.accepted import Accepted
from darkroom_api.jobs.once import IDEMPOTENCY_KEY, Asked, Once, key_of, require_authority
from darkroom_api.studies.examinations import ExamStatus, Failed, Outcome, PhysicianName
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.messages.base import MessageId, new_message_id
from darkroom_common.postgres.pool import CLASH_ATTEMPTS, is_clash
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
AT_ONCE: Final = 5_000
"""Examinations that are changed while the client waits; more of them are a job."""
MOST: Final = 100_000
_JOBS: Final = "/api/v1/bulk/jobs"
_ONCE: Final = Once("bulk_change")
_TAG: Final = "bulk"
_SECONDS: Final = 30.0
_NOT_KNOWN: Final = "The database went away: it is not known whether this was done. Ask again."
_NOT_DONE: Final = "Not done: the database went away before. Ask again."
ExamId = Annotated[str, StringConstraints(min_length=1, max_length=256)]
ExamIds = Annotated[
    list[ExamId],
    Field(
        min_length=1,
        max_length=MOST,
        description="accession numbers or StudyInstanceUIDs; one that is there twice counts once",
    ),
]
Reason = Annotated[str, StringConstraints(max_length=500, strip_whitespace=True)]


class StatusChange(BaseModel):
    """A work status for many examinations."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    exam_ids: ExamIds
    new_status: ExamStatus
    reason: Reason = ""


class Assignment(BaseModel):
    """A physician for many examinations."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    exam_ids: ExamIds
    physician_name: Annotated[PhysicianName, Field(min_length=1)]
    reason: Reason = ""
    notify: StrictBool = Field(
        default=False, description="whether the physician hears of it by e-mail"
    )


class ItemError(BaseModel):
    """An examination that was not changed."""

    exam_id: str
    code: int = Field(description="2003")
    message: str


class StatusChanged(BaseModel):
    """What has become of each."""

    updated: int = Field(description="that have the status now, also those that had it before")
    failed: int
    errors: list[ItemError] = Field(description="in the order that they were given")


class Assigned(BaseModel):
    """What has become of each."""

    assigned: int = Field(description="that are assigned now, also those that were before")
    failed: int
    errors: list[ItemError] = Field(description="in the order that they were given")


class BulkJob(BaseModel):
    """A change of more than 5,000 examinations, as far as it is."""

    job_id: str
    operation: What
    status: Literal["pending", "processing", "completed", "failed"]
    progress: int = Field(ge=0, le=100, description="percent")
    message: str
    total: int
    done: int = Field(description="`updated` or `assigned`")
    failed: int
    errors: list[ItemError] = Field(description="the first 1,000")
    requested_by: str
    created_at: dt.datetime
    finished_at: dt.datetime | None


async def update_status(request: Request, given: StatusChange) -> Response:
    """Set the work status of examinations; more than 5,000 of them become a job."""
    value = given.new_status
    return await _change(request, given, "update_status", value, "updated")


async def assign_physician(request: Request, given: Assignment) -> Response:
    """Assign a physician to examinations; more than 5,000 of them become a job."""
    value = given.physician_name
    return await _change(request, given, "assign_physician", value, "assigned")


async def _change(
    request: Request, given: StatusChange | Assignment, what: What, value: str, counted: str
) -> Response:
    key_of(request)
    change = Change(
        what=what,
        value=value,
        reason=given.reason,
        notify=isinstance(given, Assignment) and given.notify,
        exam_ids=list(dict.fromkeys(given.exam_ids)),
        who=entry(request.scope, Action.BULK_UPDATE),
    )
    if len(change.exam_ids) > AT_ONCE:
        accepted = await _accept(request, given, change)
        headers = {"location": accepted.status_url}
        return JSONResponse(accepted.model_dump(), 202, headers=headers)
    wait_for_another(request.scope, _SECONDS)
    result = await _now(request, change)
    failed = [asdict(one) for one in result.failed]
    return JSONResponse({counted: result.done, "failed": len(failed), "errors": failed})


async def _now(request: Request, change: Change) -> Result:
    """Make a change while the client waits. What is not done is told of each."""
    result, ids = Result(), change.exam_ids
    for start in range(0, len(ids), SOME):
        some = ids[start : start + SOME]
        try:
            made = result.changed if start + SOME >= len(ids) else None
            result.add(await _part(request, change, some, made))
        except DependencyUnavailable as error:
            if not start:
                raise
            log.warning("bulk.cut", done=result.done, reason=str(error))
            code = int(Code.BULK_OPERATION_FAILED)
            result.failed += [Failed(one, code, _NOT_KNOWN) for one in some]
            result.failed += [Failed(one, code, _NOT_DONE) for one in ids[start + SOME :]]
            break
    return result


async def _part(
    request: Request, change: Change, some: Sequence[str], before: int | None
) -> Outcome:
    """Make a part of a change; with the last one, after so many before, tell who is to hear."""
    parts = parts_of(request.scope)
    changes = parts.own.bulk.changes
    for _ in range(CLASH_ATTEMPTS):
        try:
            async with parts.database.transaction() as db:
                await require_authority(db, request)
                outcome = await changes.make(db, change, some)
                if before is not None:
                    await changes.notify(db, change, before + len(outcome.changed))
        except Exception as error:
            if not is_clash(error):
                raise
        else:
            return outcome
    raise DependencyUnavailable("the examinations are too busy: lost against others each time")


async def _accept(request: Request, given: BaseModel, change: Change) -> Accepted:
    parts, principal = parts_of(request.scope), principal_of(request.scope)
    bulk = parts.own.bulk

    async def keep(asked: Asked) -> str | None:
        new = NewBulk(
            principal.user_id,
            principal.username[:64],
            change.what,
            parts.seal.seal(change.as_json(), purpose=PURPOSE),
            len(change.exam_ids),
            asked.key,
            asked.fingerprint,
        )
        async with parts.database.transaction() as db:
            await require_authority(db, request)
            await _ONCE.forget(db, request, asked)
            row = await bulk.jobs.add(db, new_message_id(), new)
        return None if row is None else str(row["id"])

    job = await _ONCE.job(request, given, keep)
    log.info("bulk.accepted", job=job, what=change.what, items=len(change.exam_ids))
    return Accepted(job_id=job, status_url=f"{_JOBS}/{job}")


_STATUS: Final[dict[str, Any]] = {
    "PENDING": "pending",
    "RETRYING": "pending",
    "PROCESSING": "processing",
    "COMPLETED": "completed",
    "FAILED": "failed",
}


def _shown(row: Record, failed: list[Failed]) -> BulkJob:
    gone, total = row["gone_through"], row["total"]
    status = _STATUS[row["state"]]
    return BulkJob(
        job_id=row["job_id"],
        operation=row["what"],
        status=status,
        progress=100 if status == "completed" else min(99, 100 * gone // max(1, total)),
        message=row["reason"] or f"Processed {gone} of {total} records",
        errors=[ItemError(**asdict(one)) for one in failed],
        **{key: row[key] for key in ("total", "done", "failed", "requested_by")},
        created_at=row["created_at"],
        finished_at=row["finished_at"],
    )


async def list_jobs(
    request: Request, response: Response, asked: Annotated[JobsQuery, Parameter()]
) -> Listed[BulkJob]:
    """List one's own changes of more than 5,000 examinations, without their errors."""
    bound = (principal_of(request.scope).user_id,)
    catalogue = Catalogue(LIST, JOBS, lambda row: _shown(row, []), bound=bound)
    return await list_of(request, response, asked, catalogue)


async def show_job(request: Request, job: MessageId, if_none_match: IfNoneMatch = None) -> Response:
    """Show how far a change is, and what has failed of it."""
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        row = await find(db, principal_of(request.scope).user_id, job)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such job.")
    shown = _shown(row, parts.own.bulk.jobs.errors(row["errors"])).model_dump()
    return unless_known(answer(shown), if_none_match)


def add(app: FastAPI) -> None:
    """Add the routes."""
    routes: tuple[tuple[str, Callable[..., Awaitable[Response]], type[BaseModel]], ...] = (
        ("update-status", update_status, StatusChanged),
        ("assign-physician", assign_physician, Assigned),
    )
    for name, endpoint, model in routes:
        app.add_api_route(
            f"/api/v1/studies/bulk/{name}",
            endpoint,
            methods=["POST"],
            tags=[_TAG],
            response_model=None,
            responses={
                200: {"model": model},
                202: {"model": Accepted, "description": "More than 5,000: a job."},
                **errors(400, 401, 403, 409, 413, 422, 429, 503),
            },
            openapi_extra={"parameters": [IDEMPOTENCY_KEY]},
        )
    app.add_api_route(
        _JOBS, list_jobs, tags=[_TAG], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    app.add_api_route(
        _JOBS + "/{job}",
        show_job,
        tags=[_TAG],
        response_class=Response,
        responses={200: {"model": BulkJob, "headers": ETAG}, **errors(401, 403, 404, 422, 503)},
    )
