"""Sign in, continue, sign out (API-01, API-03)."""

import uuid
from typing import Annotated, Final

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.accounts import cookies, sessions
from darkroom_api.accounts.accounts import User, find_user
from darkroom_api.accounts.attempts import DEVICE_LIFETIME, Origin
from darkroom_api.accounts.client import address_of
from darkroom_api.accounts.guard import CSRF_HEADER, csrf_refused
from darkroom_api.accounts.passwords import IN_LINE_SECONDS
from darkroom_api.accounts.sessions import Means, Method
from darkroom_api.accounts.signing_in import Given, SignedIn, go_on, sign_in
from darkroom_api.accounts.tokens import ACCESS_LIFETIME
from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import token_invalid
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_common.specs.storable import is_text

_BASE: Final = "/api/v1/auth"
DEVICE_COOKIE: Final = "darkroom_device"
_DEVICE_LENGTH: Final = 64
Password = Annotated[SecretStr, Field(min_length=1, max_length=1024)]
Code = Annotated[SecretStr, Field(min_length=1, max_length=64)]


class Secret(BaseModel):
    """What is never repeated in an error."""

    model_config = ConfigDict(hide_input_in_errors=True)


class Credentials(Secret):
    """A user name and a password."""

    username: Annotated[str, Field(min_length=1, max_length=150)]
    password: Password
    code: Code | None = Field(
        default=None, description="of an authenticator, or a recovery code; when 1006 asks for it"
    )
    browser: StrictBool = Field(
        default=False,
        description="the tokens come in cookies that no script reads, and are not in the body",
    )


class RefreshRequest(Secret):
    """A refresh token; a browser's is in its cookie."""

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


class BrowserSession(BaseModel):
    """What a script may know of a session whose tokens are in cookies."""

    expires_in: int = Field(description="seconds")
    csrf_token: str = Field(description="to be sent as `X-CSRFToken` with all but GET")
    user: UserInfo


class Message(BaseModel):
    """A line for a person."""

    message: str


def info_of(user: User) -> UserInfo:
    """Return a user as others see it."""
    return UserInfo(
        user_id=str(user.id),
        username=user.username,
        full_name=user.full_name,
        email=user.email,
        roles=user.roles,
        permissions=user.permissions,
    )


def means_of(request: Request, method: Method, *, browser: bool) -> Means:
    """Return how and from where a request signs in."""
    address = request.client.host if request.client else ""
    agent = request.headers.get("user-agent", "")
    return Means(method, browser, address, agent if is_text(agent) else "")


def answer_with(
    request: Request, response: Response, signed_in: SignedIn
) -> TokenPair | BrowserSession:
    """Give the tokens of a session to whoever has signed in."""
    parts, user = parts_of(request.scope), signed_in.user
    access = parts.tokens.issue(
        user_id=user.id, username=user.username, roles=user.roles, session_id=signed_in.session_id
    )
    seconds = int(ACCESS_LIFETIME.total_seconds())
    if not signed_in.browser:
        return TokenPair(
            access_token=access,
            expires_in=seconds,
            refresh_token=signed_in.refresh_token,
            user=info_of(user),
        )
    csrf = parts.guard.csrf_of(signed_in.session_id)
    cookies.put_session(
        request, response, access=access, refresh=signed_in.refresh_token, csrf=csrf
    )
    return BrowserSession(expires_in=seconds, csrf_token=csrf, user=info_of(user))


async def login(
    request: Request, response: Response, credentials: Credentials
) -> TokenPair | BrowserSession:
    """Sign in with user name and password, and with a code if there is a second factor (1006).

    After five failures from an address the name is locked for a minute there. The cookie that comes
    with success makes the device known: failures of others do not lock it out.
    """
    device = request.cookies.get(DEVICE_COOKIE, "")[:_DEVICE_LENGTH]
    origin = Origin(address_of(request.scope), device if is_text(device) else "")
    wait_for_another(request.scope, IN_LINE_SECONDS)  # for others' passwords, on a slow machine
    given = Given(
        credentials.username,
        credentials.password.get_secret_value(),
        credentials.code.get_secret_value() if credentials.code else "",
    )
    means = means_of(request, "password", browser=credentials.browser)
    signed_in = await sign_in(request.scope, given, origin, means)
    if signed_in.device:
        response.set_cookie(
            DEVICE_COOKIE,
            signed_in.device,
            max_age=int(DEVICE_LIFETIME.total_seconds()),
            path=f"{_BASE}/login",
            secure=cookies.is_secure(request),
            httponly=True,
            samesite="strict",
        )
    return answer_with(request, response, signed_in)


async def refresh(
    request: Request, response: Response, given: RefreshRequest | None = None
) -> TokenPair | BrowserSession:
    """Exchange a refresh token. Using one a second time ends the whole session.

    A browser sends no body, but `X-CSRFToken`.
    """
    guard = parts_of(request.scope).guard

    def may(session_id: uuid.UUID) -> bool:
        if given is None and not guard.is_csrf(session_id, request.headers.get(CSRF_HEADER, "")):
            raise csrf_refused()
        return True

    in_cookie = cookies.cookie_of(request, cookies.REFRESH)
    token = in_cookie if given is None else given.refresh_token.get_secret_value()
    if not token:
        raise token_invalid()
    return answer_with(request, response, await go_on(request.scope, token, may))


async def logout(request: Request, response: Response) -> Message:
    """End the session of the access token in hand."""
    parts, principal = parts_of(request.scope), principal_of(request.scope)
    here = principal.in_person
    async with parts.database.transaction() as db:
        await sessions.end(db, here.session_id, jti=here.jti, expires_at=here.expires_at)
        await record(db, request.scope, Action.AUTH_LOGOUT, "session", str(here.session_id))
    parts.guard.forget()
    cookies.drop_session(request, response)
    return Message(message="Successfully logged out")


async def me(request: Request) -> UserInfo:
    """Tell who asks, and what this token or key may do."""
    parts, principal = parts_of(request.scope), principal_of(request.scope)
    async with parts.database.acquire() as db:
        user = await find_user(db, principal.user_id)
    if user is None:
        raise token_invalid()
    return info_of(user).model_copy(update={"permissions": sorted(principal.permissions)})


def add(app: FastAPI) -> None:
    """Add the routes."""
    base, tags = _BASE, ["authentication"]
    failures = errors(400, 401, 413, 422, 503)
    for path, endpoint, more in (
        ("/login", login, errors(429)),
        ("/refresh", refresh, errors(403)),
    ):
        app.add_api_route(
            base + path, endpoint, methods=["POST"], tags=[*tags], responses={**failures, **more}
        )
    app.add_api_route(
        f"{base}/logout", logout, methods=["POST"], tags=[*tags], responses=errors(401, 403, 503)
    )
    app.add_api_route(f"{base}/me", me, methods=["GET"], tags=[*tags], responses=errors(401, 503))
