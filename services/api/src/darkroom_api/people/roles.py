"""Roles and permissions by REST (API-06): those that are built in stay as they are."""

import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.accounts.permissions import Permission, is_permission
from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.etags import (
    ETAG,
    IfMatch,
    IfNoneMatch,
    answer,
    named_version,
    names_one,
    unless_known,
)
from darkroom_api.http.lists import (
    LINKED,
    Catalogue,
    Listed,
    ListQuery,
    cursor_keys,
    cursor_of,
    list_of,
    set_headers,
)
from darkroom_api.http.parts import parts_of
from darkroom_api.people.administration import administration, require_all
from darkroom_common.postgres.listing import Order
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.storable import is_text

BASE: Final = "/api/v1/roles"
_ONE: Final = BASE + "/{role}"
_MOST: Final = 200
_ROLE: Final = """
    SELECT r.name AS role_name, r.title AS description, r.builtin, r.version, r.created_at,
        r.updated_at, ARRAY(SELECT p.permission FROM api.role_permission p WHERE p.role = r.name
            ORDER BY p.permission) AS permissions,
        (SELECT count(*) FROM api.user_role u WHERE u.role = r.name) AS users
    FROM api.role r
"""
_ADD: Final = (
    "INSERT INTO api.role (name, title) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true"
)
_GRANT: Final = "INSERT INTO api.role_permission (role, permission) SELECT $1, unnest($2::text[])"
_CHANGE: Final = (
    "UPDATE api.role SET title = $2, version = version + 1, updated_at = now() WHERE name = $1"
)
_STRIP: Final = "DELETE FROM api.role_permission WHERE role = $1"
_REMOVE: Final = "DELETE FROM api.role WHERE name = $1"
_KEYS: Final = {"role_name": str}
_ORDERS: Final = {"role_name": Order(_KEYS), "-role_name": Order(_KEYS, descending=True)}


def _known(text: str) -> str:
    if not is_permission(text):
        raise ValueError("there is no such permission")
    return text


def _storable(text: str) -> str:
    if not is_text(text):
        raise ValueError("it holds a character that no text may have")
    return text


PermissionName = Annotated[str, Field(max_length=100), AfterValidator(_known)]
"""`resource:action`, `resource:*` or `*`."""
RoleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,49}$")]
InPath = Annotated[str, Path(max_length=100), AfterValidator(_storable)]


