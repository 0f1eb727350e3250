"""The second factor: codes of an authenticator (TOTP, RFC 6238), and recovery codes.

A secret is sealed in the table. A code is good in its own 30 s and in those before and after, since
clocks differ, and it is taken once: so is each earlier one from then on. A recovery code is taken
once as well.
"""

import base64
import hmac
import re
import secrets
import uuid
from typing import Any, Final
from urllib.parse import quote, urlencode

from darkroom_api.accounts.sessions import digest
from darkroom_common.clock import Clock
from darkroom_common.postgres.pool import Connection
from darkroom_common.seal import Seal

PERIOD: Final = 30  # seconds
DIGITS: Final = 6
RECOVERY_CODES: Final = 10
_SECRET_BYTES: Final = 20  # of SHA-1, RFC 4226 section 4
_RECOVERY_BYTES: Final = 15
_WINDOW: Final = (0, -1, 1)
PURPOSE: Final = "totp"
_ISSUER: Final = "Darkroom"
_CODE: Final = re.compile(rf"\d{{{DIGITS}}}", re.ASCII)
_BEGIN: Final = (
    "INSERT INTO api.totp (user_id, sealed) VALUES ($1, $2)"
    " ON CONFLICT (user_id) DO UPDATE SET sealed = $2 WHERE totp.confirmed_at IS NULL"
    " RETURNING true"
)
_FIND: Final = (
    "SELECT sealed, confirmed_at IS NOT NULL AS confirmed FROM api.totp WHERE user_id = $1"
)
_TAKE: Final = (
    "UPDATE api.totp SET last_step = $2, confirmed_at = coalesce(confirmed_at, now())"
    " WHERE user_id = $1 AND last_step < $2 RETURNING true"
)
_REMOVE: Final = "DELETE FROM api.totp WHERE user_id = $1 RETURNING true"
_ADD_CODES: Final = (
    "INSERT INTO api.recovery_code (user_id, code_hash) SELECT $1, unnest($2::bytea[])"
)
_TAKE_RECOVERY: Final = (
    "DELETE FROM api.recovery_code WHERE user_id = $1 AND code_hash = $2 RETURNING true"
)


def code_at(secret: bytes, step: int) -> str:
    """Return the code of a period of 30 s since 1970 (RFC 4226 section 5.3, HMAC-SHA-1)."""
    mac = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    at = mac[-1] & 0x0F
    number = int.from_bytes(mac[at : at + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def uri_of(secret: bytes, username: str) -> str:
    """Return what authenticators read from a QR code."""
    asked = {
        "secret": base32(secret),
        "issuer": _ISSUER,
        "algorithm": "SHA1",
        "digits": DIGITS,
        "period": PERIOD,
    }
    return f"otpauth://totp/{quote(f'{_ISSUER}:{username}')}?{urlencode(asked)}"


def base32(secret: bytes) -> str:
    """Return a secret as authenticators take it typed."""
    return base64.b32encode(secret).decode().rstrip("=")


def _same(code: str) -> bytes:
    """Return what is kept of a recovery code, however it is typed."""
    return digest(re.sub(r"[\s-]", "", code).upper())


class SecondFactor:
    """Sets up, asks and removes."""

    def __init__(self, seal: Seal, clock: Clock) -> None:
        self._seal = seal
        self._clock = clock

    async def begin(self, db: Connection, user_id: uuid.UUID) -> bytes | None:
        """Return a new secret that is in force once a code of it is confirmed.

        None: there is one in force already.
        """
        secret = secrets.token_bytes(_SECRET_BYTES)
        sealed = self._seal.seal(base32(secret), purpose=PURPOSE)
        return secret if await db.fetchval(_BEGIN, user_id, sealed) else None

    async def confirm(self, db: Connection, user_id: uuid.UUID, code: str) -> list[str] | None:
        """Put a secret in force by its first code; return the recovery codes.

        None: the code is not right, or nothing waits to be confirmed.
        """
        row = await db.fetchrow(_FIND, user_id)
        if row is None or row["confirmed"] or not await self._take(db, user_id, row, code):
            return None
        raw = [base32(secrets.token_bytes(_RECOVERY_BYTES)) for _ in range(RECOVERY_CODES)]
        await db.execute(_ADD_CODES, user_id, [_same(one) for one in raw])
        return ["-".join(re.findall(".{6}", one)) for one in raw]

    async def is_needed(self, db: Connection, user_id: uuid.UUID) -> bool:
        """Tell whether a code is asked for."""
        row = await db.fetchrow(_FIND, user_id)
        return row is not None and row["confirmed"]

    async def take(self, db: Connection, user_id: uuid.UUID, code: str) -> bool:
        """Take a code or a recovery code that is right and was not taken before."""
        row = await db.fetchrow(_FIND, user_id)
        if row is None or not row["confirmed"]:
            return False
        if _CODE.fullmatch(code):
            return await self._take(db, user_id, row, code)
        return bool(await db.fetchval(_TAKE_RECOVERY, user_id, _same(code)))

    async def remove(self, db: Connection, user_id: uuid.UUID) -> bool:
        """Remove the second factor; False when there is none."""
        return bool(await db.fetchval(_REMOVE, user_id))

    async def _take(self, db: Connection, user_id: uuid.UUID, row: Any, code: str) -> bool:
        if not _CODE.fullmatch(code):
            return False
        text = self._seal.open(row["sealed"], purpose=PURPOSE)
        secret = base64.b32decode(text + "=" * (-len(text) % 8))
        now = int(self._clock.now().timestamp()) // PERIOD
        for step in (now + one for one in _WINDOW):
            if hmac.compare_digest(code_at(secret, step), code):
                return bool(await db.fetchval(_TAKE, user_id, step))
        return False
