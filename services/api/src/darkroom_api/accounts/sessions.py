"""Sessions in schema `api`: what begins, continues and ends them.

A session is a login with all refresh tokens that grow from it. That of a browser, whose tokens are
in cookies, ends when there was no request for a while.
"""

import hashlib
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from darkroom_api.edge.agents import known_agent
from darkroom_common.postgres.pool import Connection

REFRESH_LIFETIME: Final = timedelta(days=7)
IDLE_TIME: Final = timedelta(hours=8)
"""Of a browser."""
LONGEST_TIME: Final = timedelta(days=30)
"""Of any session, however often it is continued; then somebody signs in anew."""
SEEN_EVERY: Final = timedelta(minutes=1)
_LONGEST: Final = 256
_BEGIN: Final = (
    "INSERT INTO api.session (user_id, expires_at, browser, method, address, user_agent)"
    " VALUES ($1, now() + $2::interval, $3, $4, $5, $6) RETURNING id"
)
_LOGGED_IN: Final = "UPDATE api.app_user SET last_login_at = now() WHERE id = $1"
_ADD_FOLLOWING: Final = (
    "INSERT INTO api.refresh_token (token_hash, session_id, expires_at)"
    " VALUES ($1, $2, now() + $3::interval)"
)
_HELD: Final = (
    "SELECT t.session_id, t.used_at IS NOT NULL AS used, s.browser, s.user_id,"
    " t.expires_at > now() AND s.revoked_at IS NULL"
    "   AND s.created_at > now() - $3::interval"
    "   AND (NOT s.browser OR s.last_at > now() - $2::interval) AS valid"
    " FROM api.refresh_token t JOIN api.session s ON s.id = t.session_id"
    " WHERE t.token_hash = $1 FOR UPDATE"
)
_USED: Final = "UPDATE api.refresh_token SET used_at = now() WHERE token_hash = $1"
_CONTINUE: Final = (
    "UPDATE api.session SET expires_at = now() + $2::interval, last_at = now() WHERE id = $1"
)
_END: Final = (
    "UPDATE api.session SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL"
    " RETURNING user_id"
)
_END_ALL: Final = (
    "UPDATE api.session SET revoked_at = now()"
    " WHERE user_id = $1 AND revoked_at IS NULL AND id IS DISTINCT FROM $2"
)
_END_OWN: Final = (
    "UPDATE api.session SET revoked_at = now()"
    " WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > now() RETURNING true"
)
_REVOKE: Final = (
    "INSERT INTO api.revoked_token (jti, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING"
)
LISTED: Final = """
    SELECT id::text AS session_id, user_id::text AS of_user, created_at, last_at, browser, method,
        address, user_agent
    FROM api.session s
    WHERE revoked_at IS NULL AND expires_at > now()
        AND (NOT browser OR last_at > now() - interval '8 hours')
"""
"""Those that have not ended, for lists."""

Method = Literal["password", "oidc", "link"]


@dataclass(frozen=True)
class Means:
    """How and from where somebody signs in."""

    method: Method
    browser: bool
    address: str
    user_agent: str


@dataclass(frozen=True)
class Continued:
    """What has become of a refresh token; `token` is empty when it was used before."""

    session_id: uuid.UUID
    user_id: uuid.UUID
    browser: bool
    token: str


def digest(text: str) -> bytes:
    """Return what is kept of a token."""
    return hashlib.sha256(text.encode()).digest()


async def begin(
    db: Connection, user_id: uuid.UUID, means: Means, *, lifetime: timedelta = REFRESH_LIFETIME
) -> tuple[uuid.UUID, str]:
    """Begin a session; return its id and its refresh token, which is good for `lifetime`."""
    session_id = await db.fetchval(
        _BEGIN,
        user_id,
        lifetime,
        means.browser,
        means.method,
        means.address,
        known_agent(means.user_agent)[:_LONGEST],
    )
    await db.execute(_LOGGED_IN, user_id)
    return session_id, await _add_token(db, session_id, lifetime)


async def _add_token(
    db: Connection, session_id: uuid.UUID, lifetime: timedelta = REFRESH_LIFETIME
) -> str:
    token = secrets.token_urlsafe(32)
    await db.execute(_ADD_FOLLOWING, digest(token), session_id, lifetime)
    return token


async def held_by(db: Connection, token: str) -> Any:
    """Return the row of a refresh token that is not over, locked with its session, or None."""
    row = await db.fetchrow(_HELD, digest(token), IDLE_TIME, LONGEST_TIME)
    return row if row is not None and row["valid"] else None


async def rotate(db: Connection, row: Any, token: str) -> Continued:
    """Exchange a refresh token, or end its whole family when it was exchanged before."""
    session_id = row["session_id"]
    following = ""
    if row["used"]:
        await db.execute(_END, session_id)
    else:
        await db.execute(_USED, digest(token))
        await db.execute(_CONTINUE, session_id, REFRESH_LIFETIME)
        following = await _add_token(db, session_id)
    return Continued(session_id, row["user_id"], row["browser"], following)


async def end(
    db: Connection, session_id: uuid.UUID, *, jti: uuid.UUID, expires_at: datetime
) -> None:
    """End a session and revoke the access token in hand."""
    await db.execute(_END, session_id)
    await db.execute(_REVOKE, jti, expires_at)


async def end_own(db: Connection, session_id: uuid.UUID, user_id: uuid.UUID) -> bool:
    """End a session of a user; False when there is no such one."""
    return bool(await db.fetchval(_END_OWN, session_id, user_id))


async def end_all(db: Connection, user_id: uuid.UUID, but: uuid.UUID | None = None) -> None:
    """End all sessions of a user, but one."""
    await db.execute(_END_ALL, user_id, but)
