"""Objects of other nodes: have them retrieved, and see how that goes (TRX-11)."""

import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI
from fastapi import Query as Parameter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import JOBS, LINKED, Catalogue, JobsQuery, Listed, list_of
from darkroom_api.http.parts import parts_of
from darkroom_common.messages.base import MessageId, Uid, new_message_id
from darkroom_common.messages.remote import ActOnRetrieve, RetrieveFromRemote
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.remote import RetrieveOrder

State = Literal["PENDING", "RETRIEVING", "RETRYING", "DONE", "FAILED", "CANCELLED"]
_JOB: Final = (
    "SELECT id AS job_id, remote, method, state, reason, status, study_instance_uid,"
    " series_instance_uid, remaining, completed, failed, warned, attempts, rule,"
    " prior_of, requested_by, created_at,"
    " CASE WHEN state IN ('PENDING', 'RETRYING') THEN next_at END AS next_at,"
    " updated_at, finished_at"
    " FROM transmit.retrieve"
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


class RetrieveSearch(JobsQuery):
    """What the list is narrowed by."""

    state: State | None = None
    remote: Name | None = None
    study_instance_uid: Uid | None = None


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


_LIST: Final = Catalogue(_JOB, JOBS, _shown)


async def list_retrieves(
    request: Request, response: Response, given: Annotated[RetrieveSearch, Parameter()]
) -> Listed[RetrieveJob]:
    """List retrieve jobs, newest first."""
    return await list_of(request, response, given, _LIST)


async def show_retrieve(request: Request, job: MessageId) -> RetrieveJob:
    """Show a retrieve job."""
    async with parts_of(request.scope).database.acquire() as db:
        row = await db.fetchrow(_JOB + " WHERE id = $1", job)
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
    app.add_api_route(
        base, list_retrieves, tags=[*tags], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    app.add_api_route(one, show_retrieve, tags=[*tags], responses=errors(401, 403, 404, 422, 503))
    for name, endpoint in (("retry", retry_retrieve), ("cancel", cancel_retrieve)):
        app.add_api_route(
            f"{one}/{name}",
            endpoint,
            methods=["POST"],
            tags=[*tags],
            responses=errors(401, 403, 404, 409, 422, 500, 503),
        )
