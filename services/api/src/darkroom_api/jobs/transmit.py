"""Jobs of transmit: ask for one, list, show, send again, cancel (TRX-02)."""

import datetime as dt
from functools import partial
from typing import Annotated, Any, Final, Literal, Self

from fastapi import FastAPI
from fastapi import Query as Parameter
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code, study_not_found
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Catalogue, JobsQuery, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.accepted import Accepted, JobView, accept
from darkroom_api.jobs.routes import JobRoutes
from darkroom_common.index.objects import has_objects
from darkroom_common.messages.base import MessageId, Uid, new_message_id
from darkroom_common.messages.commands import SendObjects
from darkroom_common.messages.events import TransmitState
from darkroom_common.messages.requests import ActOnJob
from darkroom_common.postgres.listing import Order
from darkroom_common.postgres.pool import Connection
from darkroom_common.readers import transmit
from darkroom_common.specs.destinations import Name
from darkroom_common.telemetry import traces

VIEW: Final = JobView(
    name="send",
    path="/api/v1/transmit/jobs",
    table="transmit.job",
    owned=transmit.SENDS,
    shown="a.job_id, a.command ->> 'destination', a.state, a.reason, a.command ->> 'priority',"
    " a.command ->> 'study_instance_uid', a.command ->> 'series_instance_uid', a.requested_by, '',"
    " 0, 0, 0, 0, 0, NULL, a.created_at, a.updated_at, a.finished_at",
)
_BY_POSITION: Final = {"position": Order({"position": int, "sop_instance_uid": str})}

State = TransmitState | Literal["ACCEPTED"]


class NewJob(BaseModel):
    """What to send where: a study, a series, or instances; several of them narrow each other."""

    model_config = ConfigDict(hide_input_in_errors=True, extra="forbid")

    destination: Name
    study_instance_uid: Uid | None = None
    series_instance_uid: Uid | None = None
    sop_instance_uids: list[Uid] = Field(default_factory=list, max_length=500)
    priority: Literal["low", "medium", "high"] = "medium"

    @model_validator(mode="after")
    def _names_objects(self) -> Self:
        if not (self.study_instance_uid or self.series_instance_uid or self.sop_instance_uids):
            raise ValueError("name a study, a series or instances")
        return self


class Job(BaseModel):
    """A job as it is."""

    job_id: str
    destination: str
    state: State
    reason: str = Field(description="a word of docs/transmit.md; empty when all is well")
    priority: str
    study_instance_uid: str | None
    series_instance_uid: str | None
    requested_by: str
    rule: str = Field(description="the rule that has made it; empty when somebody has asked")
    total: int = Field(description="instances")
    sent: int
    failed: int
    warned: int = Field(description="of those sent: the destination had something to say")
    attempts: int
    next_at: dt.datetime | None = Field(description="when it is tried next")
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None


class Attempt(BaseModel):
    """One attempt of a job."""

    number: int
    began_at: dt.datetime
    ended_at: dt.datetime | None = Field(description="null while it goes on, or when it was cut")
    outcome: str
    reason: str
    sent: int
    failed: int
    next_at: dt.datetime | None


class JobDetail(Job):
    """A job with its attempts, the newest 100."""

    attempt_list: list[Attempt]


class JobInstance(BaseModel):
    """What became of one instance."""

    sop_instance_uid: str
    state: str
    status: str | None = Field(description="the last answer, four hexadecimal digits")
    reason: str
    tries: int
    transfer_syntax_uid: str = Field(description="in which it was sent")
    updated_at: dt.datetime


class JobSearch(JobsQuery):
    """What the list is narrowed by."""

    state: State | None = None
    destination: Name | None = None
    study_instance_uid: Uid | None = None


class InstanceSearch(ListQuery):
    """Which instances to list."""

    sort: Literal["position"] = "position"
    state: Literal["PENDING", "SENT", "COMMITTED", "FAILED", "CANCELLED"] | None = None


async def _command(request: Request, given: NewJob) -> SendObjects:
    traces.about([given.study_instance_uid])
    async with parts_of(request.scope).database.acquire() as db:
        known = await transmit.destination_known(db, given.destination)
        if known is None:
            raise ApiError(404, Code.NOT_FOUND, "There is no destination of this name.")
        if not await has_objects(
            db, given.study_instance_uid, given.series_instance_uid, given.sop_instance_uids
        ):
            raise study_not_found()
    return SendObjects(
        job_id=new_message_id(),
        destination_id=known[1],
        requested_by=principal_of(request.scope).username[:64],
        **given.model_dump(),
    )


async def add_job(request: Request, response: Response, given: NewJob) -> Accepted:
    """Have stored objects sent. The job is there from the answer on: ask for its state."""
    return await accept(request, response, VIEW, given, partial(_command, request, given))


async def _attempts(db: Connection, job: str) -> dict[str, Any]:
    return {"attempt_list": [dict(attempt) for attempt in await transmit.attempts(db, job)]}


def _instance(row: Any) -> JobInstance:
    given = dict(row)
    status = given["status"]
    return JobInstance.model_validate(
        given | {"status": None if status is None else f"{status:04X}"}
    )


_INSTANCE_LIST: Final = Catalogue(transmit.SENT_INSTANCES, _BY_POSITION, _instance)


async def list_instances(
    request: Request,
    response: Response,
    job: MessageId,
    asked: Annotated[InstanceSearch, Parameter()],
) -> Listed[JobInstance]:
    """List what became of each instance of a job."""
    async with parts_of(request.scope).database.acquire() as db:
        await VIEW.find(db, job)
    return await list_of(request, response, asked, _INSTANCE_LIST, {"job_id": job})


ROUTES: Final = JobRoutes(
    VIEW,
    "transmit",
    Job,
    JobSearch,
    ActOnJob,
    {
        "retry": "Send what has failed of a job, or was cancelled, again from now on.",
        "cancel": "Send no more of a job; what has arrived stays where it is.",
    },
    detail=JobDetail,
    more=_attempts,
)


def add(app: FastAPI) -> None:
    """Add the routes."""
    ROUTES.serve(app)
    ROUTES.accept(app, add_job)
    app.add_api_route(
        f"{VIEW.path}/{{job}}/instances",
        list_instances,
        tags=["transmit"],
        responses={**LINKED, **errors(401, 403, 404, 422, 503)},
    )
