"""The same request twice makes one object: `Idempotency-Key`.

UIDs and time of an object are kept before it is made. A request that comes again gets them again,
so what it makes has the same bytes, and ingest stores those once: also when nobody knows whether
the first attempt has got that far.
"""

import datetime as dt
import hashlib
import uuid
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, SerializeAsAny, SkipValidation
from starlette.requests import Request

from darkroom_api.http.errors import ApiError, Code, invalid
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.once import KEY_LIFETIME, Asked, idempotency_key
from darkroom_api.objects.spec import Given
from darkroom_api.objects.storing import Own
from darkroom_common.clock import SYSTEM_CLOCK

KEY: Final = idempotency_key("object")
_OF_UUIDS: Final = "2.25."
_FORGET_OLD: Final = "DELETE FROM api.made_object WHERE created_at <= $1"
_KEEP: Final = (
    "INSERT INTO api.made_object (sop_instance_uid, series_instance_uid, user_id, idempotency_key,"
    " fingerprint, created_at) VALUES ($1, $2, $3, $4, $5, $6)"
    " ON CONFLICT (user_id, idempotency_key) DO NOTHING RETURNING 1"
)
_KEPT: Final = (
    "SELECT sop_instance_uid, series_instance_uid, fingerprint, created_at FROM api.made_object"
    " WHERE user_id = $1 AND idempotency_key = $2"
)
_LONGEST: Final = 64
"""Characters of a UID (PS3.5 section 9.1)."""
_FORGET: Final = "DELETE FROM api.made_object WHERE sop_instance_uid = $1"


@dataclass(frozen=True)
class Meant:
    """What an object is known by.

    Attributes:
        sop_instance_uid: of it.
        series_instance_uid: of its series.
        at: when it is made, in the zone of this host.
        is_kept: whether a request that comes again gets it again.
        is_repeated: whether a request before had it.
    """

    sop_instance_uid: str
    series_instance_uid: str
    at: dt.datetime
    is_kept: bool = False
    is_repeated: bool = False

    def own(self) -> Own:
        """Return that alone."""
        return Own(self.sop_instance_uid, self.series_instance_uid, self.at)

    def more_uids(self, count: int) -> tuple[str, ...]:
        """Return UIDs for what is in the object; see `more_uids`."""
        return more_uids(self.sop_instance_uid, count)


def more_uids(own: str, count: int) -> tuple[str, ...]:
    """Return UIDs for what is in an object of a UID: the same ones for the same object."""
    is_full = len(f"{own}.{count}") > _LONGEST
    if own.startswith(_OF_UUIDS) or is_full:
        made = (uuid.uuid5(uuid.NAMESPACE_OID, f"{own}/{n}").int for n in range(count))
        return tuple(f"{_OF_UUIDS}{one}" for one in made)
    return tuple(f"{own}.{n + 1}" for n in range(count))


class _Whole(BaseModel):
    values: SerializeAsAny[SkipValidation[Given]]  # it is valid, by the rules of its own kind
    digest: str


async def meant(request: Request, given: Given, body: list[bytes]) -> Meant:
    """Return what an object is known by, and keep it when the request has a key.

    Raises:
        ApiError: 422, the key is none, or came with another request; 409, it is forgotten just now.
    """
    parts = parts_of(request.scope)
    now, uids = SYSTEM_CLOCK.now().astimezone(), parts.uids
    uid, series = uids.new(), given.series_instance_uid or uids.new()
    asked = Asked.of(request, _Whole(values=given, digest=_digest(body)))
    if asked.key is None:
        return Meant(uid, series, now)
    user = principal_of(request.scope).user_id
    row = (uid, series, user, asked.key, asked.fingerprint, now)
    async with parts.database.acquire() as db:
        await db.execute(_FORGET_OLD, now - KEY_LIFETIME)
        if await db.fetchval(_KEEP, *row) is not None:
            return Meant(uid, series, now, is_kept=True)
        kept = await db.fetchrow(_KEPT, user, asked.key)
    if kept is None:  # who had used it was refused meanwhile
        raise ApiError(409, Code.CONFLICT, "The Idempotency-Key was in use; ask again.")
    if kept["fingerprint"] != asked.fingerprint:
        raise invalid("Idempotency-Key", "It has come with another request.")
    uid, series = kept["sop_instance_uid"], kept["series_instance_uid"]
    return Meant(uid, series, kept["created_at"].astimezone(), is_kept=True, is_repeated=True)


async def forget(request: Request, made: Meant) -> None:
    """Let the key be used again: what came with it was refused, and nothing was made of it."""
    async with parts_of(request.scope).database.acquire() as db:
        await db.execute(_FORGET, made.sop_instance_uid)


def _digest(body: list[bytes]) -> str:
    made = hashlib.sha256()
    for piece in body:
        made.update(piece)
    return made.hexdigest()
