"""Objects of other nodes: have them retrieved, and see how that goes (TRX-11)."""

import datetime as dt
from functools import partial
from typing import Any, Final, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import JobsQuery
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.accepted import Accepted, JobView, accept
from darkroom_api.jobs.routes import JobRoutes
from darkroom_common.messages.base import Uid, new_message_id
from darkroom_common.messages.commands import RetrieveFromRemote
from darkroom_common.messages.requests import ActOnRetrieve
from darkroom_common.readers import transmit
from darkroom_common.specs.base import strict
from darkroom_common.specs.destinations import Name
from darkroom_common.specs.remote import RetrieveOrder

State = Literal["ACCEPTED", "PENDING", "RETRIEVING", "RETRYING", "DONE", "FAILED", "CANCELLED"]


VIEW: Final = JobView(
    name="retrieve",
    path="/api/v1/retrieve/jobs",
    table="transmit.retrieve",
    owned=transmit.RETRIEVES,
    shown="a.job_id, a.command ->> 'remote', a.command ->> 'method', a.state, a.reason, NULL,"
    " a.command ->> 'study_instance_uid', a.command ->> 'series_instance_uid', NULL, 0, 0, 0, 0,"
    " '', '', a.requested_by, NULL, a.created_at, a.updated_at, a.finished_at",
)


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


@strict
class NewRetrieveJob(RetrieveOrder):
    """What to retrieve."""


class RetrieveSearch(JobsQuery):
    """What the list is narrowed by."""

    state: State | None = None
    remote: Name | None = None
    study_instance_uid: Uid | None = None


def _shown(row: Any) -> dict[str, Any]:
    status = row["status"]
    return dict(row) | {"status": None if status is None else f"{status:04X}"}


async def _command(request: Request, name: str, given: RetrieveOrder) -> RetrieveFromRemote:
    async with parts_of(request.scope).database.acquire() as db:
        known = await transmit.destination_known(db, name)
    if known is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no destination of this name.")
    if known[0] != "dimse":
        raise ApiError(422, Code.INVALID_REQUEST, "It is not a DIMSE destination.")
    return RetrieveFromRemote(
        job_id=new_message_id(),
        remote=name,
        remote_id=known[1],
        requested_by=principal_of(request.scope).username[:64],
        **given.model_dump(),
    )


async def retrieve(
    request: Request, response: Response, name: Name, given: NewRetrieveJob
) -> Accepted:
    """Have a study, a series or instances of a destination retrieved, by C-MOVE or C-GET."""
    return await accept(request, response, VIEW, given, partial(_command, request, name, given))


ROUTES: Final = JobRoutes(
    VIEW,
    "remote",
    RetrieveJob,
    RetrieveSearch,
    ActOnRetrieve,
    {
        "retry": "Try a job again that failed or was cancelled; only what is missing, if known.",
        "cancel": "Retrieve no more (C-CANCEL); what has arrived stays.",
    },
    shown=_shown,
)


def add(app: FastAPI) -> None:
    """Add the routes."""
    ROUTES.serve(app)
    ROUTES.accept(app, retrieve, "/api/v1/remote/{name}/retrieve")
