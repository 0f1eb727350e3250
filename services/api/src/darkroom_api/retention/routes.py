"""Retention: the rules, a dry run of what goes when and why, and the nightly runs (STO-04).

What is shown was judged by metadata, by the rules that this service has, too. Nothing here deletes.
"""

import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.documented import errors
from darkroom_api.http.lists import JOBS, LINKED, Catalogue, JobsQuery, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.http.typed import Day
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.index.retention.holds import HELD_STUDIES
from darkroom_common.index.retention.judged import BY_RULE, PLAN, RUNS
from darkroom_common.messages.base import Uid
from darkroom_common.postgres.listing import Order
from darkroom_common.specs.retention import RetentionRule

_BASE: Final = "/api/v1/retention"
_ORDERS: Final = {"keep_until": Order({"keep_until": dt.date, "study_id": int})}
_PLAN: Final = PLAN.format(HELD_STUDIES)
_BY_RULE: Final = BY_RULE.format(HELD_STUDIES)
State = Literal["PENDING", "RUNNING", "RETRYING", "DONE", "FAILED", "CANCELLED"]


class OfRule(BaseModel):
    """What one rule lets go."""

    rule: int = Field(description="from 1; 0: none fits, RETENTION_YEARS holds")
    why: str
    studies: int
    held: int = Field(description="of these, under legal hold: they stay")
    bytes: int


class Rules(BaseModel):
    """The rules in force, and what they let go until a day."""

    years: float
    rules: list[RetentionRule]
    on: dt.date
    due: list[OfRule] = Field(description="studies that may go by that day, by rule")


class Planned(BaseModel):
    """A study that may go, and why."""

    study_instance_uid: str
    study_date: dt.date | None
    modalities: list[str]
    status: str
    instances: int
    bytes: int
    keep_until: dt.date = Field(description="the first day on which it may go")
    rule: int
    why: str
    held: bool = Field(description="under legal hold: it stays")


class RunJob(BaseModel):
    """A nightly run, or one that only planned."""

    job_id: str
    action: Literal["plan", "mark"] = Field(description="plan: nothing was deleted")
    day: dt.date
    is_current: bool = Field(description="whether it was by the rules of now")
    state: State
    reason: str
    judged: int = Field(description="studies that were judged anew")
    due: int
    held: int = Field(description="of these, by a legal hold")
    kept: int = Field(description="of these: restored lately, being received, not due after all")
    marked: int = Field(description="of these, deleted: restorable until they are purged")
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None


class PlanSearch(ListQuery):
    """Until when, and which page."""

    sort: Literal["keep_until"] = "keep_until"
    on: Day | None = Field(default=None, description="what goes until this day; none: today")
    study_instance_uid: Uid | None = None

    def narrowed(self) -> dict[str, object]:
        """Return what the list is narrowed by: the day is in its source."""
        return {"study_instance_uid": self.study_instance_uid}


class RunSearch(JobsQuery):
    """What the list is narrowed by."""

    action: Literal["plan", "mark"] | None = None
    state: State | None = None


async def show_rules(request: Request, on: Day | None = None) -> Rules:
    """Show the rules, and how much they let go until a day: a dry run, nothing is deleted."""
    parts, day = parts_of(request.scope), on or SYSTEM_CLOCK.now().date()
    retention = parts.settings.retention
    async with parts.database.acquire() as db:
        rows = await db.fetch(_BY_RULE, day, retention.digest)
    due = [OfRule(why=retention.in_words(row["rule"]), **dict(row)) for row in rows]
    return Rules(years=retention.years, rules=list(retention.rules), on=day, due=due)


async def show_plan(
    request: Request, response: Response, asked: Annotated[PlanSearch, Query()]
) -> Listed[Planned]:
    """List what goes until a day, when and why, the first to go first: a dry run."""
    parts, day = parts_of(request.scope), asked.on or SYSTEM_CLOCK.now().date()
    retention = parts.settings.retention

    def shown(row: Any) -> Planned:
        return Planned(
            why=retention.in_words(row["rule"]),
            instances=row["instance_count"],
            bytes=row["byte_count"],
            **{
                name: row[name]
                for name in (
                    *("study_instance_uid", "study_date", "modalities", "status"),
                    *("keep_until", "rule", "held"),
                )
            },
        )

    catalogue = Catalogue(_PLAN, _ORDERS, shown, bound=(day, retention.digest))
    found = await list_of(request, response, asked, catalogue)
    async with parts.database.transaction() as db:
        details = {"retention_until": day.isoformat(), "shown": len(found.data)}
        await record(db, request.scope, Action.STUDY_SEARCH, "study", "", details=details)
    return found


async def list_runs(
    request: Request, response: Response, asked: Annotated[RunSearch, Query()]
) -> Listed[RunJob]:
    """List the nightly runs, newest first."""
    digest = parts_of(request.scope).settings.retention.digest

    def shown(row: Any) -> RunJob:
        told = {name: row[name] for name in RunJob.model_fields if name != "is_current"}
        return RunJob(is_current=row["rules"] == digest, **told)

    return await list_of(request, response, asked, Catalogue(RUNS, JOBS, shown))


def add(app: FastAPI) -> None:
    """Add the routes."""
    listed = {**LINKED, **errors(401, 403, 422, 503)}
    app.add_api_route(_BASE, show_rules, tags=["studies"], responses=errors(401, 403, 422, 503))
    app.add_api_route(_BASE + "/plan", show_plan, tags=["studies"], responses=listed)
    app.add_api_route(_BASE + "/runs", list_runs, tags=["studies"], responses=listed)
