"""The same act twice is one: `Idempotency-Key` of what makes no job of its own.

A dead letter is replayed, an object of the quarantine released: whoever has seen no answer asks
again with the key, and is answered as the first time, whatever has become of it meanwhile.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel
from starlette.requests import Request

from darkroom_api.http.errors import ApiError, Code, invalid
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.once import KEY_LIFETIME, Asked, idempotency_key
from darkroom_common.postgres.pool import Connection

KEY: Final = {"parameters": [idempotency_key("act")]}
"""What OpenAPI says of a route that takes one."""
_UNKNOWN: Final = 500
"""The first status of an answer after which it may have been done."""
_FORGET_OLD: Final = "DELETE FROM api.act WHERE created_at <= now() - $1::interval"
_KEEP: Final = (
    "INSERT INTO api.act (user_id, idempotency_key, fingerprint, said) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT DO NOTHING RETURNING 1"
)
_KEPT: Final = "SELECT fingerprint, said FROM api.act WHERE user_id = $1 AND idempotency_key = $2"
_SAY: Final = "UPDATE api.act SET said = $3 WHERE user_id = $1 AND idempotency_key = $2"
_FORGET: Final = "DELETE FROM api.act WHERE user_id = $1 AND idempotency_key = $2"


class Nothing(BaseModel):
    """The body of a request that has none."""


@dataclass(frozen=True)
class Act:
    """An act of a request.

    Attributes:
        said: what an earlier request with the same key has kept; None: there was none.
    """

    request: Request
    asked: Asked
    said: str | None

    async def say(self, db: Connection, said: str) -> None:
        """Keep what the answer is made of, for whoever asks again.

        Args:
            db: with the transaction of `act_of`.
            said: ids and numbers; nothing that identifies a patient.
        """
        if self.asked.key is not None:
            user = principal_of(self.request.scope).user_id
            await db.execute(_SAY, user, self.asked.key, said)

    async def forget(self, db: Connection) -> None:
        """Let the key be used again: what came with it was refused, and nothing was done."""
        if self.asked.key is not None:
            await db.execute(_FORGET, principal_of(self.request.scope).user_id, self.asked.key)


@asynccontextmanager
async def kept_unless_refused(act: Act) -> AsyncIterator[None]:
    """Let the key be used again when what a block asks of another service is refused.

    Where nobody knows whether it was done, the key stays: who asks again means the same act.
    """
    try:
        yield
    except ApiError as error:
        if error.status < _UNKNOWN:
            async with parts_of(act.request.scope).database.acquire() as db:
                await act.forget(db)
        raise


async def act_of(
    db: Connection, request: Request, given: BaseModel | None = None, *, said: str = ""
) -> Act:
    """Keep that a request does something; tell whether it has come before.

    Who comes at the same moment with the same key waits for the transaction.

    Args:
        db: with the transaction that does it: what is undone leaves no key.
        request: with its key, if any.
        given: the body, if there is one.
        said: see `Act.say`.

    Raises:
        ApiError: 422, the key is none, or came with another request; 409, it is forgotten just now.
    """
    asked = Asked.of(request, given or Nothing())
    if asked.key is None:
        return Act(request, asked, None)
    user = principal_of(request.scope).user_id
    await db.execute(_FORGET_OLD, KEY_LIFETIME)
    if await db.fetchval(_KEEP, user, asked.key, asked.fingerprint, said) is not None:
        return Act(request, asked, None)
    kept = await db.fetchrow(_KEPT, user, asked.key)
    if kept is None:  # who had used it was refused meanwhile
        raise ApiError(409, Code.CONFLICT, "The Idempotency-Key was in use; ask again.")
    if kept["fingerprint"] != asked.fingerprint:
        raise invalid("Idempotency-Key", "It has come with another request.")
    return Act(request, asked, kept["said"])
