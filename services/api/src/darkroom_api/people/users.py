"""Users by REST (API-06). Who is removed is deactivated: what they did keeps their name."""

import datetime as dt
import uuid
from typing import Annotated, Any, Final, Literal

import asyncpg
from fastapi import FastAPI, Query
from pydantic import AfterValidator, BaseModel, Field, SecretStr, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.accounts import sessions
from darkroom_api.accounts.accounts import is_seen, name_key
from darkroom_api.accounts.passwords import IN_LINE_SECONDS
from darkroom_api.accounts.policy import LONGEST, SHORTEST, faults_of
from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code, invalid, unfit
from darkroom_api.http.etags import ETAG, IfMatch, IfNoneMatch, answer, names_version, unless_known
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.licence.decision import USERS
from darkroom_api.licence.standing import require_room
from darkroom_api.mail import address
from darkroom_api.people.administration import administration, require_all, rights_of
from darkroom_api.people.roles import Strict
from darkroom_common.postgres.listing import Order
from darkroom_common.postgres.pool import Connection

BASE: Final = "/api/v1/users"
_ONE: Final = BASE + "/{user_id}"
_MOST_ROLES: Final = 50
_SHOWN: Final = """
    SELECT u.id::text AS user_id, u.username, u.full_name, u.email, u.active AS is_active,
        u.created_at, u.updated_at, u.last_login_at AS last_login, u.version, w.roles,
        EXISTS (SELECT FROM api.totp t WHERE t.user_id = u.id AND t.confirmed_at IS NOT NULL)
            AS second_factor,
        EXISTS (SELECT FROM api.identity i WHERE i.user_id = u.id) AS signs_in_elsewhere
    FROM api.app_user u JOIN api.user_rights w ON w.user_id = u.id
"""
_ADD: Final = (
    "INSERT INTO api.app_user (username, username_key, password_hash, full_name, email, active)"
    " VALUES ($1, $2, $3, $4, $5, $6) RETURNING id"
)
_CHANGE: Final = (
    "UPDATE api.app_user SET username = $2, username_key = $3, full_name = $4, email = $5,"
    " active = $6, version = version + 1, updated_at = now() WHERE id = $1"
)
_NEW_HASH: Final = (
    "UPDATE api.app_user SET password_hash = $2, password_changed_at = now() WHERE id = $1"
)
_RIGHTS_OF_ROLES: Final = "SELECT permission FROM api.role_permission WHERE role = ANY($1::text[])"
_KNOWN_ROLES: Final = "SELECT name FROM api.role WHERE name = ANY($1::text[])"
_TAKE_ROLES: Final = "DELETE FROM api.user_role WHERE user_id = $1 AND NOT role = ANY($2::text[])"
_GIVE_ROLES: Final = (
    "INSERT INTO api.user_role (user_id, role) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING"
)
_END_KEYS: Final = (
    "UPDATE api.api_key SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL"
)
_BY_NAME: Final = {"username": str, "user_id": str}
_BY_TIME: Final = {"created_at": dt.datetime, "user_id": str}
_ORDERS: Final = {
    "username": Order(_BY_NAME),
    "-username": Order(_BY_NAME, descending=True),
    "created_at": Order(_BY_TIME),
    "-created_at": Order(_BY_TIME, descending=True),
}


def _name(text: str) -> str:
    if name_key(text) != name_key(text.strip()) or text != text.strip() or not name_key(text):
        raise ValueError("it begins or ends with a space, or has no character that counts")
    if not is_seen(text):
        raise ValueError("it holds a character that cannot be seen")
    return text


def _address(text: str) -> str:
    if not address.is_address(text):
        raise ValueError("its part before the @ is too long")
    return text


Username = Annotated[str, Field(min_length=1, max_length=150), AfterValidator(_name)]
Email = Annotated[
    str, Field(max_length=address.LONGEST, pattern=address.ADDRESS), AfterValidator(_address)
]
FullName = Annotated[str, Field(max_length=200)]
Roles = Annotated[list[Annotated[str, Field(max_length=50)]], Field(max_length=_MOST_ROLES)]
NewPassword = Annotated[
    SecretStr,
    Field(
        max_length=1024,
        description=f"{SHORTEST} to {LONGEST} characters, among them an upper-case and a lower-case"
        " letter, a digit and another one",
    ),
]


class NewUser(Strict):
    """Somebody new."""

    username: Username
    email: Email
    full_name: FullName
    password: NewPassword
    roles: Roles = Field(default_factory=list)
    is_active: StrictBool = True


class UserChange(Strict):
    """What is to be another; what is left out stays."""

    username: Username | None = None
    email: Email | None = None
    full_name: FullName | None = None
    password: NewPassword | None = Field(default=None, description="all their sessions end")
    roles: Roles | None = None
    is_active: StrictBool | None = Field(
        default=None, description="false: all their sessions and API keys end"
    )


