"""Objects of other nodes: have them retrieved, and see how that goes (TRX-11)."""

import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI
from fastapi import Query as Parameter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_common.messages.base import MessageId, Uid, new_message_id
from darkroom_common.messages.remote import ActOnRetrieve, RetrieveFromRemote
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.remote import RetrieveOrder

MOST: Final = 200
State = Literal["PENDING", "RETRIEVING", "RETRYING", "DONE", "FAILED", "CANCELLED"]
_COLUMNS: Final = (
    "id AS job_id, remote, method, state, reason, status, study_instance_uid, series_instance_uid,"
    " remaining, completed, failed, warned, attempts, rule, prior_of, requested_by,"
    " CASE WHEN state IN ('PENDING', 'RETRYING') THEN next_at END AS next_at,"
    " created_at, updated_at, finished_at"
)


class AcceptedRetrieve(BaseModel):
    """A job is kept."""

    job_id: str
    status_url: str


class RetrieveJob(BaseModel):
    """A job as it is."""

    job_id: str
    remote: str
    method: str
    state: State
    reason: str = Field(description="a word of docs/transmit.md; empty when all is well")
    status: str | None = Field(description="the last answer, four hexadecimal digits")
    study_instance_uid: str
    series_instance_uid: str | None
    remaining: int | None = Field(description="instances, as far as the other node tells")
    completed: int
    failed: int
    warned: int
    attempts: int
    rule: str = Field(description="the rule that wants it as a prior; empty: somebody has asked")
    prior_of: str = Field(description="the study whose prior it is")
    requested_by: str
    next_at: dt.datetime | None = Field(description="when it is tried next")
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None


class RetrievePage(BaseModel):
    """A page of jobs, newest first."""

    items: list[RetrieveJob]
    page: int
    limit: int
    has_more: bool


class RetrieveSearch(BaseModel):
    """What the list is narrowed by."""

    model_config = ConfigDict(hide_input_in_errors=True)

    state: State | None = None
    remote: Name | None = None
    study_instance_uid: Uid | None = None
    page: int = Field(default=1, ge=1, le=1_000_000)
    limit: int = Field(default=50, ge=1, description=f"more than {MOST} counts as {MOST}")


class RetrieveChanged(BaseModel):
    """The state of a job after somebody has acted; a running one ends a moment later."""

    job_id: str
    state: State


def _shown(row: Any) -> RetrieveJob:
    status = row["status"]
    return RetrieveJob.model_validate(
        dict(row) | {"status": None if status is None else f"{status:04X}"}
    )


async def retrieve(
    request: Request, response: Response, name: Name, given: RetrieveOrder
) -> AcceptedRetrieve:
    """Have a study, a series or instances of a destination retrieved, by C-MOVE or C-GET."""
    job_id = new_message_id()
    await ask(
        request.scope,
        RetrieveFromRemote(
            job_id=job_id,
            remote=name,
            requested_by=principal_of(request.scope).username[:64],
            **given.model_dump(),
        ),
    )
    url = f"/api/v1/retrieve/jobs/{job_id}"
    response.headers["location"] = url
    return AcceptedRetrieve(job_id=job_id, status_url=url)


async def list_retrieves(
    request: Request, given: Annotated[RetrieveSearch, Parameter()]
) -> RetrievePage:
    """List retrieve jobs, newest first."""
    limit = min(given.limit, MOST)
    async with parts_of(request.scope).database.acquire() as db:
        rows = await db.fetch(
            f"SELECT {_COLUMNS} FROM transmit.retrieve"  # noqa: S608 - our own words
            " WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR remote = $2)"
            " AND ($3::text IS NULL OR study_instance_uid = $3)"
            " ORDER BY created_at DESC, id LIMIT $4 OFFSET $5",
            given.state,
            given.remote,
            given.study_instance_uid,
            limit + 1,
            (given.page - 1) * limit,
        )
    items = [_shown(row) for row in rows[:limit]]
    return RetrievePage(items=items, page=given.page, limit=limit, has_more=len(rows) > limit)


async def show_retrieve(request: Request, job: MessageId) -> RetrieveJob:
    """Show a retrieve job."""
    async with parts_of(request.scope).database.acquire() as db:
        row = await db.fetchrow(f"SELECT {_COLUMNS} FROM transmit.retrieve WHERE id = $1", job)  # noqa: S608 - our own words
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such job.")
    return _shown(row)


async def _act(request: Request, job: str, action: Literal["retry", "cancel"]) -> RetrieveChanged:
    by = principal_of(request.scope).username[:64]
    reply = await ask(request.scope, ActOnRetrieve(job_id=job, action=action, requested_by=by))
    return RetrieveChanged(job_id=job, state=reply.body["state"])


async def retry_retrieve(request: Request, job: MessageId) -> RetrieveChanged:
    """Try a job again that has failed or was cancelled; only what is missing, if that is known."""
    return await _act(request, job, "retry")


async def cancel_retrieve(request: Request, job: MessageId) -> RetrieveChanged:
    """Retrieve no more (C-CANCEL); what has arrived stays."""
    return await _act(request, job, "cancel")


def add(app: FastAPI) -> None:
    """Add the routes."""
    base, tags = "/api/v1/retrieve/jobs", ["remote"]
    one = f"{base}/{{job}}"
    app.add_api_route(
        "/api/v1/remote/{name}/retrieve",
        retrieve,
        methods=["POST"],
        status_code=202,
        tags=[*tags],
        responses=errors(400, 401, 403, 404, 413, 422, 500, 502, 503),
    )
    app.add_api_route(base, list_retrieves, tags=[*tags], responses=errors(401, 403, 422, 503))
    app.add_api_route(one, show_retrieve, tags=[*tags], responses=errors(401, 403, 404, 422, 503))
    for name, endpoint in (("retry", retry_retrieve), ("cancel", cancel_retrieve)):
        app.add_api_route(
            f"{one}/{name}",
            endpoint,
            methods=["POST"],
            tags=[*tags],
            responses=errors(401, 403, 404, 409, 422, 500, 503),
        )
