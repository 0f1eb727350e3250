"""The modality worklist: scheduled procedure steps, kept here and told to modalities (ING-13)."""

import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Path
from fastapi import Query as Parameter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.etags import ETAG, IfMatch, IfNoneMatch, answer, names_version, unless_known
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.acts import KEY, act_of, kept_unless_refused
from darkroom_api.remote.query import asked
from darkroom_common.messages.base import MessageId, Uid, new_message_id
from darkroom_common.messages.requests import (
    AddWorklistEntry,
    ChangeWorklistEntry,
    RemoveWorklistEntry,
)
from darkroom_common.postgres.listing import Key, Order
from darkroom_common.readers import ingest
from darkroom_common.seal import Seal
from darkroom_common.specs.base import as_spec, strict
from darkroom_common.specs.remote import Code as Coded
from darkroom_common.specs.worklist.entries import (
    ENTRY_PURPOSE,
    STEP_PURPOSE,
    StepState,
    WorklistEntry,
)

BASE: Final = "/api/v1/worklist"
PERFORMED: Final = "/api/v1/performed-steps"
_DONE: Final = "+"
"""What stands after the id of an entry that was added with an `Idempotency-Key`."""
_KEYS: Final[dict[str, type[Key]]] = {"scheduled_at": dt.datetime, "id": str}
_ORDERS: Final = {"scheduled_at": Order(_KEYS), "-scheduled_at": Order(_KEYS, descending=True)}
_STEP_KEYS: Final[dict[str, type[Key]]] = {"created_at": dt.datetime, "sop_instance_uid": str}
_STEP_ORDERS: Final = {
    "-created_at": Order(_STEP_KEYS, descending=True),
    "created_at": Order(_STEP_KEYS),
}
EntryId = Annotated[MessageId, Path(description="of an entry of the worklist")]


@strict
class EntryGiven(WorklistEntry):
    """A scheduled procedure step."""


class Entry(WorklistEntry):
    """An entry as it is kept."""

    id: str
    version: int
    source: Literal["rest", "hl7", "file"]
    requested_by: str
    created_at: dt.datetime
    updated_at: dt.datetime


class EntrySearch(ListQuery):
    """What the list is narrowed by."""

    sort: Literal["scheduled_at", "-scheduled_at"] = "scheduled_at"
    state: StepState | None = None
    modality: Coded | None = None
    study_instance_uid: Uid | None = None
    source: Literal["rest", "hl7", "file"] | None = None


class PerformedStep(BaseModel):
    """A performed procedure step that a modality has told of (MPPS)."""

    sop_instance_uid: str
    version: int
    state: Literal["IN PROGRESS", "COMPLETED", "DISCONTINUED"]
    calling_ae_title: str
    station_ae_title: str
    modality: str
    study_instance_uids: list[str]
    entries: list[str] = Field(description="of the worklist that it performs")
    created_at: dt.datetime
    updated_at: dt.datetime


class PerformedStepDetail(PerformedStep):
    """A performed step with its attributes as DICOM JSON."""

    attributes: dict[str, Any]


class PerformedSearch(ListQuery):
    """What the list is narrowed by."""

    sort: Literal["-created_at", "created_at"] = "-created_at"
    state: Literal["IN PROGRESS", "COMPLETED", "DISCONTINUED"] | None = None
    calling_ae_title: str | None = Field(default=None, max_length=16)


def _entry(seal: Seal, row: Any) -> Entry:
    given = seal.open(row["sealed"], purpose=ENTRY_PURPOSE)
    kept = {
        name: row[name]
        for name in ("id", "version", "state", "source", "requested_by", "created_at", "updated_at")
    }
    return Entry.model_validate(given | kept)


async def list_entries(
    request: Request, response: Response, given: Annotated[EntrySearch, Parameter()]
) -> Listed[Entry]:
    """List scheduled procedure steps by their start."""
    seal = parts_of(request.scope).seal
    catalogue = Catalogue(ingest.ENTRIES, _ORDERS, lambda row: _entry(seal, row))
    return await list_of(request, response, given, catalogue)


async def show_entry(
    request: Request, entry: EntryId, if_none_match: IfNoneMatch = None
) -> Response:
    """Show a scheduled procedure step."""
    return unless_known(answer(await _current(request, entry)), if_none_match)


async def _current(request: Request, entry: str) -> dict[str, Any]:
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        row = await ingest.worklist_entry(db, entry)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such entry of the worklist.")
    return _entry(parts.seal, row).model_dump(mode="json")


