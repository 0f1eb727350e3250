"""What was refused and is kept, of every spool: list, show, release, discard (ING-10)."""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.asking import ask
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.etags import ETAG, IfMatch, IfNoneMatch, answer, names_version, unless_known
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.http.typed import typed
from darkroom_api.jobs.acts import KEY, act_of
from darkroom_common.messages.base import ReceiptId
from darkroom_common.messages.requests import ActOnQuarantined
from darkroom_common.postgres.listing import Key, Order
from darkroom_common.postgres.pool import Connection
from darkroom_common.readers.ingest import QUARANTINED
from darkroom_common.specs.base import strict

_BASE: Final = "/api/v1/quarantine"
_ONE: Final = _BASE + "/{quarantine_id}"
_TAG: Final = "quarantine"
_RESOURCE: Final = "quarantine"
_KEYS: Final[dict[str, type[Key]]] = {"received_at": dt.datetime, "quarantine_id": str}
_ORDERS: Final = {"-received_at": Order(_KEYS, descending=True), "received_at": Order(_KEYS)}
_FIND: Final = QUARANTINED + " WHERE q.receipt = $1"
State = Literal["HELD", "RELEASING", "DISCARDING", "RELEASED", "DISCARDED", "GONE"]


class Quarantined(BaseModel):
    """An object that was refused; its bytes are kept."""

    quarantine_id: str
    reason: str = Field(description="a word of docs/operations.md")
    status: str = Field(description="that the sender got")
    received_at: dt.datetime
    size: int = Field(description="bytes of its file")
    position: int | None = Field(description="byte of the data set where it breaks")
    calling_ae_title: str
    sop_class_uid: str
    transfer_syntax_uid: str
    state: State = Field(description="GONE: a command has released or discarded it")
    forced: bool = Field(description="is released as it is, if it can be")
    result: str = Field(description="why it was not released when that was asked for last")
    is_reachable: bool = Field(description="whether the ingest runs whose spool has it")
    version: int
    changed_by: str
    changed_at: dt.datetime


class QuarantineSearch(ListQuery):
    """What the list is narrowed by."""

    sort: Literal["-received_at", "received_at"] = "-received_at"
    state: State | None = None
    reason: str | None = Field(default=None, max_length=64)
    calling_ae_title: str | None = Field(default=None, max_length=16)


@strict
class Release(BaseModel):
    """How to release it."""

    force: StrictBool = Field(
        default=False, description="accept it as it is, if its UIDs can be told"
    )


@strict
class Discard(BaseModel):
    """Nothing is to be said of it."""


_LIST: Final = Catalogue(QUARANTINED, _ORDERS, lambda row: Quarantined.model_validate(dict(row)))


async def list_quarantine(
    request: Request, response: Response, asked: Annotated[QuarantineSearch, Query()]
) -> Listed[Quarantined]:
    """List what was refused, newest first."""
    return await list_of(request, response, asked, _LIST)


async def show_quarantined(
    request: Request, quarantine_id: ReceiptId, if_none_match: IfNoneMatch = None
) -> Response:
    """Show why an object was refused, and what becomes of it."""
    async with parts_of(request.scope).database.transaction() as db:
        found = await _found(db, quarantine_id)
        await record(db, request.scope, Action.QUARANTINE_READ, _RESOURCE, quarantine_id)
    return unless_known(answer(found), if_none_match)


async def _found(db: Connection, quarantine_id: str) -> dict[str, Any]:
    row = await db.fetchrow(_FIND, quarantine_id)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "Nothing in quarantine has this id.")
    return Quarantined.model_validate(dict(row)).model_dump()


def _acting(word: Literal["release", "discard"], action: Action) -> Callable[..., Awaitable[Any]]:
    async def act(
        request: Request, quarantine_id: ReceiptId, given: Any = None, if_match: IfMatch = None
    ) -> Response:
        database = parts_of(request.scope).database
        async with database.acquire() as db:
            found = await _found(db, quarantine_id)
        stale = if_match is not None and not names_version(if_match, found["version"])
        force = given is not None and getattr(given, "force", False)
        message = ActOnQuarantined(
            receipt=quarantine_id,
            action=word,
            force=force,
            version=None if if_match is None else found["version"],
            requested_by=principal_of(request.scope).username[:64],
        )
        told = {"reason": found["reason"], "calling_ae_title": found["calling_ae_title"]}
        # Before it is asked for: what cannot be kept is not done.
        async with database.transaction() as db:
            made = await act_of(db, request, given, said=str(found["version"]))
            # Asked for before: once more when nobody knows whether it has got as far as ingest.
            if made.said is not None and (found["state"], str(found["version"])) != (
                "HELD",
                made.said,
            ):
                return answer(found, 202)
            if stale:
                raise ApiError(412, Code.CHANGED_MEANWHILE, "It has been changed meanwhile.")
            details = {**told, "force": force}
            await record(db, request.scope, action, _RESOURCE, quarantine_id, details=details)
        try:
            await ask(request.scope, message)
        except ApiError:
            async with database.acquire() as db:
                await made.forget(db)
            raise
        async with database.acquire() as db:
            return answer(await _found(db, quarantine_id), 202)

    return act


def add(app: FastAPI) -> None:
    """Add the routes."""
    shown: dict[str, Any] = {"model": Quarantined, "headers": ETAG}
    app.add_api_route(
        _BASE, list_quarantine, tags=[_TAG], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    app.add_api_route(
        _ONE,
        show_quarantined,
        tags=[_TAG],
        response_class=Response,
        responses={200: shown, **errors(401, 403, 404, 422, 503)},
    )
    app.add_api_route(
        f"{_ONE}/release",
        typed(_acting("release", Action.QUARANTINE_RELEASE), {"given": Release | None}),
        methods=["POST"],
        name="release_quarantined",
        description="Have it checked again, and accepted if it can be; ask for its state.",
        status_code=202,
        tags=[_TAG],
        response_class=Response,
        responses={202: shown, **errors(401, 403, 404, 409, 413, 422, 500, 503)},
        openapi_extra=KEY,
    )
    app.add_api_route(
        f"{_ONE}/discard",
        typed(_acting("discard", Action.QUARANTINE_DISCARD), {"given": Discard | None}),
        methods=["POST"],
        name="discard_quarantined",
        description="Have it deleted for good.",
        status_code=202,
        tags=[_TAG],
        response_class=Response,
        responses={202: shown, **errors(401, 403, 404, 409, 413, 422, 500, 503)},
        openapi_extra=KEY,
    )
