"""Deleting studies, restoring them while that can be done, and legal holds (STO-04)."""

import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.etags import IfMatch
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Catalogue, JobsQuery, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.accepted import Accepted, JobView, Together, accept
from darkroom_api.jobs.once import require_authority
from darkroom_api.jobs.routes import JobRoutes
from darkroom_api.studies.detail import PATH, ExamId
from darkroom_api.studies.editing import conflict, require_version
from darkroom_api.studies.identity import study_meant
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dicom.identity import is_conformant
from darkroom_common.index.edits import REMOVALS
from darkroom_common.index.fields import Level
from darkroom_common.index.query import Query as Search
from darkroom_common.messages.base import MessageId, Uid, new_message_id
from darkroom_common.messages.commands import RemovePart, RemoveStudy
from darkroom_common.postgres.listing import Order
from darkroom_common.postgres.pool import Connection
from darkroom_common.readers.api import is_held
from darkroom_common.specs.conflicts import Why
from darkroom_common.specs.retention import REMOVAL_PURPOSE, Dated

_HOLDS: Final = "/api/v1/legal-holds"
_HELD: Final = "The study is under legal hold."
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
    " 0, a.requested_by, NULL, NULL, NULL, NULL, a.created_at, a.updated_at, a.finished_at",
)
_PUT_HOLD: Final = (
    "INSERT INTO api.legal_hold (study_instance_uid, by, sealed) VALUES ($1, $2, $3)"
    " ON CONFLICT (study_instance_uid) DO NOTHING RETURNING study_instance_uid"
)
_END_HOLD: Final = (
    "DELETE FROM api.legal_hold WHERE study_instance_uid = $1 RETURNING study_instance_uid"
)
_ALL_HOLDS: Final = "SELECT study_instance_uid, by, at, sealed FROM api.legal_hold"
_KEYS: Final = {"at": dt.datetime, "study_instance_uid": str}


class Removal(BaseModel):
    """Why a study is deleted, or held."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    reason: Reason


class HoldRequest(Removal):
    """A study that nobody may delete."""

    exam_id: str = Field(min_length=1, max_length=64)


class Hold(BaseModel):
    """A study that nobody may delete."""

    study_instance_uid: str
    by: str
    at: dt.datetime
    reason: str


class HoldSearch(ListQuery):
    """Which page of the list, and what it is narrowed by."""

    sort: Literal["-at", "at"] = "-at"
    study_instance_uid: Uid | None = None


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
    found = await parts.reader.search(Search(Level.STUDY, study_uid=uid))
    studies = [
        Dated(row.study_date or row.created_at.date(), row.modalities, row.calling_ae_titles)
        for row in (one.study for one in found.results)
    ]
    until = parts.settings.retention.until(studies)
    if SYSTEM_CLOCK.now().date() < until:
        raise conflict(f"The study is to be kept until {until}.")

    async def told(request: Request, db: Connection, job_id: str) -> None:
        if await is_held(db, uid):
            raise conflict(_HELD)
        details = {"job_id": job_id} | _named(target)
        more: dict[str, Any] = {"details": details, "phi": {"reason": reason}}
        await record(db, request.scope, Action.STUDY_DELETE, "study", uid, **more)

    return Together(_command(request, "delete", target, reason), told)


def _named(target: Target) -> dict[str, str]:
    """Return the UIDs below the study, as far as they are UIDs: others are what anybody typed."""
    uids = {"series": target.series, "instance": target.instance}
    return {name: uid for name, uid in uids.items() if uid and is_conformant(uid)}


def _command(
    request: Request, action: Literal["delete", "restore"], target: Target, reason: str
) -> RemoveStudy | RemovePart:
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

        return Together(_command(request, "restore", target, given.reason), told)

    return await accept(request, response, VIEW, given, command)


async def hold_study(request: Request, given: HoldRequest) -> Hold:
    """Let nobody delete a study, however old; one that is deleted is not purged."""
    parts = parts_of(request.scope)
    uid = (await study_meant(request, given.exam_id)).study_instance_uid
    by = principal_of(request.scope).username[:64]
    sealed = parts.seal.seal(given.reason, purpose=REMOVAL_PURPOSE)
    async with parts.database.transaction() as db:
        await require_authority(db, request)
        if await db.fetchval(_PUT_HOLD, uid, by, sealed) is None:
            raise conflict(_HELD)
        more: dict[str, Any] = {"details": {"hold": True}, "phi": {"reason": given.reason}}
        await record(db, request.scope, Action.STUDY_UPDATE, "study", uid, **more)
    return Hold(study_instance_uid=uid, by=by, at=SYSTEM_CLOCK.now(), reason=given.reason)


async def list_holds(
    request: Request, response: Response, asked: Annotated[HoldSearch, Query()]
) -> Listed[Hold]:
    """List legal holds, newest first."""
    seal = parts_of(request.scope).seal

    def shown(row: Any) -> Hold:
        why = seal.open(row["sealed"], purpose=REMOVAL_PURPOSE)
        return Hold(
            study_instance_uid=row["study_instance_uid"], by=row["by"], at=row["at"], reason=why
        )

    orders = {"-at": Order(_KEYS, descending=True), "at": Order(_KEYS)}
    return await list_of(request, response, asked, Catalogue(_ALL_HOLDS, orders, shown))


async def end_hold(
    request: Request, study: Annotated[str, Path(min_length=1, max_length=64)]
) -> Response:
    """End a legal hold."""
    async with parts_of(request.scope).database.transaction() as db:
        await require_authority(db, request)
        if await db.fetchval(_END_HOLD, study) is None:
            raise ApiError(404, Code.NOT_FOUND, "There is no such hold.")
        details = {"hold": False}
        await record(db, request.scope, Action.STUDY_UPDATE, "study", study, details=details)
    return Response(status_code=204)


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
    )
    ROUTES.accept(app, restore_study, VIEW.path + "/{job}/restore")
    ROUTES.serve(app)
    app.add_api_route(
        _HOLDS, list_holds, tags=["studies"], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    app.add_api_route(
        _HOLDS,
        hold_study,
        methods=["POST"],
        status_code=201,
        tags=["studies"],
        responses=errors(400, 401, 403, 404, 409, 413, 422, 503),
    )
    app.add_api_route(
        _HOLDS + "/{study}",
        end_hold,
        methods=["DELETE"],
        status_code=204,
        tags=["studies"],
        responses=errors(401, 403, 404, 422, 503),
    )
