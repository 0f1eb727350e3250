"""The list of trouble, and what an operator does about it (MET-06, STO-03)."""

import datetime as dt
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Final, Literal, get_args

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.accounts.permissions import Permission, allows
from darkroom_api.conflicts.shown import Detail, Listed, detail
from darkroom_api.dicomweb.retrieving.streaming import DICOM, stored_chunks
from darkroom_api.http.documented import body, errors
from darkroom_api.http.errors import ApiError, Code, invalid
from darkroom_api.http.etags import ETAG, IfMatch, IfNoneMatch, answer, names_version, unless_known
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Catalogue, JobsQuery, ListQuery, list_of
from darkroom_api.http.lists import Listed as Page
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import begin
from darkroom_api.http.typed import typed
from darkroom_api.jobs.accepted import Accepted, JobView, accept
from darkroom_api.jobs.routes import JobRoutes
from darkroom_common.index.conflicts import (
    CONFLICTS,
    RESOLUTIONS,
    Conflict,
    conflict_object,
    patient_is_known,
)
from darkroom_common.messages.base import ConflictId, Uid, new_message_id
from darkroom_common.messages.commands import ResolveConflict
from darkroom_common.messages.events import ConflictKind, ConflictState
from darkroom_common.postgres.listing import Order
from darkroom_common.postgres.pool import Database
from darkroom_common.specs.base import strict
from darkroom_common.specs.conflicts import (
    PURPOSE,
    Action,
    Decision,
    PatientText,
    Why,
    Words,
    refusal,
)

_BASE: Final = "/api/v1/conflicts"
_ONE: Final = _BASE + "/{conflict}"
_TAG: Final = "conflicts"
_KEYS: Final = {"received_at": dt.datetime, "number": int}
_ORDERS: Final = {"-received_at": Order(_KEYS, descending=True), "received_at": Order(_KEYS)}
VIEW: Final = JobView(
    name="resolution",
    path="/api/v1/conflict-decisions",
    table="index.resolution",
    owned=RESOLUTIONS,
    shown="a.job_id, a.command ->> 'conflict_id', a.command ->> 'action', a.state, a.reason, 0, 0,"
    " a.requested_by, NULL, a.created_at, a.updated_at, a.finished_at",
)

_UNDER_WAY: Final = (
    "SELECT EXISTS (SELECT FROM ({}) AS jobs WHERE conflict_id = $1 AND finished_at IS NULL)"
)


class DecisionJob(BaseModel):
    """A decision, and how far it is carried out."""

    job_id: str
    conflict_id: str
    action: Action
    state: Literal["ACCEPTED", "PENDING", "RESOLVING", "RETRYING", "DONE", "FAILED", "CANCELLED"]
    reason: str = Field(description="why it has failed; empty when all is well")
    instances: int = Field(description="that it has changed so far")
    attempts: int
    requested_by: str
    next_at: dt.datetime | None = Field(description="when it is tried next")
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None


class DecisionSearch(JobsQuery):
    """What the list is narrowed by."""

    state: (
        Literal["ACCEPTED", "PENDING", "RESOLVING", "RETRYING", "DONE", "FAILED", "CANCELLED"]
        | None
    ) = None
    conflict_id: ConflictId | None = None


class ConflictSearch(ListQuery):
    """What the list is narrowed by."""

    sort: Literal["-received_at", "received_at"] = "-received_at"
    kind: ConflictKind | None = None
    state: ConflictState | None = None
    study_instance_uid: Uid | None = Field(default=None, description="of what disagrees")


@strict
class Reason(Why):
    """Why; nobody has to say."""


@strict
class Discard(Why):
    """Why it is not wanted."""

    reason: Words = Field(min_length=1)


@strict
class Move(Decision):
    """To whom, and why."""

    patient_id: PatientText = Field(min_length=1, description="of a patient whom the index knows")


_BODIES: Final[dict[str, type[Why]]] = {"discard": Discard, "move": Move}
_TEXTS: Final[dict[str, str]] = {
    "promote": "Put its bytes in force; the former ones are kept in the conflict.",
    "discard": "Have its bytes deleted, after a while.",
    "keep": "Leave both as they are.",
    "merge": "Correct what disagrees to what was first: its patient, its study or its modality.",
    "move": "Correct the patient of what disagrees to another one.",
    "split": "Give what disagrees a study or a series of its own.",
}


async def list_conflicts(
    request: Request, response: Response, asked: Annotated[ConflictSearch, Query()]
) -> Page[Listed]:
    """List conflicts, newest first."""
    catalogue = Catalogue(CONFLICTS, _ORDERS, lambda row: Listed.model_validate(dict(row)))
    return await list_of(request, response, asked, catalogue)