class UserItem(BaseModel):
    """Somebody who may sign in, or might once."""

    user_id: str
    username: str
    full_name: str
    email: str
    is_active: bool
    roles: list[str]
    second_factor: bool
    signs_in_elsewhere: bool = Field(description="by OpenID Connect; groups there say the roles")
    created_at: dt.datetime
    updated_at: dt.datetime
    last_login: dt.datetime | None
    version: int = Field(description="grows with every change")


class UsersQuery(ListQuery):
    """Which page of the list."""

    sort: Literal["username", "-username", "created_at", "-created_at"] = "username"


def _shown(row: Any) -> UserItem:
    return UserItem(**dict(row))


async def list_users(
    request: Request, response: Response, asked: Annotated[UsersQuery, Query()]
) -> Listed[UserItem]:
    """List users, also those who were deactivated."""
    return await list_of(request, response, asked, Catalogue(_SHOWN, _ORDERS, _shown))


async def find_user(db: Connection, user_id: uuid.UUID, if_match: str | None = None) -> UserItem:
    """Return a user.

    Raises:
        ApiError: 404; 412, it is of another version than `If-Match` says.
    """
    row = await db.fetchrow(f"{_SHOWN} WHERE u.id = $1", user_id)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such user.")
    if if_match is not None and not names_version(if_match, row["version"]):
        raise ApiError(412, Code.CHANGED_MEANWHILE, "This user has been changed meanwhile.")
    return _shown(row)


async def show_user(
    request: Request, user_id: uuid.UUID, if_none_match: IfNoneMatch = None
) -> Response:
    """Show a user."""
    async with parts_of(request.scope).database.acquire() as db:
        found = await find_user(db, user_id)
    return unless_known(answer(found.model_dump()), if_none_match)


async def _hash_of(request: Request, given: NewUser | UserChange, *names: str) -> str | None:
    """Return the hash of a new password; None when none is given.

    Raises:
        ApiError: 422, it is not what a password must be.
    """
    if given.password is None:
        return None
    wait_for_another(request.scope, IN_LINE_SECONDS)
    password = given.password.get_secret_value()
    faults = faults_of(password, *names)
    if faults:
        raise unfit(*(("body.password", fault) for fault in faults))
    return await parts_of(request.scope).accounts.passwords.hash(password)


async def _give(db: Connection, user_id: uuid.UUID, roles: list[str], held: frozenset[str]) -> None:
    """Let a user have these roles and no others.

    Raises:
        ApiError: 422, there is no such role; 403, it allows more than who asks may do.
    """
    known = {row["name"] for row in await db.fetch(_KNOWN_ROLES, roles)}
    if known != set(roles):
        raise invalid("body.roles", "There is no such role.")
    rows = await db.fetch(_RIGHTS_OF_ROLES, roles)
    require_all((row["permission"] for row in rows), held)
    await db.execute(_TAKE_ROLES, user_id, roles)
    await db.execute(_GIVE_ROLES, user_id, roles)


def _taken(error: asyncpg.UniqueViolationError) -> ApiError:
    which = "e-mail address" if error.constraint_name == "app_user_email" else "name"
    return ApiError(409, Code.CONFLICT, f"Somebody else has this {which}.")


async def add_user(request: Request, given: NewUser) -> Response:
    """Add a user. Nobody gives a role that allows more than they may do."""
    names = (given.username, given.email.partition("@")[0])
    password_hash = await _hash_of(request, given, *names)
    async with administration(request) as (db, held):
        if given.is_active:
            await require_room(db, USERS)
        try:
            user_id = await db.fetchval(
                _ADD,
                given.username,
                name_key(given.username),
                password_hash,
                given.full_name,
                given.email,
                given.is_active,
            )
        except asyncpg.UniqueViolationError as error:
            raise _taken(error) from None
        await _give(db, user_id, given.roles, held)
        found = await find_user(db, user_id)
        details = {"username": given.username, "roles": found.roles}
        await record(db, request.scope, Action.USER_CREATE, "user", found.user_id, details=details)
    added = answer(found.model_dump(), 201)
    added.headers["location"] = f"{BASE}/{found.user_id}"
    return added


