"""Attributes that people want to search by, and the jobs that follow their changes (MET-05)."""

import datetime as dt
from typing import Final, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field

from darkroom_api.http.lists import JobsQuery
from darkroom_api.jobs.accepted import JobView
from darkroom_api.jobs.routes import JobRoutes
from darkroom_api.resources.served import serve
from darkroom_common.index.tags.indexed import JOBS
from darkroom_common.messages.requests import ActOnTagJob
from darkroom_common.resources.declared import INDEXED_TAGS

State = Literal["PENDING", "INDEXING", "PAUSED", "RETRYING", "DONE", "FAILED", "CANCELLED"]
VIEW: Final = JobView(
    name="tags",
    path="/api/v1/tag-jobs",
    table="index.tag_job",
    owned=JOBS,
    shown="a.job_id, a.state, a.reason, 0::bigint, 0::bigint, NULL::bigint, 0,"
    " NULL::timestamptz, a.created_at, a.updated_at, a.finished_at",
)


class TagJob(BaseModel):
    """Goes through all that is stored, since the indexed tags have changed."""

    job_id: str
    state: State
    reason: str = Field(description="why it has ended otherwise than well")
    studies: int = Field(description="that are done")
    instances: int = Field(description="of those")
    total: int | None = Field(description="studies that there were when it began")
    attempts: int
    next_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None


class TagJobSearch(JobsQuery):
    """What the list is narrowed by."""

    state: State | None = None


ROUTES: Final = JobRoutes(
    VIEW,
    INDEXED_TAGS.tag,
    TagJob,
    TagJobSearch,
    ActOnTagJob,
    {
        "pause": "Let it rest where it is.",
        "resume": "Let it go on behind the last study that is done.",
        "retry": "Go on with a job that has failed or was cancelled.",
        "cancel": "End it; what is not done is not found by the tags.",
    },
)


def add(app: FastAPI) -> None:
    """Add the routes."""
    serve(app, INDEXED_TAGS)
    ROUTES.serve(app)