class Strict(BaseModel):
    """A body in which nothing is passed over, nor repeated in an error."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class RoleChange(Strict):
    """What of a role is to be another; what is left out stays."""

    description: str | None = Field(default=None, max_length=200)
    permissions: list[PermissionName] | None = Field(default=None, max_length=_MOST)


class NewRole(Strict):
    """A role of your own."""

    role_name: RoleName
    description: str = Field(default="", max_length=200)
    permissions: list[PermissionName] = Field(max_length=_MOST)


class Role(BaseModel):
    """What a group of people may do."""

    role_name: str
    description: str
    permissions: list[str] = Field(description="`*` is every permission")
    builtin: bool = Field(description="it stays as it is")
    users: int = Field(description="that have it")
    version: int = Field(description="grows with every change")
    created_at: dt.datetime
    updated_at: dt.datetime


class PermissionInfo(BaseModel):
    """Something that one may be allowed to do."""

    permission: str
    resource: str
    action: str


class RolesQuery(ListQuery):
    """Which page of the list."""

    sort: Literal["role_name", "-role_name"] = "role_name"


class PermissionsQuery(ListQuery):
    """Which page of the list."""

    sort: Literal["permission"] = "permission"


def _shown(row: Any) -> Role:
    return Role(**dict(row))


async def list_permissions(
    request: Request, response: Response, asked: Annotated[PermissionsQuery, Query()]
) -> Listed[PermissionInfo]:
    """List all permissions that there are."""
    names = sorted(str(one) for one in Permission)
    following = names[asked.offset :]
    if asked.cursor is not None:
        (last,) = cursor_keys(asked.cursor, asked.sort, [str])
        following = [one for one in names if one > str(last)]
    shown = following[: asked.page_size]
    cursor = cursor_of(asked.sort, (shown[-1],)) if len(following) > len(shown) else None
    set_headers(request, response, asked, len(names), cursor)
    return Listed(
        data=[_permission(one) for one in shown],
        total=len(names),
        page=asked.page,
        page_size=asked.page_size,
    )


def _permission(name: str) -> PermissionInfo:
    resource, _, action = name.partition(":")
    return PermissionInfo(permission=name, resource=resource, action=action)


async def list_roles(
    request: Request, response: Response, asked: Annotated[RolesQuery, Query()]
) -> Listed[Role]:
    """List roles."""
    return await list_of(request, response, asked, Catalogue(_ROLE, _ORDERS, _shown))


async def _find(db: Connection, role: str, if_match: str | None = None) -> Role:
    """Return a role.

    Raises:
        ApiError: 404; 412, it is of another version than `If-Match` says.
    """
    row = await db.fetchrow(f"{_ROLE} WHERE r.name = $1", role)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such role.")
    if if_match is not None and not names_one(if_match, dict(row)):
        raise ApiError(412, Code.CHANGED_MEANWHILE, "This role has been changed meanwhile.")
    return _shown(row)


def _answer(role: Role, status: int = 200) -> Response:
    found = role.model_dump()
    return answer(found, status, version=named_version(found))


def _require_own(role: Role) -> None:
    if role.builtin:
        raise ApiError(409, Code.CONFLICT, "A built-in role stays as it is; make one of your own.")


async def show_role(request: Request, role: InPath, if_none_match: IfNoneMatch = None) -> Response:
    """Show a role."""
    async with parts_of(request.scope).database.acquire() as db:
        found = await _find(db, role)
    return unless_known(_answer(found), if_none_match)


async def add_role(request: Request, given: NewRole) -> Response:
    """Add a role. Nobody puts into it what they may not do."""
    permissions = sorted(set(given.permissions))
    async with administration(request) as (db, held):
        require_all(permissions, held)
        if not await db.fetchval(_ADD, given.role_name, given.description):
            raise ApiError(409, Code.CONFLICT, "There is a role of this name.")
        await db.execute(_GRANT, given.role_name, permissions)
        details = {"added": permissions}
        await record(
            db, request.scope, Action.PERMISSION_CHANGE, "role", given.role_name, details=details
        )
        added = _answer(await _find(db, given.role_name), 201)
    added.headers["location"] = f"{BASE}/{given.role_name}"
    return added


async def change_role(
    request: Request, role: InPath, given: RoleChange, if_match: IfMatch = None
) -> Response:
    """Change a role. What it allows before and after, the one who changes it may do."""
    async with administration(request) as (db, held):
        found = await _find(db, role, if_match)
        _require_own(found)
        before = set(found.permissions)
        after = before if given.permissions is None else set(given.permissions)
        require_all(before | after, held)
        description = found.description if given.description is None else given.description
        await db.execute(_CHANGE, role, description)
        await db.execute(_STRIP, role)
        await db.execute(_GRANT, role, sorted(after))
        details = {"added": sorted(after - before), "removed": sorted(before - after)}
        await record(db, request.scope, Action.PERMISSION_CHANGE, "role", role, details=details)
        return _answer(await _find(db, role))


async def remove_role(request: Request, role: InPath, if_match: IfMatch = None) -> Response:
    """Remove a role that nobody has."""
    async with administration(request) as (db, held):
        found = await _find(db, role, if_match)
        _require_own(found)
        require_all(found.permissions, held)
        if found.users:
            raise ApiError(409, Code.CONFLICT, "Somebody has this role.")
        await db.execute(_REMOVE, role)
        details = {"removed": found.permissions}
        await record(db, request.scope, Action.PERMISSION_CHANGE, "role", role, details=details)
    return Response(status_code=204)


def add(app: FastAPI) -> None:
    """Add the routes."""
    tags: Final = ["users and roles"]
    shown: Final[dict[int | str, dict[str, Any]]] = {200: {"model": Role, "headers": ETAG}}
    listed = {**LINKED, **errors(401, 403, 422, 503)}
    app.add_api_route("/api/v1/permissions", list_permissions, tags=[*tags], responses=listed)
    app.add_api_route(BASE, list_roles, tags=[*tags], responses=listed)
    app.add_api_route(
        BASE,
        add_role,
        methods=["POST"],
        status_code=201,
        response_class=Response,
        tags=[*tags],
        responses={
            201: {"model": Role, "headers": ETAG},
            **errors(400, 401, 402, 403, 409, 413, 422, 503),
        },
    )
    app.add_api_route(
        _ONE,
        show_role,
        tags=[*tags],
        response_class=Response,
        responses={**shown, **errors(401, 403, 404, 422, 503)},
    )
    app.add_api_route(
        _ONE,
        change_role,
        methods=["PATCH"],
        tags=[*tags],
        response_class=Response,
        responses={**shown, **errors(400, 401, 403, 404, 409, 413, 422, 503)},
    )
    app.add_api_route(
        _ONE,
        remove_role,
        methods=["DELETE"],
        status_code=204,
        tags=[*tags],
        responses=errors(401, 403, 404, 409, 422, 503),
    )