async def add_entry(request: Request, given: EntryGiven) -> Response:
    """Schedule a procedure step: modalities find it from now on."""
    made = await _added(request, given)
    created = answer(await _current(request, made), 201)
    created.headers["location"] = f"{BASE}/{made}"
    return created


async def _added(request: Request, given: EntryGiven) -> str:
    """Have an entry added, or find the one that the same request has added before."""
    database, chosen = parts_of(request.scope).database, new_message_id()
    async with database.transaction() as db:
        act = await act_of(db, request, given, said=chosen)
    if act.said is not None and act.said.endswith(_DONE):
        return act.said.removesuffix(_DONE)
    content = as_spec(WorklistEntry, given)
    async with kept_unless_refused(act):
        reply, _ = await asked(request, AddWorklistEntry, content, entry_id=act.said or chosen)
    made = str(reply.body["entry_id"])
    async with database.acquire() as db:
        await act.say(db, made + _DONE)
    return made


async def change_entry(
    request: Request, entry: EntryId, given: EntryGiven, if_match: IfMatch = None
) -> Response:
    """Put an entry in the place of what it was; identifiers that are left out stay."""
    version = await _version(request, entry, if_match)
    content = as_spec(WorklistEntry, given)
    await asked(request, ChangeWorklistEntry, content, entry_id=entry, version=version)
    return answer(await _current(request, entry))


async def remove_entry(request: Request, entry: EntryId, if_match: IfMatch = None) -> Response:
    """Take an entry out of the worklist."""
    version = await _version(request, entry, if_match)
    by = principal_of(request.scope).username[:64]
    message = RemoveWorklistEntry(entry_id=entry, version=version, requested_by=by)
    await ask(request.scope, message)
    return Response(status_code=204)


async def _version(request: Request, entry: str, if_match: str | None) -> int | None:
    if if_match is None:
        return None
    version = int((await _current(request, entry))["version"])
    if not names_version(if_match, version):
        raise ApiError(412, Code.CHANGED_MEANWHILE, "It has been changed meanwhile.")
    return version


_PERFORMED: Final = Catalogue(
    ingest.PERFORMED, _STEP_ORDERS, lambda row: PerformedStep.model_validate(dict(row))
)


async def list_performed(
    request: Request, response: Response, given: Annotated[PerformedSearch, Parameter()]
) -> Listed[PerformedStep]:
    """List what modalities have told of their steps, newest first."""
    return await list_of(request, response, given, _PERFORMED)


async def show_performed(
    request: Request, step: Uid, if_none_match: IfNoneMatch = None
) -> Response:
    """Show a performed step with its attributes."""
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        row = await ingest.performed_step(db, step)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such performed step.")
    attributes = parts.seal.open(row["sealed"], purpose=STEP_PURPOSE)
    shown = PerformedStepDetail.model_validate({**dict(row), "attributes": attributes})
    return unless_known(answer(shown.model_dump(mode="json")), if_none_match)


def add(app: FastAPI) -> None:
    """Add the routes."""
    tags, one = ["worklist"], f"{BASE}/{{entry}}"
    writing = errors(400, 401, 403, 404, 409, 412, 413, 422, 500, 503)
    listing = {**LINKED, **errors(401, 403, 422, 503)}
    found = {200: {"headers": ETAG}, **errors(401, 403, 404, 422, 503)}
    app.add_api_route(BASE, list_entries, tags=[*tags], responses=listing)
    app.add_api_route(
        BASE,
        add_entry,
        methods=["POST"],
        status_code=201,
        response_model=Entry,
        tags=[*tags],
        responses={**writing, 201: {"headers": ETAG}},
        openapi_extra=KEY,
    )
    app.add_api_route(one, show_entry, response_model=Entry, tags=[*tags], responses=found)
    app.add_api_route(
        one,
        change_entry,
        methods=["PUT"],
        response_model=Entry,
        tags=[*tags],
        responses={**writing, 200: {"headers": ETAG}},
    )
    app.add_api_route(
        one,
        remove_entry,
        methods=["DELETE"],
        status_code=204,
        response_class=Response,
        tags=[*tags],
        responses=writing,
    )
    app.add_api_route(PERFORMED, list_performed, tags=[*tags], responses=listing)
    app.add_api_route(
        f"{PERFORMED}/{{step}}",
        show_performed,
        response_model=PerformedStepDetail,
        tags=[*tags],
        responses=found,
    )