async def _find(request: Request, conflict: str) -> Conflict:
    found = await parts_of(request.scope).reader.conflict(int(conflict))
    if found is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such conflict.")
    return found


async def show_conflict(
    request: Request, conflict: ConflictId, if_none_match: IfNoneMatch = None
) -> Response:
    """Show both sides of a conflict and what differs, as far as one may see it."""
    found = await _find(request, conflict)
    may_read = allows(Permission.STUDIES_READ, principal_of(request.scope).permissions)
    shown = detail(found, partial(_why, request) if may_read else None)
    return unless_known(answer(shown.model_dump()), if_none_match)


def _why(request: Request, sealed: str) -> str:
    if not sealed:
        return ""
    given = parts_of(request.scope).seal.open(sealed, purpose=PURPOSE)
    return Decision.model_validate(given).reason


async def fetch_object(request: Request, conflict: ConflictId) -> Response:
    """Fetch the object of a conflict, byte for byte as it is stored."""
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        found = await conflict_object(db, int(conflict))
    if found is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such conflict.")
    if found["removed_at"] is not None:
        raise ApiError(404, Code.NOT_FOUND, "Its object has been deleted.")
    size = await parts.store.size(found["object_key"])
    chunks = await begin(stored_chunks(parts.store, found["object_key"], size))
    headers = {
        "content-type": DICOM,
        "content-length": str(size),
        "content-disposition": f'attachment; filename="conflict-{conflict}.dcm"',
    }
    return StreamingResponse(chunks, headers=headers)


async def _command(
    request: Request, conflict: str, action: Action, given: Why, if_match: str | None
) -> ResolveConflict:
    """Return the command, unless metadata would refuse it."""
    found = await _find(request, conflict)
    row = found.row
    if if_match is not None and not names_version(if_match, row["version"]):
        raise ApiError(412, Code.CHANGED_MEANWHILE, "This conflict has been changed meanwhile.")
    parts = parts_of(request.scope)
    why = refusal(row["kind"], row["state"], action, seen=if_match is not None)
    if not why and await _is_decided(parts.database, conflict):
        why = "somebody has asked for something else with it, which is not done yet"
    if why:
        raise ApiError(409, Code.CONFLICT, f"{why[0].upper()}{why[1:]}.")
    said = Decision.model_validate(given.model_dump())
    if action == "move":
        text = f"{said.issuer_of_patient_id}\x1f{said.patient_id}"
        async with parts.database.acquire() as db:
            known = await patient_is_known(db, parts.blind.token("patient", "value", text))
        if not known:
            raise invalid("body.patient_id", "The index knows no such patient.")
    sealed = parts.seal.seal(said.model_dump(), purpose=PURPOSE) if said != Decision() else ""
    return ResolveConflict(
        job_id=new_message_id(),
        conflict_id=conflict,
        action=action,
        version=row["version"],
        requested_by=principal_of(request.scope).username[:64],
        sealed=sealed,
    )


async def _is_decided(database: Database, conflict: str) -> bool:
    """Tell whether a decision about a conflict is under way: metadata takes one at a time."""
    async with database.acquire() as db:
        found: bool = await db.fetchval(_UNDER_WAY.format(VIEW.source), conflict)
    return found


def _deciding(action: Action) -> Callable[..., Awaitable[Accepted]]:
    async def decide(
        request: Request,
        response: Response,
        conflict: ConflictId,
        given: Any,
        if_match: IfMatch = None,
    ) -> Accepted:
        command = partial(_command, request, conflict, action, given, if_match)
        return await accept(request, response, VIEW, given, command)

    return decide


ROUTES: Final = JobRoutes(
    VIEW,
    _TAG,
    DecisionJob,
    DecisionSearch,
    None,
    {"cancel": "Withdraw a decision that has not gone out yet."},
)


def add(app: FastAPI) -> None:
    """Add the routes."""
    app.add_api_route(
        _BASE, list_conflicts, tags=[_TAG], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    shown: dict[int | str, dict[str, Any]] = {200: {"model": Detail, "headers": ETAG}}
    app.add_api_route(
        _ONE,
        show_conflict,
        tags=[_TAG],
        response_class=Response,
        responses={**errors(401, 403, 404, 422, 503), **shown},
    )
    app.add_api_route(
        _ONE + "/object",
        fetch_object,
        tags=[_TAG],
        response_class=Response,
        responses={**body("The object as it is stored.", DICOM), **errors(401, 403, 404, 422, 503)},
    )
    for action in get_args(Action):
        endpoint = typed(_deciding(action), {"given": _BODIES.get(action, Reason)})
        endpoint.__name__, endpoint.__doc__ = f"{action}_conflict", _TEXTS[action]
        ROUTES.accept(app, endpoint, f"{_ONE}/{action}")
    ROUTES.serve(app)
