"""The same request twice is one job: `Idempotency-Key`, by the table that the job is kept in."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Self

from pydantic import BaseModel
from starlette.requests import Request

from darkroom_api.accounts.guard import still_holds
from darkroom_api.audit.recorded import recorded_before
from darkroom_api.http.documented import parameter
from darkroom_api.http.errors import ApiError, Code, invalid, token_invalid
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_common.postgres.pool import Connection
from darkroom_common.postgres.statement import statement

KEY_LIFETIME: Final = timedelta(hours=24)
"""How long an `Idempotency-Key` answers the same job, and how long its row stays at least."""
_KEY_LENGTH: Final = 255


def idempotency_key(what: str) -> dict[str, Any]:
    """Return the parameter of OpenAPI of routes that make something."""
    return parameter(
        "Idempotency-Key",
        f"The same key and request within 24 hours answers the same {what}; another request with"
        " it is refused (422, code 4001).",
        place="header",
        minLength=1,
        maxLength=_KEY_LENGTH,
    )


IDEMPOTENCY_KEY: Final = idempotency_key("job")
_FORGET_KEY: Final = (
    "UPDATE api.{table} SET idempotency_key = NULL WHERE user_id = $1 AND idempotency_key = $2"
    " AND created_at <= now() - $3::interval"
)
_SAME_KEY: Final = (
    "SELECT {id} AS job_id, fingerprint FROM api.{table} WHERE user_id = $1"
    " AND idempotency_key = $2 AND created_at > now() - $3::interval"
)


def key_of(request: Request) -> str | None:
    """Return the key of a request; None for one without.

    Raises:
        ApiError: 422, the key is none.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= _KEY_LENGTH:
        raise invalid("Idempotency-Key", f"It has 1 to {_KEY_LENGTH} characters.")
    return key


@dataclass(frozen=True)
class Asked:
    """What makes a request the same as an earlier one of the same user."""

    key: bytes | None
    fingerprint: bytes

    @classmethod
    def of(cls, request: Request, given: BaseModel) -> Self:
        """Return what a request is known by.

        Raises:
            ApiError: 422, the key is none.
        """
        blind = parts_of(request.scope).blind
        text = json.dumps([request.url.path, given.model_dump(mode="json")], sort_keys=True)
        key = key_of(request)
        return cls(
            None if key is None else blind.token("Idempotency-Key", "value", key),
            blind.token("request", "value", text),
        )


@dataclass(frozen=True)
class Once:
    """Jobs of a table of `api` with `user_id`, `idempotency_key`, `fingerprint`, `created_at`.

    Attributes:
        id: the column of the job.
    """

    table: str
    id: str = "id"

    async def job(
        self, request: Request, given: BaseModel, keep: Callable[[Asked], Awaitable[str | None]]
    ) -> str:
        """Return the job that the same request has made before, or keep a new one.

        Args:
            request: with its key, if any.
            given: the body.
            keep: makes a row and returns its job; None when the key is taken.

        Raises:
            ApiError: 422, the key came with another request; and what `keep` raises.
        """
        asked = Asked.of(request, given)
        job = await self._repeated(request, asked) or await keep(asked)
        if job is None:  # at the same time another request has used the key, and has won
            job = await self._repeated(request, asked)
        if job is None:
            raise ApiError(409, Code.CONFLICT, "The Idempotency-Key was in use; ask again.")
        return job

    async def forget(self, db: Connection, request: Request, asked: Asked) -> None:
        """Let a key of yesterday be used again; in the transaction that keeps the job."""
        if asked.key is not None:
            user = principal_of(request.scope).user_id
            await db.execute(self._of(_FORGET_KEY), user, asked.key, KEY_LIFETIME)

    async def _repeated(self, request: Request, asked: Asked) -> str | None:
        if asked.key is None:
            return None
        user = principal_of(request.scope).user_id
        async with parts_of(request.scope).database.acquire() as db:
            row = await db.fetchrow(self._of(_SAME_KEY), user, asked.key, KEY_LIFETIME)
        if row is None:
            return None
        if row["fingerprint"] != asked.fingerprint:
            raise invalid("Idempotency-Key", "It has come with another request.")
        recorded_before(request.scope)
        job: str = row["job_id"]
        return job

    def _of(self, template: str) -> str:
        return statement(template, table=self.table, id=self.id)


async def require_authority(db: Connection, request: Request) -> None:
    """Make sure, until the transaction ends, that whoever asks may still do so.

    Raises:
        ApiError: 401.
    """
    if not await still_holds(db, principal_of(request.scope)):
        parts_of(request.scope).guard.forget()
        raise token_invalid()
