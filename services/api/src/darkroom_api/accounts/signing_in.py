"""Signing in with a password and a code, and going on with a refresh token."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import Scope

from darkroom_api.accounts import sessions
from darkroom_api.accounts.accounts import USER, User, find_user, name_key, user_of
from darkroom_api.accounts.attempts import (
    Counted,
    Origin,
    count,
    counted_under,
    new_device,
    succeed,
)
from darkroom_api.accounts.passwords import LineFull
from darkroom_api.accounts.sessions import Means
from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import Actor, record
from darkroom_api.http.errors import (
    ApiError,
    code_needed,
    invalid_credentials,
    line_full,
    name_locked,
    token_invalid,
)
from darkroom_api.http.parts import parts_of
from darkroom_api.rates.classes import Class
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import api as metrics

log = get_logger(__name__)
_STILL: Final = (
    "SELECT true FROM api.app_user WHERE id = $1 AND active AND password_changed_at = $2"
    " FOR NO KEY UPDATE"
)
"""Whoever changes the password, or ends the account, comes before or after a session begins."""
_HASHED_ANEW: Final = "UPDATE api.app_user SET password_hash = $2 WHERE id = $1"


@dataclass(frozen=True)
class Given:
    """What somebody signs in with; an empty code is none."""

    username: str
    password: str
    code: str = ""


@dataclass(frozen=True)
class SignedIn:
    """A session, with the refresh token that continues it.

    Attributes:
        session_id: which one.
        user: whose.
        refresh_token: good once.
        browser: whether its tokens go in cookies.
        device: the secret of a new cookie, when the device had none that is known.
    """

    session_id: uuid.UUID
    user: User
    refresh_token: str
    browser: bool
    device: str = ""


class _Attempt:
    """An attempt, and what becomes of it: never the name, which may be a misplaced password."""

    def __init__(self, scope: Scope, user: Any, counted: Counted, origin: Origin) -> None:
        self.scope, self.user, self.counted, self.origin = scope, user, counted, origin

    def tell(self, result: str, **more: str) -> None:
        metrics.LOGINS.labels(result).inc()
        say = log.info if result == "accepted" else log.warning
        say(
            f"login.{result}",
            address=self.origin.address,
            user_id=str(self.user["id"]) if self.user else None,
            known_device=self.counted.is_known,
            **more,
        )

    async def fail(self, result: str, answer: ApiError) -> ApiError:
        """Say and keep that it has failed; return the answer to raise."""
        self.tell(result)
        action = Action.AUTH_LOCKED if result == "locked" else Action.AUTH_FAILED
        async with parts_of(self.scope).database.transaction() as db:
            await record(
                db,
                self.scope,
                action,
                "user",
                str(self.user["id"]) if self.user else "",
                outcome="failure",
                details={"reason": result},
            )
        return answer


async def sign_in(scope: Scope, given: Given, origin: Origin, means: Means) -> SignedIn:
    """Begin a session. Each reason not to is answered alike, and takes the same time.

    Raises:
        ApiError: 401, wrong, or a code is needed; 429, locked from there, whatever the password
            is, or too many sign in at the moment.
    """
    parts = parts_of(scope)
    key = name_key(given.username)
    async with parts.database.acquire() as db:
        user = await db.fetchrow(f"{USER} WHERE u.username_key = $1", key)
        counted = await counted_under(db, key, user["id"] if user else None, origin)
    attempt = _Attempt(scope, user, counted, origin)
    if not await _is_right(attempt, given.password) or user is None:
        if not counted.is_known:  # of an address all failures count, whatever the names
            await parts.rates.count(Class.LOGIN, origin.address)
        raise await attempt.fail("refused", invalid_credentials())
    device = "" if counted.has_cookie else new_device()
    anew = await parts.accounts.passwords.hash_anew(user["password_hash"], given.password)
    async with parts.database.transaction() as db:
        refusal = await _refusal(db, attempt, given.code)
        if refusal is None:
            if anew is not None:
                await db.execute(_HASHED_ANEW, user["id"], anew)
            known = Origin(origin.address, device or origin.device)
            await succeed(db, counted, user["id"], known)
            session_id, token = await sessions.begin(db, user["id"], means)
            await record_login(db, scope, user_of(user), session_id, means)
    if refusal is not None:
        raise await attempt.fail(*refusal)
    attempt.tell("accepted", session=str(session_id))
    return SignedIn(session_id, user_of(user), token, means.browser, device)


def actor_of(user: User) -> Actor:
    """Return who does what is kept, where no token says so."""
    return Actor(str(user.id), user.username, frozenset(user.permissions))


async def record_login(
    db: Connection, scope: Scope, user: User, session_id: uuid.UUID, means: Means
) -> None:
    """Keep that somebody has signed in."""
    details = {"method": means.method, "browser": means.browser}
    await record(
        db,
        scope,
        Action.AUTH_LOGIN,
        "session",
        str(session_id),
        details=details,
        actor=actor_of(user),
    )


async def _is_right(attempt: _Attempt, password: str) -> bool:
    """Count an attempt, then verify its password; an inactive user has none."""
    parts, user = parts_of(attempt.scope), attempt.user
    origin, is_known = attempt.origin, attempt.counted.is_known
    try:
        async with parts.accounts.passwords.in_line(origin.address, known=is_known) as place:
            may_try = is_known or not await parts.rates.is_used_up(Class.LOGIN, origin.address)
            if may_try:
                async with parts.database.acquire() as db:
                    may_try = await count(db, attempt.counted)
            if not may_try:
                raise await attempt.fail("locked", name_locked())
            right = await place.verify(user["password_hash"] if user else None, password)
    except LineFull:
        raise await attempt.fail("busy", line_full()) from None
    return bool(right and user and user["active"])


async def _refusal(db: Connection, attempt: _Attempt, code: str) -> tuple[str, ApiError] | None:
    """Return why somebody with the right password is not let in; a code is taken here."""
    user, second = attempt.user, parts_of(attempt.scope).accounts.second_factor
    if not await db.fetchval(_STILL, user["id"], user["password_changed_at"]):
        return "refused", invalid_credentials()
    if not await second.is_needed(db, user["id"]):
        return None
    if not code:
        return "code_needed", code_needed()
    if not await second.take(db, user["id"], code):
        return "refused", invalid_credentials()
    return None


async def go_on(scope: Scope, token: str, may: Callable[[uuid.UUID], bool]) -> SignedIn:
    """Exchange a refresh token for the next one.

    A token that was exchanged before is in two hands: its whole family ends.

    Args:
        scope: of the request.
        token: the refresh token.
        may: tells whether the request may continue a session.

    Raises:
        ApiError: 401; and what `may` raises.
    """
    parts = parts_of(scope)
    continued = user = None
    async with parts.database.transaction() as db:
        row = await sessions.held_by(db, token)
        if row is not None and may(row["session_id"]):
            user = await find_user(db, row["user_id"])
            continued = await sessions.rotate(db, row, token) if user else None
            if continued is not None and user is not None and not continued.token:
                session = str(continued.session_id)
                await record(
                    db,
                    scope,
                    Action.SESSION_REUSE,
                    "session",
                    session,
                    outcome="failure",
                    actor=actor_of(user),
                )
    if continued is None or user is None or not continued.token:
        parts.guard.forget()
        if continued is not None:
            log.warning("session.reuse", session=str(continued.session_id))
        raise token_invalid()
    return SignedIn(continued.session_id, user, continued.token, continued.browser)
