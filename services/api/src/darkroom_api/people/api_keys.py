"""API keys (API-20): what a program may do in somebody's name, and until when.

A key may do what it was made for, as far as its owner may do it at that moment. It is shown once;
what is kept is a digest.
"""

import datetime as dt
import secrets
import uuid
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.accounts.accounts import hold_user
from darkroom_api.accounts.guard import KEY_PREFIX, still_holds
from darkroom_api.accounts.sessions import digest
from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code, invalid, token_invalid
from darkroom_api.http.etags import ETAG, IfMatch, IfNoneMatch, answer, names_version, unless_known
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.http.typed import Moment
from darkroom_api.people.administration import require_all, rights_of
from darkroom_api.people.roles import PermissionName, Strict
from darkroom_common.clock import utc_now
from darkroom_common.postgres.listing import Order
from darkroom_common.postgres.pool import Connection

BASE: Final = "/api/v1/api-keys"
_ONE: Final = BASE + "/{key_id}"
LONGEST: Final = dt.timedelta(days=731)
OVERLAP: Final = dt.timedelta(days=1)
LONGEST_OVERLAP: Final = dt.timedelta(days=30)
MOST: Final = 100
"""That a user has at a time."""
_SHOWN: Final = """
    SELECT id::text AS key_id, user_id::text AS of_user, name, permissions, created_at, expires_at,
        last_used_at
    FROM api.api_key WHERE revoked_at IS NULL AND expires_at > now()
"""
_ADD: Final = (
    "INSERT INTO api.api_key (user_id, name, key_hash, permissions, expires_at)"
    " VALUES ($1, $2, $3, $4, $5) RETURNING id::text AS key_id, created_at"
)
_COUNT: Final = (
    "SELECT count(*) FROM api.api_key WHERE user_id = $1 AND revoked_at IS NULL"
    " AND expires_at > now()"
)
_OWN: Final = (
    "SELECT name, permissions, expires_at FROM api.api_key WHERE id = $1 AND user_id = $2"
    " AND revoked_at IS NULL AND expires_at > now() FOR UPDATE"
)
_SHORTEN: Final = "UPDATE api.api_key SET expires_at = least(expires_at, $2) WHERE id = $1"
_REVOKE: Final = "UPDATE api.api_key SET revoked_at = now() WHERE id = $1"
_KEYS: Final = {"created_at": dt.datetime, "key_id": str}
_ORDERS: Final = {"-created_at": Order(_KEYS, descending=True), "created_at": Order(_KEYS)}
_EXPIRY: Final = Field(description=f"in the future, at most {LONGEST.days} days")


class NewKey(Strict):
    """A key to make."""

    name: str = Field(min_length=1, max_length=100, description="what it is for")
    permissions: list[PermissionName] = Field(
        min_length=1, max_length=200, description="of those that you have yourself"
    )
    expires_at: Moment = _EXPIRY


class Rotation(Strict):
    """A key to put in the place of another one."""

    expires_at: Moment = _EXPIRY
    overlap_seconds: int = Field(
        default=int(OVERLAP.total_seconds()),
        ge=0,
        le=int(LONGEST_OVERLAP.total_seconds()),
        description="for how long the former one is still good",
    )


class ApiKey(BaseModel):
    """A key of your own that is not over."""

    key_id: str
    name: str
    permissions: list[str] = Field(description="of these, it may do what you may do")
    created_at: dt.datetime
    expires_at: dt.datetime
    last_used_at: dt.datetime | None = Field(description="to about a minute")


class MadeKey(ApiKey):
    """A new key."""

    api_key: str = Field(description="`Authorization: Bearer <api_key>`; shown this once")


class KeysQuery(ListQuery):
    """Which page of the list."""

    sort: Literal["-created_at", "created_at"] = "-created_at"


def _shown(row: Any) -> ApiKey:
    return ApiKey.model_validate(dict(row))


async def list_keys(
    request: Request, response: Response, asked: Annotated[KeysQuery, Query()]
) -> Listed[ApiKey]:
    """List your own API keys."""
    own = {"of_user": str(principal_of(request.scope).user_id)}
    return await list_of(request, response, asked, Catalogue(_SHOWN, _ORDERS, _shown), own)


async def show_key(
    request: Request, key_id: uuid.UUID, if_none_match: IfNoneMatch = None
) -> Response:
    """Show one of your own API keys."""
    async with parts_of(request.scope).database.acquire() as db:
        user_id = principal_of(request.scope).user_id
        row = await db.fetchrow(f"{_SHOWN} AND id = $1 AND user_id = $2", key_id, user_id)
    if row is None:
        raise _none_such()
    return unless_known(answer(_shown(row).model_dump(), version=_version(row)), if_none_match)


def _version(row: Any) -> str:
    """Return what `If-Match` looks at: until when it is good is all that changes of a key."""
    return f"{int(row['expires_at'].timestamp() * 1_000_000):x}"


