"""Deleting studies, and restoring them while that can be done (STO-04)."""

import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.documented import errors
from darkroom_api.http.etags import IfMatch
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import JobsQuery
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.accepted import Accepted, JobView, Together, accept
from darkroom_api.jobs.once import IDEMPOTENCY_KEY
from darkroom_api.jobs.routes import JobRoutes
from darkroom_api.studies.detail import PATH, ExamId
from darkroom_api.studies.editing import conflict, require_version
from darkroom_api.studies.identity import study_meant
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dicom.identity import is_conformant
from darkroom_common.index.edits import REMOVALS
from darkroom_common.index.retention.holds import is_held
from darkroom_common.index.retention.judged import dated_of
from darkroom_common.messages.base import MessageId, Uid, new_message_id
from darkroom_common.messages.commands import RemovePart, RemoveStudy
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.conflicts import Why
from darkroom_common.specs.retention import REMOVAL_PURPOSE

HELD: Final = "The study is under legal hold."
Reason = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=500, strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f]*$"
    ),
]
State = Literal["ACCEPTED", "PENDING", "REMOVING", "RETRYING", "DONE", "FAILED", "CANCELLED"]
VIEW: Final = JobView(
    name="removal",
    path="/api/v1/study-removals",
    table="index.removal",
    owned=REMOVALS,
    shown="a.job_id, a.command ->> 'action', a.command ->> 'study_instance_uid',"
    " a.command ->> 'series_instance_uid', a.command ->> 'sop_instance_uid', a.state, a.reason,"
    " 0, a.requested_by, '', NULL, NULL, NULL, NULL, a.created_at, a.updated_at, a.finished_at",
)


class Removal(BaseModel):
    """Why a study is deleted, restored, or held."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    reason: Reason


class RemovalJob(BaseModel):
    """A deletion, or its being taken back."""

    job_id: str
    action: Literal["delete", "restore"]
    study_instance_uid: str
    series_instance_uid: str | None = Field(description="null: the whole study")
    sop_instance_uid: str | None = Field(description="null: the whole series")
    state: State
    reason: str = Field(description="why it has failed; empty when all is well")
    attempts: int
    requested_by: str
    rule: str = Field(description="of retention, if nobody has asked for it")
    purge_after: dt.datetime | None = Field(description="until then it can be restored")
    purged_at: dt.datetime | None = Field(description="from then on it is gone for good")
    restored_at: dt.datetime | None
    next_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None


class RemovalSearch(JobsQuery):
    """What the list is narrowed by."""

    state: State | None = None
    action: Literal["delete", "restore"] | None = None
    study_instance_uid: Uid | None = None


async def delete_study(
    request: Request, response: Response, exam_id: ExamId, given: Removal, if_match: IfMatch = None
) -> Accepted:
    """Delete a study: it is nowhere from then on, can be restored for a while, and is purged."""
    command = partial(_deletion, request, exam_id, given, if_match)
    return await accept(request, response, VIEW, given, command)


async def _deletion(
    request: Request, exam_id: str, given: Removal, if_match: str | None
) -> Together:
    meant = await study_meant(request, exam_id)
    made = await deletion(request, Target(meant.study_instance_uid), given.reason)
    if if_match is None:
        return made

    async def told(request: Request, db: Connection, job_id: str) -> None:
        await require_version(parts_of(request.scope), db, meant, if_match)
        await made.also(request, db, job_id)

    return Together(made.command, told)


@dataclass(frozen=True)
class Target:
    """A study, a series of it, or an instance of that."""

    study: str
    series: str | None = None
    instance: str | None = None


async def deletion(request: Request, target: Target, reason: str) -> Together:
    """Return the command that deletes something, unless metadata would refuse it.

    Raises:
        ApiError: 409, its study is to be kept, or held.
    """
    parts, uid = parts_of(request.scope), target.study
    async with parts.database.acquire() as db:
        studies = await dated_of(db, parts.keys, parts.settings.retention, uid)
    until = parts.settings.retention.until(studies)
    if SYSTEM_CLOCK.now().date() < until:
        raise conflict(f"The study is to be kept until {until}.")

    async def told(request: Request, db: Connection, job_id: str) -> None:
        if await is_held(db, uid):
            raise conflict(HELD)
        details = {"job_id": job_id} | _named(target)
        more: dict[str, Any] = {"details": details, "phi": {"reason": reason}}
        await record(db, request.scope, Action.STUDY_DELETE, "study", uid, **more)

    return Together(command_of(request, "delete", target, reason), told)


def _named(target: Target) -> dict[str, str]:
    """Return the UIDs below the study, as far as they are UIDs: others are what anybody typed."""
    uids = {"series": target.series, "instance": target.instance}
    return {name: uid for name, uid in uids.items() if uid and is_conformant(uid)}


def command_of(
    request: Request, action: Literal["delete", "restore"], target: Target, reason: str
) -> RemoveStudy | RemovePart:
    """Return the command that deletes or restores something."""
    given: dict[str, Any] = {
        "job_id": new_message_id(),
        "action": action,
        "study_instance_uid": target.study,
        "requested_by": principal_of(request.scope).username[:64],
        "sealed": parts_of(request.scope).seal.seal(
            Why(reason=reason).model_dump(), purpose=REMOVAL_PURPOSE
        ),
    }
    if target.series is None:
        return RemoveStudy(**given)
    uids = {"series_instance_uid": target.series, "sop_instance_uid": target.instance}
    return RemovePart(**given, **uids)


async def restore_study(
    request: Request, response: Response, job: MessageId, given: Removal
) -> Accepted:
    """Restore what was deleted and is not purged yet."""

    async def command() -> Together:
        async with parts_of(request.scope).database.acquire() as db:
            row = await VIEW.find(db, job)
        if row["action"] != "delete" or row["purge_after"] is None:
            raise conflict("This has deleted nothing.")
        if row["purged_at"] is not None or row["restored_at"] is not None:
            raise conflict("The study is purged, or is there again.")
        uid = row["study_instance_uid"]
        target = Target(uid, row["series_instance_uid"], row["sop_instance_uid"])

        async def told(request: Request, db: Connection, job_id: str) -> None:
            details = {"job_id": job_id, "restored": True} | _named(target)
            more: dict[str, Any] = {"details": details, "phi": {"reason": given.reason}}
            await record(db, request.scope, Action.STUDY_DELETE, "study", uid, **more)

        return Together(command_of(request, "restore", target, given.reason), told)

    return await accept(request, response, VIEW, given, command)


ROUTES: Final = JobRoutes(
    VIEW,
    "studies",
    RemovalJob,
    RemovalSearch,
    None,
    {"cancel": "Withdraw a deletion that has not gone out yet."},
)


def add(app: FastAPI) -> None:
    """Add the routes."""
    app.add_api_route(
        PATH,
        delete_study,
        methods=["DELETE"],
        status_code=202,
        tags=["studies"],
        responses=errors(400, 401, 403, 404, 409, 412, 413, 422, 503),
        openapi_extra={"parameters": [IDEMPOTENCY_KEY]},
    )
    ROUTES.accept(app, restore_study, VIEW.path + "/{job}/restore")
    ROUTES.serve(app)