async def change_user(
    request: Request, user_id: uuid.UUID, given: UserChange, if_match: IfMatch = None
) -> Response:
    """Change a user who may do no more than the one who asks, before and after."""
    parts = parts_of(request.scope)
    async with parts.database.acquire() as db:
        there = await find_user(db, user_id)
    names = (given.username or there.username, (given.email or there.email).partition("@")[0])
    if given.password is not None:
        _of_another(request, user_id, "/api/v1/auth/password")
    password_hash = await _hash_of(request, given, *names)
    async with administration(request) as (db, held):
        before = await find_user(db, user_id, if_match)
        require_all(await rights_of(db, user_id), held)
        if given.is_active and not before.is_active:
            await require_room(db, USERS)
        await _change(db, user_id, before, given)
        if password_hash is not None:
            await db.execute(_NEW_HASH, user_id, password_hash)
        if given.roles is not None:
            await _give(db, user_id, given.roles, held)
        after = await find_user(db, user_id)
        if password_hash is not None or not after.is_active:
            await sessions.end_all(db, user_id)
        if not after.is_active:
            await db.execute(_END_KEYS, user_id)
        await _told(db, request, before, after, password=password_hash is not None)
    return answer(after.model_dump())


def _of_another(request: Request, user_id: uuid.UUID, own: str) -> None:
    """Refuse (409) to change one's own without what one's own route asks for."""
    if user_id == principal_of(request.scope).user_id:
        raise ApiError(409, Code.CONFLICT, f"Your own is changed by {own}, with your password.")


async def _change(db: Connection, user_id: uuid.UUID, before: UserItem, given: UserChange) -> None:
    said = given.model_dump(exclude_none=True, exclude={"password", "roles"})
    new = before.model_copy(update=said)
    try:
        await db.execute(
            _CHANGE,
            user_id,
            new.username,
            name_key(new.username),
            new.full_name,
            new.email,
            new.is_active,
        )
    except asyncpg.UniqueViolationError as error:
        raise _taken(error) from None


async def _told(
    db: Connection, request: Request, before: UserItem, after: UserItem, *, password: bool
) -> None:
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    fields = ("username", "full_name", "email", "is_active")
    changes: dict[str, Any] = {
        name: {"old": old[name], "new": new[name]} for name in fields if old[name] != new[name]
    }
    if password or changes:
        changes["new_password"] = password
        await record(db, request.scope, Action.USER_UPDATE, "user", after.user_id, details=changes)
    if before.roles != after.roles:
        roles = {"roles": {"old": before.roles, "new": after.roles}}
        await record(
            db, request.scope, Action.PERMISSION_CHANGE, "user", after.user_id, details=roles
        )


async def remove_user(request: Request, user_id: uuid.UUID, if_match: IfMatch = None) -> Response:
    """Deactivate a user: all their sessions and API keys end."""
    async with administration(request) as (db, held):
        found = await find_user(db, user_id, if_match)
        require_all(await rights_of(db, user_id), held)
        await _change(db, user_id, found, UserChange(is_active=False))
        await sessions.end_all(db, user_id)
        await db.execute(_END_KEYS, user_id)
        details = {"username": found.username}
        await record(db, request.scope, Action.USER_DELETE, "user", found.user_id, details=details)
    return Response(status_code=204)


async def remove_second_factor(request: Request, user_id: uuid.UUID) -> Response:
    """Remove the second factor of somebody who has lost the authenticator and the codes."""
    second = parts_of(request.scope).accounts.second_factor
    _of_another(request, user_id, "/api/v1/auth/totp")
    async with administration(request) as (db, held):
        await find_user(db, user_id)
        require_all(await rights_of(db, user_id), held)
        if not await second.remove(db, user_id):
            raise ApiError(404, Code.NOT_FOUND, "There is no second factor.")
        await sessions.end_all(db, user_id)
        details = {"changed": ["second_factor"], "to": "off"}
        await record(db, request.scope, Action.USER_UPDATE, "user", str(user_id), details=details)
    return Response(status_code=204)


def add(app: FastAPI) -> None:
    """Add the routes."""
    tags: Final = ["users and roles"]
    shown: Final[dict[int | str, dict[str, Any]]] = {200: {"model": UserItem, "headers": ETAG}}
    app.add_api_route(
        BASE, list_users, tags=[*tags], responses={**LINKED, **errors(401, 403, 422, 503)}
    )
    app.add_api_route(
        BASE,
        add_user,
        methods=["POST"],
        status_code=201,
        response_class=Response,
        tags=[*tags],
        responses={
            201: {"model": UserItem, "headers": ETAG},
            **errors(400, 401, 402, 403, 409, 413, 422, 503),
        },
    )
    app.add_api_route(
        _ONE,
        show_user,
        tags=[*tags],
        response_class=Response,
        responses={**shown, **errors(401, 403, 404, 422, 503)},
    )
    app.add_api_route(
        _ONE,
        change_user,
        methods=["PATCH"],
        tags=[*tags],
        response_class=Response,
        responses={**shown, **errors(400, 401, 402, 403, 404, 409, 413, 422, 503)},
    )
    for path, endpoint in ((_ONE, remove_user), (_ONE + "/totp", remove_second_factor)):
        app.add_api_route(
            path,
            endpoint,
            methods=["DELETE"],
            status_code=204,
            tags=[*tags],
            responses=errors(401, 403, 404, 409, 422, 503),
        )
