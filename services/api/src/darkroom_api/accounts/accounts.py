"""Users, logins and sessions in schema `api`."""

import hashlib
import secrets
import unicodedata
import uuid
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from darkroom_api.accounts.attempts import (
    Origin,
    count,
    counted_under,
    forget_devices,
    new_device,
    succeed,
)
from darkroom_api.accounts.passwords import LineFull, Passwords
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry import metrics
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
REFRESH_LIFETIME: Final = timedelta(days=7)
_USER: Final = (
    "SELECT u.id, u.username, u.full_name, u.email, u.active, u.password_hash,"
    " ARRAY(SELECT role FROM api.user_role r WHERE r.user_id = u.id ORDER BY role) AS roles,"
    " ARRAY(SELECT DISTINCT p.permission FROM api.user_role r JOIN api.role_permission p"
    "   ON p.role = r.role WHERE r.user_id = u.id ORDER BY p.permission) AS permissions"
    " FROM api.app_user u"
)


@dataclass(frozen=True)
class User:
    """Somebody who may sign in."""

    id: uuid.UUID
    username: str
    full_name: str
    email: str
    roles: list[str]
    permissions: list[str]


class NameLocked(Exception):
    """There were too many failures under this name, whether or not somebody has it."""


@dataclass(frozen=True)
class Session:
    """A login, with the refresh token that continues it."""

    id: uuid.UUID
    user: User
    refresh_token: str
    device: str = ""
    """The secret of a new cookie, when the device had none that is known."""


@dataclass(frozen=True)
class SessionState:
    """What holds now for an access token."""

    username: str
    roles: list[str]
    permissions: frozenset[str]


def name_key(username: str) -> str:
    """Return the form in which user names are compared."""
    return unicodedata.normalize("NFKC", username).casefold().strip()


def _user(row: Any) -> User:
    return User(**{field.name: row[field.name] for field in fields(User)})


