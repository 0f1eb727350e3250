"""From the credentials of a request to somebody with permissions."""

import hashlib
import hmac
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from darkroom_api.accounts.accounts import Accounts
from darkroom_api.accounts.permissions import common
from darkroom_api.accounts.tokens import AccessTokens, ExpiredToken, InvalidToken
from darkroom_api.http.errors import ApiError, Code, token_expired, token_invalid
from darkroom_common.clock import Clock
from darkroom_common.postgres.pool import Connection
from darkroom_common.siblings import Word
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
TRUST_SECONDS: Final = 5.0
"""How long an answer of the database about a token is used: so late may a revocation by another
replica take effect. A logout or a refused refresh of this one takes effect at once, in all of its
processes."""
REMEMBERED: Final = 10_000
KEY_PREFIX: Final = "darkroom_"
"""What an API key begins with, so that scanners for secrets know it."""
CSRF_HEADER: Final = "x-csrftoken"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SESSION_HOLDS: Final = (
    "SELECT true FROM api.session WHERE id = $1 AND revoked_at IS NULL FOR SHARE"
)
_KEY_HOLDS: Final = (
    "SELECT true FROM api.api_key WHERE id = $1 AND revoked_at IS NULL AND expires_at > now()"
    " FOR SHARE"
)


@dataclass(frozen=True)
class Presence:
    """The session that somebody is signed in by.

    Attributes:
        session_id: which one.
        jti: of the access token in hand.
        expires_at: when that is over.
    """

    session_id: uuid.UUID
    jti: uuid.UUID
    expires_at: datetime


@dataclass(frozen=True)
class Principal:
    """Who asks.

    Attributes:
        user_id: whose session or key it is.
        username: the same.
        roles: the same.
        permissions: what this request may do; of a key, no more than the key may.
        presence: the session; None for an API key.
        key_id: the API key.
    """

    user_id: uuid.UUID
    username: str
    roles: tuple[str, ...]
    permissions: frozenset[str]
    presence: Presence | None
    key_id: uuid.UUID | None = None

    @property
    def in_person(self) -> Presence:
        """The session of a route that API keys may not call."""
        if self.presence is None:
            raise key_refused()
        return self.presence


def key_refused() -> ApiError:
    """Return the answer to an API key where somebody has to be signed in."""
    return ApiError(403, Code.PERMISSION_DENIED, "An API key cannot do this; sign in.")


class Guard:
    """Authenticates requests.

    Args:
        tokens: that were issued.
        accounts: of people and programs.
        clock: says when.
        word: goes to all processes of this replica when something was revoked.
    """

    def __init__(
        self, tokens: AccessTokens, accounts: Accounts, clock: Clock, word: Word | None = None
    ) -> None:
        self._word = Word() if word is None else word
        self._tokens = tokens
        self._accounts = accounts
        self._clock = clock
        self._known: dict[bytes, tuple[Principal, datetime, float]] = {}

    async def authenticate(self, authorization: str | None) -> Principal:
        """Return who asks by an access token or an API key.

        Raises:
            ApiError: 401, the same for every fault but age.
            DependencyUnavailable: the database is away.
        """
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.casefold() != "bearer" or not token:
            raise token_invalid()
        return await self._of(token)

    async def authenticate_browser(
        self, token: str, method: str, headers: Mapping[str, str]
    ) -> Principal:
        """Return who asks by a cookie; what changes something needs `X-CSRFToken` as well.

        Raises:
            ApiError: as `authenticate`; 403, the header is not that of the session.
            DependencyUnavailable: the database is away.
        """
        principal = await self._of(token)
        session_id = principal.in_person.session_id
        if method not in SAFE and not self.is_csrf(session_id, headers.get(CSRF_HEADER, "")):
            raise csrf_refused()
        return principal

    def csrf_of(self, session_id: uuid.UUID) -> str:
        """Return what a browser's session says in `X-CSRFToken`.

        It has no padding: a cookie with `=` in its value goes in quotes, and scripts hand on
        what they read of it.
        """
        return self._tokens.mac("csrf", session_id.bytes).rstrip("=")

    def is_csrf(self, session_id: uuid.UUID, given: str) -> bool:
        """Tell whether a header is of a session; also as cookies of earlier releases have it."""
        plain = given.strip('"').rstrip("=")
        return hmac.compare_digest(self.csrf_of(session_id).encode(), plain.encode())

    async def _of(self, token: str) -> Principal:
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        if self._word.heard():
            self._known.clear()
        known = self._known.get(digest)
        if (
            known is not None
            and self._clock.monotonic() < known[2]
            and self._clock.now() < known[1]
        ):
            return known[0]
        is_key = token.startswith(KEY_PREFIX)
        principal, expires_at = await (self._by_key(token) if is_key else self._by_token(token))
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        until = self._clock.monotonic() + TRUST_SECONDS
        self._known[digest] = (principal, expires_at, until)
        return principal

    async def _by_key(self, key: str) -> tuple[Principal, datetime]:
        row = await self._accounts.of_key(key) if key.isascii() else None
        if row is None:
            log.info("access.refused", reason="key")
            raise token_invalid()
        may = common(frozenset(row["of_key"]), frozenset(row["permissions"]))
        return _principal(row, may, None, row["key_id"]), row["expires_at"]

    async def _by_token(self, token: str) -> tuple[Principal, datetime]:
        try:
            claims = self._tokens.verify(token)
        except ExpiredToken:
            raise token_expired() from None
        except InvalidToken as fault:
            log.info("access.refused", reason=str(fault))
            raise token_invalid() from None
        row = await self._accounts.of_session(
            user_id=claims.user_id, session_id=claims.session_id, jti=claims.jti
        )
        if row is None:
            log.info("access.refused", reason="revoked", session=str(claims.session_id))
            raise token_invalid()
        presence = Presence(claims.session_id, claims.jti, claims.expires_at)
        return _principal(row, frozenset(row["permissions"]), presence), claims.expires_at

    def forget(self) -> None:
        """Ask the database anew about every token, since something was revoked."""
        self._word.say()


def _principal(
    row: Any, may: frozenset[str], presence: Presence | None, key_id: uuid.UUID | None = None
) -> Principal:
    return Principal(row["id"], row["username"], tuple(row["roles"]), may, presence, key_id)


def csrf_refused() -> ApiError:
    """Return the answer to a request that may come from another site."""
    return ApiError(403, Code.PERMISSION_DENIED, "The header X-CSRFToken is missing or wrong.")


async def still_holds(db: Connection, principal: Principal) -> bool:
    """Tell whether the session or the key of a request has not been ended, and keep it so.

    What is done in the transaction is done before any end of them.
    """
    if principal.presence is None:
        return bool(await db.fetchval(_KEY_HOLDS, principal.key_id))
    return bool(await db.fetchval(_SESSION_HOLDS, principal.presence.session_id))
