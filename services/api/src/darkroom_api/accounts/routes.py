"""Sign in, continue, sign out (API-01)."""

from typing import Annotated, Final

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.accounts.accounts import NameLocked, Session, User
from darkroom_api.accounts.attempts import DEVICE_LIFETIME, Origin
from darkroom_api.accounts.client import address_of
from darkroom_api.accounts.passwords import LineFull
from darkroom_api.accounts.tokens import ACCESS_LIFETIME
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import invalid_credentials, line_full, name_locked, token_invalid
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import Parts, parts_of
from darkroom_common.specs.storable import is_text

_BASE: Final = "/api/v1/auth"
DEVICE_COOKIE: Final = "darkroom_device"
_DEVICE_LENGTH: Final = 64
IN_LINE_SECONDS: Final = 20.0


class Credentials(BaseModel):
    """A user name and a password."""

    model_config = ConfigDict(hide_input_in_errors=True)

    username: Annotated[str, Field(min_length=1, max_length=150)]
    password: Annotated[SecretStr, Field(min_length=1, max_length=1024)]


class RefreshRequest(BaseModel):
    """A refresh token."""

    model_config = ConfigDict(hide_input_in_errors=True)

    refresh_token: Annotated[SecretStr, Field(min_length=1, max_length=256)]


class UserInfo(BaseModel):
    """Somebody who may sign in."""

    user_id: str
    username: str
    full_name: str
    email: str
    roles: list[str]
    permissions: list[str] = Field(description="`*` is every permission")


class TokenPair(BaseModel):
    """An access token, and the refresh token that is good for the next pair, once."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - the scheme
    expires_in: int = Field(description="seconds")
    refresh_token: str
    user: UserInfo


class Message(BaseModel):
    """A line for a person."""

    message: str


def _info(user: User) -> UserInfo:
    return UserInfo(
        user_id=str(user.id),
        username=user.username,
        full_name=user.full_name,
        email=user.email,
        roles=user.roles,
        permissions=user.permissions,
    )


def _pair(parts: Parts, session: Session) -> TokenPair:
    user = session.user
    return TokenPair(
        access_token=parts.tokens.issue(
            user_id=user.id, username=user.username, roles=user.roles, session_id=session.id
        ),
        expires_in=int(ACCESS_LIFETIME.total_seconds()),
        refresh_token=session.refresh_token,
        user=_info(user),
    )


async def login(request: Request, response: Response, credentials: Credentials) -> TokenPair:
    """Sign in with user name and password.

    After five failures from an address the name is locked for a minute there. The cookie that comes
    with success makes the device known: failures of others do not lock it out.
    """
    parts = parts_of(request.scope)
    password = credentials.password.get_secret_value()
    device = request.cookies.get(DEVICE_COOKIE, "")[:_DEVICE_LENGTH]
    origin = Origin(address_of(request.scope), device if is_text(device) else "")
    wait_for_another(request.scope, IN_LINE_SECONDS)  # for others' passwords, on a slow machine
    try:
        session = await parts.accounts.login(credentials.username, password, origin)
    except NameLocked:
        raise name_locked() from None
    except LineFull:
        raise line_full() from None
    if session is None:
        raise invalid_credentials()
    if session.device:
        response.set_cookie(
            DEVICE_COOKIE,
            session.device,
            max_age=int(DEVICE_LIFETIME.total_seconds()),
            path=f"{_BASE}/login",
            secure=(parts.settings.public_url or "").startswith("https:"),
            httponly=True,
            samesite="strict",
        )
    return _pair(parts, session)


async def refresh(request: Request, given: RefreshRequest) -> TokenPair:
    """Exchange a refresh token. Using one a second time ends the whole session."""
    parts = parts_of(request.scope)
    session = await parts.accounts.refresh(given.refresh_token.get_secret_value())
    if session is None:
        parts.guard.forget()
        raise token_invalid()
    return _pair(parts, session)


async def logout(request: Request) -> Message:
    """End the session of the access token in hand."""
    parts, principal = parts_of(request.scope), principal_of(request.scope)
    await parts.accounts.logout(
        session_id=principal.session_id, jti=principal.jti, expires_at=principal.expires_at
    )
    parts.guard.forget()
    return Message(message="Successfully logged out")


async def me(request: Request) -> UserInfo:
    """Tell who asks."""
    parts, principal = parts_of(request.scope), principal_of(request.scope)
    user = await parts.accounts.user(principal.user_id)
    if user is None:
        raise token_invalid()
    return _info(user)


def add(app: FastAPI) -> None:
    """Add the routes."""
    base, tags = _BASE, ["authentication"]
    failures = errors(400, 401, 413, 422, 503)
    for path, endpoint, more in (("/login", login, errors(429)), ("/refresh", refresh, {})):
        app.add_api_route(
            base + path, endpoint, methods=["POST"], tags=[*tags], responses={**failures, **more}
        )
    app.add_api_route(
        f"{base}/logout", logout, methods=["POST"], tags=[*tags], responses=errors(401, 503)
    )
    app.add_api_route(f"{base}/me", me, methods=["GET"], tags=[*tags], responses=errors(401, 503))
