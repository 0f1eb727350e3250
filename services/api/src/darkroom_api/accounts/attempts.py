"""Attempts to sign in: what is counted, for whom, and whom failures of others do not lock out.

Who fails is locked out under that name from that address, so that nobody locks out anybody
elsewhere. Guessing from many addresses is bounded by a count of the name, which those pass by who
have signed in from that address before, or have the cookie that they were given then.
"""

import hashlib
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from darkroom_api.http.errors import LOCK_SECONDS
from darkroom_common.postgres.pool import Connection

ALLOWED_FAILURES: Final = 5
"""Under a name from one address, or from one device that is known by its cookie."""
ALLOWED_OF_A_NAME: Final = 50
"""Under a name from all addresses that nobody has signed in from under it."""
LOCK_TIME: Final = timedelta(seconds=LOCK_SECONDS)
COUNTED_TIME: Final = timedelta(minutes=15)
"""Failures count until there was none for so long; meanwhile one try a `LOCK_TIME` is left."""
DEVICE_LIFETIME: Final = timedelta(days=90)
_COUNT: Final = """
    INSERT INTO api.login_attempt AS a (name_hash, failures) VALUES ($1, 1)
    ON CONFLICT (name_hash) DO UPDATE SET last_at = now(), failures =
        CASE WHEN a.last_at < now() - $2::interval THEN 1
        ELSE least(a.failures + 1, $4::integer) END
    WHERE a.failures < $4 OR a.last_at < now() - $3::interval
    RETURNING failures
"""
"""Counts a try before it is made; no row comes back while this is locked."""
_FORGET: Final = "DELETE FROM api.login_attempt WHERE name_hash = ANY($1::bytea[])"
_KNOWN: Final = (
    "SELECT device FROM api.known_device WHERE user_id = $1 AND device = ANY($2::bytea[])"
    " AND last_at > now() - $3::interval"
)
_REMEMBER: Final = (
    "INSERT INTO api.known_device (user_id, device) SELECT $1, unnest($2::bytea[])"
    " ON CONFLICT (user_id, device) DO UPDATE SET last_at = now()"
)
_FORGET_DEVICES: Final = "DELETE FROM api.known_device WHERE last_at < now() - $1::interval"


@dataclass(frozen=True)
class Origin:
    """Where a request to sign in comes from.

    Attributes:
        address: of IPv4, or a network of IPv6.
        device: what the cookie says that was given at an earlier login; empty without.
    """

    address: str
    device: str = ""

    @property
    def digests(self) -> tuple[bytes, bytes]:
        """The address and the device as they are kept."""
        return _digest("address", self.address), _digest("device", self.device)


@dataclass(frozen=True)
class Counted:
    """What an attempt counts under, each with the failures that are allowed."""

    buckets: Sequence[tuple[bytes, int]]
    is_known: bool
    has_cookie: bool


def new_device() -> str:
    """Return the secret of a cookie by which a device is known again."""
    return secrets.token_urlsafe(24)


async def counted_under(
    db: Connection, key: str, user_id: uuid.UUID | None, origin: Origin
) -> Counted:
    """Return what an attempt under a name from somewhere counts under."""
    address, device = origin.digests
    rows = await db.fetch(_KNOWN, user_id, [address, device], DEVICE_LIFETIME)
    known = {row["device"] for row in rows}
    if origin.device and device in known:
        own = (_digest("name and device", key, origin.device), ALLOWED_FAILURES)
        return Counted([own], is_known=True, has_cookie=True)
    pair = (_digest("name and address", key, origin.address), ALLOWED_FAILURES)
    if address in known:
        return Counted([pair], is_known=True, has_cookie=False)
    whole = (_digest("name", key), ALLOWED_OF_A_NAME)
    return Counted([pair, whole], is_known=False, has_cookie=False)


def counted_for(user_id: uuid.UUID, given: Literal["password", "code"] = "password") -> Counted:
    """Return what somebody who is signed in counts under, who gives the own password or a code.

    Each counts for itself: a right password forgets no wrong codes.
    """
    name = {"password": "own account", "code": "own code"}[given]
    own = (_digest(name, str(user_id)), ALLOWED_FAILURES)
    return Counted([own], is_known=True, has_cookie=True)


async def count(db: Connection, attempt: Counted) -> bool:
    """Count an attempt before it is made; tell whether it may be made."""
    for bucket, allowed in attempt.buckets:
        # Counting first lets no burst of parallel tries slip through.
        if await db.fetchval(_COUNT, bucket, COUNTED_TIME, LOCK_TIME, allowed) is None:
            return False
    return True


async def succeed(db: Connection, attempt: Counted, user_id: uuid.UUID, origin: Origin) -> None:
    """Forget the failures before a success, and know its device again."""
    await forget(db, attempt)
    address, device = origin.digests
    await db.execute(_REMEMBER, user_id, [address, device] if origin.device else [address])


async def forget(db: Connection, attempt: Counted) -> None:
    """Forget the failures before a success."""
    await db.execute(_FORGET, [bucket for bucket, _ in attempt.buckets])


async def forget_devices(db: Connection) -> None:
    """Drop devices that nobody has signed in from for long."""
    await db.execute(_FORGET_DEVICES, DEVICE_LIFETIME)


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()
