"""Users in schema `api`, and what holds now for a token or a key of theirs."""

import re
import unicodedata
import uuid
from dataclasses import dataclass, fields
from typing import Any, Final

from darkroom_api.accounts.attempts import forget_devices
from darkroom_api.accounts.passwords import Passwords
from darkroom_api.accounts.sessions import IDLE_TIME, SEEN_EVERY, digest
from darkroom_api.accounts.totp import SecondFactor
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
USER: Final = """
    SELECT u.id, u.username, u.full_name, u.email, u.active, u.password_hash,
        u.password_changed_at, u.created_at, u.last_login_at, u.version, w.roles, w.permissions
    FROM api.app_user u JOIN api.user_rights w ON w.user_id = u.id
"""
_HOLD: Final = "SELECT true FROM api.app_user WHERE id = $1 AND active FOR NO KEY UPDATE"
_SESSION: Final = """
    SELECT u.id, u.username, s.last_at < now() - $4::interval AS seen_long_ago,
        w.roles, w.permissions
    FROM api.app_user u JOIN api.session s ON s.user_id = u.id
        JOIN api.user_rights w ON w.user_id = u.id
    WHERE u.id = $1 AND s.id = $2 AND u.active AND s.revoked_at IS NULL
        AND NOT EXISTS (SELECT FROM api.revoked_token t WHERE t.jti = $3)
        AND (NOT s.browser OR s.last_at > now() - $5::interval)
"""
_KEY: Final = """
    SELECT u.id, u.username, k.id AS key_id, k.permissions AS of_key, k.expires_at,
        coalesce(k.last_used_at, '-infinity') < now() - $2::interval AS seen_long_ago,
        w.roles, w.permissions
    FROM api.app_user u JOIN api.api_key k ON k.user_id = u.id
        JOIN api.user_rights w ON w.user_id = u.id
    WHERE k.key_hash = $1 AND u.active AND k.revoked_at IS NULL AND k.expires_at > now()
"""
_SESSION_SEEN: Final = (
    "UPDATE api.session SET last_at = now() WHERE id = $1 AND last_at < now() - $2::interval"
)
_KEY_SEEN: Final = (
    "UPDATE api.api_key SET last_used_at = now()"
    " WHERE id = $1 AND coalesce(last_used_at, '-infinity') < now() - $2::interval"
)
_FORGET: Final = (
    # Each by the index on its time. A session's row outlives its last access token.
    "DELETE FROM api.revoked_token WHERE expires_at < now() - interval '1 hour'",
    "DELETE FROM api.session WHERE expires_at < now() - interval '1 day'",
    "DELETE FROM api.login_attempt WHERE last_at < now() - interval '1 day'",
    "DELETE FROM api.api_key WHERE expires_at < now() - interval '90 days'",
)
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What counts as a letter or a mark, but leaves no trace (Default_Ignorable_Code_Point)."""


@dataclass(frozen=True)
class User:
    """Somebody who may sign in."""

    id: uuid.UUID
    username: str
    full_name: str
    email: str
    roles: list[str]
    permissions: list[str]


def name_key(username: str) -> str:
    """Return the form in which user names are compared."""
    return unicodedata.normalize("NFKC", username).casefold().strip()


def is_seen(username: str) -> bool:
    """Tell whether each character of a name can be seen: no two names look alike without it."""
    return username.isprintable() and _UNSEEN.search(username) is None


def user_of(row: Any) -> User:
    """Return the user of a row of `USER`."""
    return User(**{field.name: row[field.name] for field in fields(User)})


async def find_user(db: Connection, user_id: uuid.UUID) -> User | None:
    """Return a user who may sign in."""
    row = await db.fetchrow(f"{USER} WHERE u.id = $1 AND u.active", user_id)
    return None if row is None else user_of(row)


async def hold_user(db: Connection, user_id: uuid.UUID) -> bool:
    """Tell whether a user may sign in, and keep sign-ins and changes of theirs waiting.

    What the transaction does is done before or after each of them, never beside.
    """
    return bool(await db.fetchval(_HOLD, user_id))


class Accounts:
    """What the service itself asks of users: who a token is of, and that there is somebody.

    Raises (all methods):
        DependencyUnavailable: the database is away.
    """

    def __init__(
        self, database: Database, passwords: Passwords, second_factor: SecondFactor
    ) -> None:
        self._database = database
        self.passwords = passwords
        self.second_factor = second_factor

    async def anybody(self) -> bool:
        """Tell whether there is any user."""
        async with self._database.acquire() as db:
            return bool(await db.fetchval("SELECT EXISTS (SELECT FROM api.app_user)"))

    async def ensure_administrator(self, password: str) -> bool:
        """Make the user `admin` when there is no user at all; tell whether it was made."""
        if await self.anybody():
            return False
        password_hash = await self.passwords.hash(password)
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

    async def of_session(
        self, *, user_id: uuid.UUID, session_id: uuid.UUID, jti: uuid.UUID
    ) -> Any | None:
        """Return who an access token is of now; None when it is revoked in any way."""
        async with self._database.acquire() as db:
            row = await db.fetchrow(_SESSION, user_id, session_id, jti, SEEN_EVERY, IDLE_TIME)
            if row is not None and row["seen_long_ago"]:
                await db.execute(_SESSION_SEEN, session_id, SEEN_EVERY)
        return row

    async def of_key(self, key: str) -> Any | None:
        """Return who an API key is of now; None when it is over, revoked, or none."""
        async with self._database.acquire() as db:
            row = await db.fetchrow(_KEY, digest(key), SEEN_EVERY)
            if row is not None and row["seen_long_ago"]:
                await db.execute(_KEY_SEEN, row["key_id"], SEEN_EVERY)
        return row

    async def forget_expired(self) -> None:
        """Drop what no token can refer to any more."""
        async with self._database.transaction() as db:
            for statement in _FORGET:
                await db.execute(statement)
            await forget_devices(db)
