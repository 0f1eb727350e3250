"""Access tokens: JWT with one algorithm, one type, one header form.

A header with any other field (`crit`, `jku`, `jwk`, `kid`, ...) is refused before anything of the
token is used, so that no field of it can choose a key or an algorithm.
"""

import base64
import binascii
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from darkroom_common.clock import Clock

ALGORITHM: Final = "HS256"
HEADER: Final = {"alg": ALGORITHM, "typ": "at+jwt"}
ISSUER: Final = "darkroom"
AUDIENCE: Final = "darkroom-api"
ACCESS_LIFETIME: Final = timedelta(hours=8)
LEEWAY: Final = 30  # seconds, of clocks that differ between replicas
MAX_LENGTH: Final = 4096


class InvalidToken(Exception):
    """Not one of our access tokens, or not valid now. The reason is for the log."""


class ExpiredToken(InvalidToken):
    """One of our access tokens, as we have made it, past its time."""


@dataclass(frozen=True)
class AccessClaims:
    """What a valid access token says."""

    user_id: uuid.UUID
    session_id: uuid.UUID
    jti: uuid.UUID
    expires_at: datetime


class AccessTokens:
    """Issues and verifies."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = OctKey.import_key(key)
        self._clock = clock

    def issue(
        self, *, user_id: uuid.UUID, username: str, roles: list[str], session_id: uuid.UUID
    ) -> str:
        """Return a new access token. Roles in it are for the client to show, never trusted."""
        now = int(self._clock.now().timestamp())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": str(session_id),
            "jti": str(uuid.uuid4()),
            "iat": now,
            "nbf": now,
            "exp": now + int(ACCESS_LIFETIME.total_seconds()),
            "user_id": str(user_id),
            "username": username,
            "roles": roles,
        }
        return jwt.encode(dict(HEADER), claims, self._key, algorithms=[ALGORITHM])

    def verify(self, token: str) -> AccessClaims:
        """Return the claims of a token that is ours and valid now.

        Raises:
            ExpiredToken: it is ours, and nothing else is wrong with it.
            InvalidToken: it is not.
        """
        if len(token) > MAX_LENGTH or _header(token) != HEADER:
            raise InvalidToken("header")
        try:
            claims = jwt.decode(token, self._key, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError) as error:
            raise InvalidToken(type(error).__name__) from None
        return self._validated(claims)

    def _validated(self, claims: dict[str, Any]) -> AccessClaims:
        if claims.get("iss") != ISSUER or claims.get("aud") != AUDIENCE:
            raise InvalidToken("issuer or audience")
        times = [claims.get(name) for name in ("iat", "nbf", "exp")]
        if not all(type(time) is int for time in times):
            raise InvalidToken("times")
        issued, not_before, expires = (int(time) for time in times if time is not None)
        now = self._clock.now().timestamp()
        if now < not_before - LEEWAY or now < issued - LEEWAY:
            raise InvalidToken("not valid yet")
        if expires - issued > ACCESS_LIFETIME.total_seconds():
            raise InvalidToken("lives too long")
        try:
            valid = AccessClaims(
                user_id=uuid.UUID(claims["sub"]),
                session_id=uuid.UUID(claims["sid"]),
                jti=uuid.UUID(claims["jti"]),
                expires_at=datetime.fromtimestamp(expires, UTC),
            )
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
            raise InvalidToken("identifiers") from None
        if now >= expires + LEEWAY:
            raise ExpiredToken("expired")
        return valid


def _header(token: str) -> object:
    part = token.partition(".")[0]
    try:
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
