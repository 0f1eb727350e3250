"""Access tokens: JWT with one algorithm, one type, one header form.

HS256, or by setting EdDSA with a key pair derived from the same secret: `Ed25519` of RFC 9864.

A header with any other field (`crit`, `jku`, `jwk`, `kid`, ...) is refused before anything of the
token is used, so that no field of it can choose a key or an algorithm.
"""

import base64
import binascii
import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey, OKPKey

from darkroom_common.clock import Clock

Algorithm = Literal["HS256", "EdDSA"]
_NAMES: Final = {"HS256": "HS256", "EdDSA": "Ed25519"}
TYPE: Final = "at+jwt"
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
    """Issues and verifies, with one algorithm.

    Args:
        key: 32 secret bytes.
        clock: says when.
        algorithm: of signatures; a token of the other one is refused.
    """

    def __init__(self, key: bytes, clock: Clock, algorithm: Algorithm = "HS256") -> None:
        self._secret = key
        self._key = OctKey.import_key(key) if algorithm == "HS256" else _key_pair(key)
        name = _NAMES[algorithm]
        self._algorithms = [name]
        self._header = {"alg": name, "typ": TYPE}
        self._clock = clock

    def mac(self, purpose: str, value: bytes) -> str:
        """Return a code over a value for one purpose, which only we can make."""
        key = hmac.digest(self._secret, f"darkroom {purpose}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(hmac.digest(key, value, hashlib.sha256)).decode()

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
        return jwt.encode(dict(self._header), claims, self._key, algorithms=self._algorithms)

    def verify(self, token: str) -> AccessClaims:
        """Return the claims of a token that is ours and valid now.

        Raises:
            ExpiredToken: it is ours, and nothing else is wrong with it.
            InvalidToken: it is not.
        """
        if len(token) > MAX_LENGTH or _header(token) != self._header:
            raise InvalidToken("header")
        try:
            claims = jwt.decode(token, self._key, algorithms=self._algorithms).claims
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


def _key_pair(secret: bytes) -> OKPKey:
    """Return the Ed25519 key of a secret, which no other use of the secret tells anything of."""
    seed = HKDF(SHA256(), 32, salt=None, info=b"darkroom access tokens Ed25519").derive(secret)
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return OKPKey.import_key(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


def _header(token: str) -> object:
    part = token.partition(".")[0]
    try:
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
