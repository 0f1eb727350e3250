"""Recalling studies from the slow store of two: a job that tells how long it takes."""

import datetime as dt
from typing import Final, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import JobsQuery
from darkroom_api.jobs.accepted import Accepted, JobView, Together, accept
from darkroom_api.jobs.routes import JobRoutes
from darkroom_api.studies.detail import PATH, ExamId
from darkroom_api.studies.identity import study_meant
from darkroom_common.index.retention.tiers import RECALLS
from darkroom_common.messages.base import Uid, new_message_id
from darkroom_common.messages.commands import RecallStudy
from darkroom_common.postgres.pool import Connection

State = Literal["ACCEPTED", "PENDING", "MOVING", "RETRYING", "DONE", "FAILED", "CANCELLED"]
VIEW: Final = JobView(
    name="recall",
    path="/api/v1/study-recalls",
    table="index.tier_job",
    owned=RECALLS,
    shown="a.job_id, a.command ->> 'study_instance_uid', a.state, a.reason, 0::bigint, 0::bigint,"
    " 0::bigint, NULL::float8, 0, a.requested_by, NULL, a.created_at, a.updated_at, a.finished_at",
)


class Recall(BaseModel):
    """Nothing more has to be said."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class RecallJob(BaseModel):
    """A study that is copied back to the fast store, where it stays for TIER_RECALL_DAYS."""

    job_id: str
    study_instance_uid: str
    state: State
    reason: str = Field(description="why it has failed; empty when all is well")
    objects: int = Field(description="that were looked after")
    bytes: int = Field(description="that were copied")
    total_bytes: int = Field(description="of the study; 0: nobody has looked yet")
    seconds_left: float | None = Field(
        description="as fast as the last recalls went; null: nobody knows yet"
    )
    attempts: int
    requested_by: str
    next_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None


class RecallSearch(JobsQuery):
    """What the list is narrowed by."""

    state: State | None = None
    study_instance_uid: Uid | None = None


async def recall_study(
    request: Request, response: Response, exam_id: ExamId, given: Recall
) -> Accepted:
    """Have a study in the fast store again; the job tells how long it takes."""

    async def command() -> Together:
        meant = await study_meant(request, exam_id)
        asked = RecallStudy(
            job_id=new_message_id(),
            study_instance_uid=meant.study_instance_uid,
            requested_by=principal_of(request.scope).username[:64],
        )

        async def told(request: Request, db: Connection, job_id: str) -> None:
            uid, details = asked.study_instance_uid, {"job_id": job_id, "kind": "recall"}
            await record(db, request.scope, Action.JOB_CREATE, "study", uid, details=details)

        return Together(asked, told)

    return await accept(request, response, VIEW, given, command)


ROUTES: Final = JobRoutes(
    VIEW,
    "studies",
    RecallJob,
    RecallSearch,
    None,
    {"cancel": "Withdraw a recall that has not gone out yet."},
)


def add(app: FastAPI) -> None:
    """Add the routes."""
    ROUTES.accept(app, recall_study, PATH + "/recall")
    ROUTES.serve(app)
