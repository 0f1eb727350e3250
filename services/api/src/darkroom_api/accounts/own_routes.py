"""What somebody does with the own account: password, second factor, sessions (API-01, API-03)."""

import datetime as dt
import uuid
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.accounts import sessions, totp
from darkroom_api.accounts.accounts import USER, hold_user
from darkroom_api.accounts.attempts import count, counted_for, forget
from darkroom_api.accounts.passwords import IN_LINE_SECONDS, LineFull
from darkroom_api.accounts.policy import LONGEST, SHORTEST, faults_of
from darkroom_api.accounts.routes import Code, Message, Password, Secret
from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http import errors as answers
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import LINKED, Catalogue, Listed, ListQuery, list_of
from darkroom_api.http.parts import parts_of
from darkroom_common.postgres.listing import Order
from darkroom_common.postgres.pool import Connection

_BASE: Final = "/api/v1/auth"
_CHANGE: Final = (
    "UPDATE api.app_user SET password_hash = $2, password_changed_at = now(), updated_at = now(),"
    " version = version + 1 WHERE id = $1 AND password_changed_at = $3 RETURNING true"
)
_KEYS: Final = {"created_at": dt.datetime, "session_id": str}
SESSION_ORDERS: Final = {"-created_at": Order(_KEYS, descending=True), "created_at": Order(_KEYS)}


class PasswordChange(Secret):
    """The password, and the one to come."""

    current_password: Password
    new_password: Password = Field(
        description=f"{SHORTEST} to {LONGEST} characters, among them an upper-case and a lower-case"
        " letter, a digit and another one"
    )


class OwnPassword(Secret):
    """The password again."""

    password: Password


class OwnFactors(OwnPassword):
    """The password again, and a code."""

    code: Code


class OwnCode(Secret):
    """A code of the authenticator."""

    code: Code


class NewSecondFactor(BaseModel):
    """What an authenticator has to know. It is in force once a code is confirmed."""

    secret: str = Field(description="base32; shown this once")
    uri: str = Field(description="the same for a QR code: otpauth://...")


class RecoveryCodes(BaseModel):
    """Codes for the day on which the authenticator is lost; each is good once."""

    recovery_codes: list[str] = Field(description="shown this once")


class Session(BaseModel):
    """A session that has not ended."""

    session_id: str
    created_at: dt.datetime
    last_at: dt.datetime = Field(description="of a request, to about a minute")
    browser: bool = Field(description="it ends when there was no request for 8 hours")
    method: sessions.Method
    address: str
    user_agent: str


class OwnSession(Session):
    """One of one's own sessions."""

    current: bool = Field(description="the one that asks")


class SessionsQuery(ListQuery):
    """Which page of the list."""

    sort: Literal["-created_at", "created_at"] = "-created_at"


async def _own_row(request: Request, password: str) -> Any:
    """Return the row of who asks, whose password this is.

    Raises:
        ApiError: 401, it is not, or somebody who signs in elsewhere has none; 429.
    """
    parts, user_id = parts_of(request.scope), principal_of(request.scope).user_id
    wait_for_another(request.scope, IN_LINE_SECONDS)
    attempt = counted_for(user_id)
    async with parts.database.acquire() as db:
        row = await db.fetchrow(f"{USER} WHERE u.id = $1", user_id)
        if not await count(db, attempt):
            raise answers.name_locked()
    try:
        async with parts.accounts.passwords.in_line(str(user_id), known=True) as place:
            right = await place.verify(row["password_hash"] if row else None, password)
    except LineFull:
        raise answers.line_full() from None
    async with parts.database.transaction() as db:
        if right:
            await forget(db, attempt)
        else:
            await _failed(db, request)
    if not right:
        raise answers.invalid_credentials()
    return row


async def change_password(request: Request, given: PasswordChange) -> Message:
    """Change the own password. All other sessions end."""
    parts, principal = parts_of(request.scope), principal_of(request.scope)
    here = principal.in_person
    row = await _own_row(request, given.current_password.get_secret_value())
    new = given.new_password.get_secret_value()
    faults = faults_of(new, row["username"], row["email"].partition("@")[0])
    if new == given.current_password.get_secret_value():
        faults.append("It is another one than before.")
    if faults:
        raise answers.unfit(*(("body.new_password", fault) for fault in faults))
    password_hash = await parts.accounts.passwords.hash(new)
    async with parts.database.transaction() as db:
        changed = await db.fetchval(_CHANGE, row["id"], password_hash, row["password_changed_at"])
        if not changed:
            raise answers.invalid_credentials()  # changed by somebody else meanwhile
        await sessions.end_all(db, row["id"], but=here.session_id)
        await _told(db, request, "password")
    parts.guard.forget()
    return Message(message="The password has been changed, and all other sessions have ended.")


async def _told(db: Connection, request: Request, what: str, **more: str) -> None:
    user_id = str(principal_of(request.scope).user_id)
    details = {"changed": [what], **more}
    await record(db, request.scope, Action.USER_UPDATE, "user", user_id, details=details)