def _none_such() -> ApiError:
    return ApiError(404, Code.NOT_FOUND, "You have no such key.")


def _until(expires_at: dt.datetime) -> dt.datetime:
    if not dt.timedelta(0) < expires_at - utc_now() <= LONGEST:
        raise invalid("body.expires_at", f"It is in the future, at most {LONGEST.days} days.")
    return expires_at.astimezone(dt.UTC)


async def _own_rights(db: Connection, request: Request) -> frozenset[str]:
    """Return what who asks may do, and keep two requests of theirs apart.

    Raises:
        ApiError: 401, the session or the account has ended meanwhile.
    """
    principal = principal_of(request.scope)
    if not await hold_user(db, principal.user_id) or not await still_holds(db, principal):
        parts_of(request.scope).guard.forget()
        raise token_invalid()
    return await rights_of(db, principal.user_id)


async def _make(db: Connection, request: Request, name: str, given: dict[str, Any]) -> MadeKey:
    user_id = principal_of(request.scope).user_id
    if await db.fetchval(_COUNT, user_id) >= MOST:
        raise ApiError(409, Code.CONFLICT, f"You have {MOST} keys; remove one first.")
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    row = await db.fetchrow(
        _ADD, user_id, name, digest(key), given["permissions"], given["expires_at"]
    )
    return MadeKey(name=name, **given, **dict(row or {}), last_used_at=None, api_key=key)


async def _told(db: Connection, request: Request, key_id: str, **details: Any) -> None:
    await record(db, request.scope, Action.USER_UPDATE, "api_key", key_id, details=details)


async def add_key(request: Request, response: Response, given: NewKey) -> MadeKey:
    """Make an API key that may do some of what you may do."""
    wanted = {"permissions": sorted(set(given.permissions)), "expires_at": _until(given.expires_at)}
    async with parts_of(request.scope).database.transaction() as db:
        require_all(given.permissions, await _own_rights(db, request))
        made = await _make(db, request, given.name, wanted)
        await _told(db, request, made.key_id, made=made.permissions, until=made.expires_at)
    response.headers["location"] = f"{BASE}/{made.key_id}"
    return made


async def _own(db: Connection, request: Request, key_id: uuid.UUID, if_match: str | None) -> Any:
    row = await db.fetchrow(_OWN, key_id, principal_of(request.scope).user_id)
    if row is None:
        raise _none_such()
    if if_match is not None and not names_version(if_match, _version(row)):
        raise ApiError(412, Code.CHANGED_MEANWHILE, "It has been changed meanwhile.")
    return row


async def rotate_key(
    request: Request, key_id: uuid.UUID, given: Rotation, if_match: IfMatch = None
) -> MadeKey:
    """Make a key in the place of another one, which is good for a while longer."""
    expires_at, now = _until(given.expires_at), utc_now()
    async with parts_of(request.scope).database.transaction() as db:
        held = await _own_rights(db, request)
        former = await _own(db, request, key_id, if_match)
        require_all(former["permissions"], held)
        wanted = {"permissions": former["permissions"], "expires_at": expires_at}
        made = await _make(db, request, former["name"], wanted)
        await db.execute(_SHORTEN, key_id, now + dt.timedelta(seconds=given.overlap_seconds))
        await _told(db, request, made.key_id, in_place_of=str(key_id), until=expires_at)
    parts_of(request.scope).guard.forget()
    return made


async def remove_key(request: Request, key_id: uuid.UUID, if_match: IfMatch = None) -> Response:
    """Revoke one of your own API keys."""
    async with parts_of(request.scope).database.transaction() as db:
        await _own(db, request, key_id, if_match)
        await db.execute(_REVOKE, key_id)
        await _told(db, request, str(key_id), revoked=True)
    parts_of(request.scope).guard.forget()
    return Response(status_code=204)


def add(app: FastAPI) -> None:
    """Add the routes."""
    tags: Final = ["API keys"]
    refused = errors(400, 401, 403, 409, 413, 422, 503)
    app.add_api_route(
        BASE, list_keys, tags=[*tags], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    for path, endpoint, more in (
        (BASE, add_key, errors(402)),
        (_ONE + "/rotate", rotate_key, errors(404, 412)),
    ):
        app.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            status_code=201,
            tags=[*tags],
            responses={**refused, **more},
        )
    app.add_api_route(
        _ONE,
        show_key,
        tags=[*tags],
        response_class=Response,
        responses={200: {"model": ApiKey, "headers": ETAG}, **errors(401, 403, 404, 422, 503)},
    )
    app.add_api_route(
        _ONE,
        remove_key,
        methods=["DELETE"],
        status_code=204,
        tags=[*tags],
        responses=errors(401, 403, 404, 412, 422, 503),
    )
