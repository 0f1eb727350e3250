"""From an Authorization header to somebody with permissions."""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from darkroom_api.accounts.accounts import Accounts
from darkroom_api.accounts.tokens import AccessTokens, ExpiredToken, InvalidToken
from darkroom_api.http.errors import token_expired, token_invalid
from darkroom_common.clock import Clock
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
TRUST_SECONDS: Final = 5.0
"""How long an answer of the database about a token is used: so late may a revocation by another
replica take effect. A logout or a refused refresh of this process takes effect at once."""
REMEMBERED: Final = 10_000


@dataclass(frozen=True)
class Principal:
    """Who asks."""

    user_id: uuid.UUID
    username: str
    roles: tuple[str, ...]
    permissions: frozenset[str]
    session_id: uuid.UUID
    jti: uuid.UUID
    expires_at: datetime


class Guard:
    """Authenticates requests."""

    def __init__(self, tokens: AccessTokens, accounts: Accounts, clock: Clock) -> None:
        self._tokens = tokens
        self._accounts = accounts
        self._clock = clock
        self._known: dict[bytes, tuple[Principal, float]] = {}

    async def authenticate(self, authorization: str | None) -> Principal:
        """Return who asks.

        Raises:
            ApiError: 401, the same for every fault but age.
            DependencyUnavailable: the database is away.
        """
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.casefold() != "bearer" or not token:
            raise token_invalid()
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(digest)
        if (
            known is not None
            and self._clock.monotonic() < known[1]
            and self._clock.now() < known[0].expires_at
        ):
            return known[0]
        try:
            claims = self._tokens.verify(token)
        except ExpiredToken:
            raise token_expired() from None
        except InvalidToken as fault:
            log.info("access.refused", reason=str(fault))
            raise token_invalid() from None
        state = await self._accounts.state(
            user_id=claims.user_id, session_id=claims.session_id, jti=claims.jti
        )
        if state is None:
            log.info("access.refused", reason="revoked", session=str(claims.session_id))
            raise token_invalid()
        principal = Principal(
            claims.user_id,
            state.username,
            tuple(state.roles),
            state.permissions,
            claims.session_id,
            claims.jti,
            claims.expires_at,
        )
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[digest] = (principal, self._clock.monotonic() + TRUST_SECONDS)
        return principal

    def forget(self) -> None:
        """Ask the database anew about every token, since something was revoked."""
        self._known.clear()