async def _failed(db: Connection, request: Request) -> None:
    user_id = str(principal_of(request.scope).user_id)
    await record(db, request.scope, Action.AUTH_FAILED, "user", user_id, outcome="failure")


async def begin_second_factor(request: Request, given: OwnPassword) -> NewSecondFactor:
    """Make the secret of an authenticator; it is in force once a code of it is confirmed."""
    row = await _own_row(request, given.password.get_secret_value())
    parts = parts_of(request.scope)
    async with parts.database.transaction() as db:
        secret = await parts.accounts.second_factor.begin(db, row["id"])
    if secret is None:
        raise ApiError(409, answers.Code.CONFLICT, "There is a second factor; remove it first.")
    return NewSecondFactor(
        secret=totp.base32(secret), uri=totp.uri_of(secret, str(row["username"]))
    )


async def confirm_second_factor(request: Request, given: OwnCode) -> RecoveryCodes:
    """Put the second factor in force by a code of it. Other sessions end."""
    parts, principal = parts_of(request.scope), principal_of(request.scope)
    here, attempt = principal.in_person, counted_for(principal.user_id, "code")
    async with parts.database.transaction() as db:
        may_try = await count(db, attempt)
    if not may_try:
        raise answers.name_locked()
    async with parts.database.transaction() as db:
        await hold_user(db, principal.user_id)  # no session begins without a code meanwhile
        codes = await parts.accounts.second_factor.confirm(
            db, principal.user_id, given.code.get_secret_value()
        )
        if codes is not None:
            await forget(db, attempt)
            await sessions.end_all(db, principal.user_id, but=here.session_id)
            await _told(db, request, "second_factor", to="on")
    if codes is None:
        raise answers.invalid("body.code", "It is not the code of now, or nothing waits for one.")
    parts.guard.forget()
    return RecoveryCodes(recovery_codes=codes)


async def remove_second_factor(request: Request, given: OwnFactors) -> Response:
    """Remove the second factor, by password and a code."""
    parts, second = parts_of(request.scope), parts_of(request.scope).accounts.second_factor
    row = await _own_row(request, given.password.get_secret_value())
    attempt = counted_for(row["id"], "code")
    async with parts.database.transaction() as db:
        if not await second.is_needed(db, row["id"]):
            raise ApiError(404, answers.Code.NOT_FOUND, "There is no second factor.")
        may_try = await count(db, attempt)
    if not may_try:
        raise answers.name_locked()
    async with parts.database.transaction() as db:
        right = await second.take(db, row["id"], given.code.get_secret_value())
        if right:
            await forget(db, attempt)
            await second.remove(db, row["id"])
            await _told(db, request, "second_factor", to="off")
        else:
            await _failed(db, request)
    if not right:
        raise answers.invalid_credentials()
    return Response(status_code=204)


async def list_sessions(
    request: Request, response: Response, asked: Annotated[SessionsQuery, Query()]
) -> Listed[OwnSession]:
    """List the own sessions that have not ended."""
    principal = principal_of(request.scope)
    here = str(principal.presence.session_id) if principal.presence else ""
    catalogue = Catalogue(
        sessions.LISTED,
        SESSION_ORDERS,
        lambda row: OwnSession(**dict(row), current=row["session_id"] == here),
    )
    return await list_of(request, response, asked, catalogue, {"of_user": str(principal.user_id)})


async def end_session(request: Request, session_id: uuid.UUID) -> Response:
    """End one of the own sessions."""
    parts, principal = parts_of(request.scope), principal_of(request.scope)
    async with parts.database.transaction() as db:
        ended = await sessions.end_own(db, session_id, principal.user_id)
        if ended:
            await record(db, request.scope, Action.AUTH_LOGOUT, "session", str(session_id))
    if not ended:
        raise ApiError(404, answers.Code.NOT_FOUND, "You have no such session.")
    parts.guard.forget()
    return Response(status_code=204)


def add(app: FastAPI) -> None:
    """Add the routes."""
    tags: Final = ["authentication"]
    refused = errors(400, 401, 403, 413, 422, 429, 503)
    for path, method, endpoint, more in (
        ("/password", "POST", change_password, {}),
        ("/totp", "POST", begin_second_factor, errors(409)),
        ("/totp/confirm", "POST", confirm_second_factor, {}),
    ):
        app.add_api_route(
            _BASE + path, endpoint, methods=[method], tags=[*tags], responses={**refused, **more}
        )
    app.add_api_route(
        _BASE + "/totp",
        remove_second_factor,
        methods=["DELETE"],
        status_code=204,
        tags=[*tags],
        responses={**refused, **errors(404)},
    )
    app.add_api_route(
        _BASE + "/sessions",
        list_sessions,
        tags=[*tags],
        responses={**LINKED, **errors(401, 403, 422, 503)},
    )
    app.add_api_route(
        _BASE + "/sessions/{session_id}",
        end_session,
        methods=["DELETE"],
        status_code=204,
        tags=[*tags],
        responses=errors(401, 403, 404, 422, 503),
    )