def _told(result: str, *, address: str, user: Any, known_device: bool, **more: str) -> None:
    """Say what became of an attempt: never the name, which may be a password in the wrong field."""
    metrics.LOGINS.labels(result).inc()
    say = log.info if result == "accepted" else log.warning
    user_id = str(user["id"]) if user else None
    say(f"login.{result}", address=address, user_id=user_id, known_device=known_device, **more)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Accounts:
    """Every read and write of users and sessions.

    Raises (all methods):
        DependencyUnavailable: the database is away.
    """

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    async def anybody(self) -> bool:
        """Tell whether there is any user."""
        async with self._database.acquire() as db:
            return bool(await db.fetchval("SELECT EXISTS (SELECT FROM api.app_user)"))

    async def ensure_administrator(self, password: str) -> bool:
        """Make the user `admin` when there is no user at all; tell whether it was made."""
        if await self.anybody():
            return False
        password_hash = await self._passwords.hash(password)
        async with self._database.transaction() as db:
            # Replicas start at once: the unique name lets one of them win.
            user_id = await db.fetchval(
                "INSERT INTO api.app_user (username, username_key, password_hash, full_name)"
                " VALUES ('admin', 'admin', $1, 'Administrator')"
                " ON CONFLICT (username_key) DO NOTHING RETURNING id",
                password_hash,
            )
            if user_id is None:
                return False
            await db.execute(
                "INSERT INTO api.user_role (user_id, role) VALUES ($1, 'system_admin')", user_id
            )
        log.info("user.created", user="admin")
        return True

    async def login(self, username: str, password: str, origin: Origin) -> Session | None:
        """Return a new session, or None for any reason not to; each takes the same time.

        Raises:
            NameLocked: from there, whatever the password is.
            LineFull: too many sign in at the moment.
        """
        key = name_key(username)
        async with self._database.acquire() as db:
            row = await db.fetchrow(f"{_USER} WHERE u.username_key = $1", key)
            attempt = await counted_under(db, key, row["id"] if row else None, origin)
        event = partial(_told, address=origin.address, user=row, known_device=attempt.is_known)
        try:
            async with self._passwords.in_line(origin.address, known=attempt.is_known) as place:
                async with self._database.acquire() as db:
                    if not await count(db, attempt):
                        event("locked")
                        raise NameLocked
                right = await place.verify(row["password_hash"] if row else None, password)
        except LineFull:
            event("busy")
            raise
        if row is None or not row["active"] or not right:
            event("refused")
            return None
        device = "" if attempt.has_cookie else new_device()
        async with self._database.transaction() as db:
            await succeed(db, attempt, row["id"], Origin(origin.address, device or origin.device))
            session_id = await db.fetchval(
                "INSERT INTO api.session (user_id, expires_at) VALUES ($1, now() + $2::interval)"
                " RETURNING id",
                row["id"],
                REFRESH_LIFETIME,
            )
            token = await self._add_refresh_token(db, session_id)
        event("accepted", session=str(session_id))
        return Session(session_id, _user(row), token, device)

    @staticmethod
    async def _add_refresh_token(db: Connection, session_id: uuid.UUID) -> str:
        token = secrets.token_urlsafe(32)
        await db.execute(
            "INSERT INTO api.refresh_token (token_hash, session_id, expires_at)"
            " VALUES ($1, $2, now() + $3::interval)",
            _digest(token),
            session_id,
            REFRESH_LIFETIME,
        )
        return token

    async def refresh(self, refresh_token: str) -> Session | None:
        """Exchange a refresh token for the next one; None when it is not valid.

        A token that was exchanged before is in two hands: its whole family ends.
        """
        async with self._database.transaction() as db:
            row = await db.fetchrow(
                "SELECT t.session_id, t.used_at IS NOT NULL AS used,"
                " t.expires_at > now() AND s.revoked_at IS NULL AS valid, s.user_id"
                " FROM api.refresh_token t JOIN api.session s ON s.id = t.session_id"
                " WHERE t.token_hash = $1 FOR UPDATE",
                _digest(refresh_token),
            )
            if row is None or not row["valid"]:
                return None
            session_id = row["session_id"]
            if row["used"]:
                await db.execute(
                    "UPDATE api.session SET revoked_at = now() WHERE id = $1", session_id
                )
                log.warning("session.reuse", session=str(session_id))
                return None
            user = await db.fetchrow(f"{_USER} WHERE u.id = $1", row["user_id"])
            if user is None or not user["active"]:
                return None
            await db.execute(
                "UPDATE api.refresh_token SET used_at = now() WHERE token_hash = $1",
                _digest(refresh_token),
            )
            await db.execute(
                "UPDATE api.session SET expires_at = now() + $2::interval WHERE id = $1",
                session_id,
                REFRESH_LIFETIME,
            )
            token = await self._add_refresh_token(db, session_id)
        return Session(session_id, _user(user), token)

    async def logout(self, *, session_id: uuid.UUID, jti: uuid.UUID, expires_at: datetime) -> None:
        """End a session and revoke the access token in hand."""
        async with self._database.transaction() as db:
            await db.execute(
                "UPDATE api.session SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL",
                session_id,
            )
            await db.execute(
                "INSERT INTO api.revoked_token (jti, expires_at) VALUES ($1, $2)"
                " ON CONFLICT DO NOTHING",
                jti,
                expires_at,
            )
        log.info("session.ended", session=str(session_id))

    async def state(
        self, *, user_id: uuid.UUID, session_id: uuid.UUID, jti: uuid.UUID
    ) -> SessionState | None:
        """Return what holds for an access token now; None when it is revoked in any way."""
        async with self._database.acquire() as db:
            row = await db.fetchrow(
                "SELECT u.username,"
                " ARRAY(SELECT role FROM api.user_role r WHERE r.user_id = u.id ORDER BY role)"
                "   AS roles,"
                " ARRAY(SELECT DISTINCT p.permission FROM api.user_role r"
                "   JOIN api.role_permission p ON p.role = r.role WHERE r.user_id = u.id)"
                "   AS permissions"
                " FROM api.app_user u JOIN api.session s ON s.user_id = u.id"
                " WHERE u.id = $1 AND s.id = $2 AND u.active AND s.revoked_at IS NULL"
                " AND NOT EXISTS (SELECT FROM api.revoked_token t WHERE t.jti = $3)",
                user_id,
                session_id,
                jti,
            )
        if row is None:
            return None
        return SessionState(row["username"], row["roles"], frozenset(row["permissions"]))

    async def user(self, user_id: uuid.UUID) -> User | None:
        """Return a user."""
        async with self._database.acquire() as db:
            row = await db.fetchrow(f"{_USER} WHERE u.id = $1", user_id)
        return None if row is None else _user(row)

    async def forget_expired(self) -> None:
        """Drop what no token can refer to any more."""
        statements = (
            # Each by the index on its time. A session's row outlives its last access token.
            "DELETE FROM api.revoked_token WHERE expires_at < now() - interval '1 hour'",
            "DELETE FROM api.session WHERE expires_at < now() - interval '1 day'",
            "DELETE FROM api.login_attempt WHERE last_at < now() - interval '1 day'",
        )
        async with self._database.transaction() as db:
            for statement in statements:
                await db.execute(statement)
            await forget_devices(db)
