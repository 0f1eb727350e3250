"""Accepted commands (API-22): what was answered 202 is kept, visible and carried out.

A 202 is a row of `api.accepted` and one of the API's outbox in one transaction; nobody else is
needed for it. The job is shown from that row until its owner has a row of the same id: both are
looked at in one statement, so that there is neither a gap nor a job twice. What the owner refuses
without a row of its own becomes FAILED here.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import asyncpg
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.recorded import record_accepted
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.once import KEY_LIFETIME, Asked, Once, require_authority
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.messages.base import Command, Message
from darkroom_common.messages.events import CommandRefused
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.topology import API_REFUSALS

log = get_logger(__name__)
LOOK_SECONDS: Final = 5.0
ENDED_LIFETIME: Final = timedelta(days=30)
_REFUSALS: Final = Inbox("api", API_REFUSALS.name)
_ONCE: Final = Once("accepted", "job_id")
_UNTAKEN: Final = (
    "a.kind = '{name}' AND a.taken_at IS NULL"
    " AND NOT EXISTS (SELECT FROM {table} AS o WHERE o.id = a.job_id)"
)
_EVERY: Final = "{owned} UNION ALL SELECT {shown} FROM api.accepted AS a WHERE {untaken}"
_FIND: Final = "SELECT * FROM ({}) AS jobs WHERE job_id = $1"
_TAKEN: Final = (
    "UPDATE api.accepted AS a SET taken_at = now() WHERE a.kind = '{name}' AND a.taken_at IS NULL"
    " AND EXISTS (SELECT FROM {table} AS o WHERE o.id = a.job_id)"
)
_WAITS: Final = "SELECT a.state, a.command_id FROM api.accepted AS a WHERE a.job_id = $1 AND {}"
_ADD: Final = (
    "INSERT INTO api.accepted (job_id, command_id, kind, command, user_id, requested_by,"
    " idempotency_key, fingerprint, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    " ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING"
    " RETURNING job_id"
)
# A drainer holds the rows that it publishes: what is on its way is passed over.
_WITHDRAW: Final = (
    "DELETE FROM api.outbox WHERE id = (SELECT id FROM api.outbox WHERE message_id = $1"
    " FOR UPDATE SKIP LOCKED) RETURNING id"
)
_END: Final = (
    "UPDATE api.accepted SET state = $2, reason = $3, finished_at = now(), updated_at = now()"
    " WHERE command_id = $1 AND state = 'ACCEPTED' RETURNING job_id"
)
_DROP_TAKEN: Final = (
    "DELETE FROM api.accepted WHERE taken_at < now() - $1::interval"
    " AND created_at < now() - $1::interval"
)
_DROP_ENDED: Final = "DELETE FROM api.accepted WHERE finished_at < now() - $1::interval"


@dataclass(frozen=True)
class JobView:
    """The jobs of an owner together with those that were accepted for it.

    Attributes:
        name: of the kind, in `api.accepted`.
        path: of the list of jobs.
        table: of the owner, with the job's `id`.
        owned: a SELECT of the owner's jobs with `job_id`, from `darkroom_common.readers`.
        shown: the same columns in the same order, of the row `a` of `api.accepted`.
    """

    name: str
    path: str
    table: str
    owned: str
    shown: str

    @property
    def _untaken(self) -> str:
        return _UNTAKEN.format(name=self.name, table=self.table)

    @property
    def source(self) -> str:
        """The SELECT of every job, each once."""
        return _EVERY.format(owned=self.owned, shown=self.shown, untaken=self._untaken)

    async def find(self, db: Connection, job_id: str) -> asyncpg.Record:
        """Return a job.

        Raises:
            ApiError: 404.
        """
        row = await db.fetchrow(_FIND.format(self.source), job_id)
        if row is None:
            raise ApiError(404, Code.NOT_FOUND, "There is no such job.")
        return row

    async def waiting(self, db: Connection, job_id: str) -> asyncpg.Record | None:
        """Return state and command of a job that its owner has no row of."""
        return await db.fetchrow(_WAITS.format(self._untaken), job_id)

    async def mark_taken(self, db: Connection) -> None:
        """Remember which jobs their owner has."""
        await db.execute(_TAKEN.format(name=self.name, table=self.table))


@dataclass(frozen=True)
class Together:
    """A command, and what is done in the transaction that keeps it, which may refuse it.

    Attributes:
        also: takes the request, the transaction, and the job's id.
    """

    command: Command
    also: Callable[[Request, Connection, str], Awaitable[None]]


class Accepted(BaseModel):
    """A job is kept, and will be done; ask for its state."""

    job_id: str
    status_url: str


async def accept(
    request: Request,
    response: Response,
    view: JobView,
    given: BaseModel,
    command: Callable[[], Awaitable[Command | Together]],
) -> Accepted:
    """Keep a command and answer 202, or answer the job that the same request has made before.

    Args:
        request: with its `Idempotency-Key`, if any.
        response: gets the Location.
        view: where the job will be.
        given: the body.
        command: makes the command, with `job_id` and `requested_by`, or refuses what its owner
            would refuse.

    Raises:
        ApiError: 422, the key came with another request; and what `command` raises.
    """

    async def keep(asked: Asked) -> str | None:
        return await _keep(request, asked, view, await command())

    job_id = await _ONCE.job(request, given, keep)
    url = f"{view.path}/{job_id}"
    response.headers["location"] = url
    return Accepted(job_id=job_id, status_url=url)


async def _keep(
    request: Request, asked: Asked, view: JobView, given: Command | Together
) -> str | None:
    """Return the job, once it and its message are durable; None when the key is taken."""
    parts = parts_of(request.scope)
    command, also = (given.command, given.also) if isinstance(given, Together) else (given, None)
    async with parts.database.transaction() as db:
        await require_authority(db, request)
        await _ONCE.forget(db, request, asked)
        job_id = await _put(db, request, view, command, asked)
        if job_id is None:
            return None
        if also is not None:
            await also(request, db, job_id)
        else:
            await record_accepted(db, request.scope, job_id)
    log.info("command.accepted", job=job_id, type=command.TYPE)
    return job_id


async def keep_beside(db: Connection, request: Request, view: JobView, command: Command) -> None:
    """Keep one command of several that a request makes, in its transaction; see `accept`."""
    await _put(db, request, view, command, Asked(None, b""))


async def _put(
    db: Connection, request: Request, view: JobView, command: Command, asked: Asked
) -> str | None:
    principal = principal_of(request.scope)
    body = command.model_dump(mode="json", exclude={"id", "occurred_at", "sealed"})
    job_id: str | None = await db.fetchval(
        _ADD,
        body["job_id"],
        command.id,
        view.name,
        json.dumps(body),
        principal.user_id,
        principal.username[:64],
        asked.key,
        asked.fingerprint,
        command.occurred_at,
    )
    if job_id is not None:
        await parts_of(request.scope).outbox.put(db, command)
    return job_id


async def withdraw(request: Request, view: JobView, job_id: str, action: str) -> str | None:
    """Act on a job that its owner has no row of: cancel it, if it has not gone out.

    Returns:
        The new state; None for a job that the owner has, who is to be asked.

    Raises:
        ApiError: 409, this cannot be done with it now.
    """
    async with parts_of(request.scope).database.transaction() as db:
        row = await view.waiting(db, job_id)
        if row is None:
            return None
        if row["state"] != "ACCEPTED":
            raise _conflict(f"A job that is {row['state']} before it has begun stays so; ask anew.")
        if action != "cancel":
            raise _conflict("The job waits for the service that does it.")
        if not await db.fetchval(_WITHDRAW, row["command_id"]):
            raise _conflict("The job is on its way to the service that does it; try again.")
        await db.execute(_END, row["command_id"], "CANCELLED", "")
    log.info("command.withdrawn", job=job_id, by=str(principal_of(request.scope).user_id))
    return "CANCELLED"


def _conflict(detail: str) -> ApiError:
    return ApiError(409, Code.CONFLICT, detail)


@dataclass(frozen=True)
class AcceptedCommands:
    """What happens to accepted commands beside the requests: refusals, and tidying up."""

    database: Database
    views: tuple[JobView, ...]

    async def refuse(self, message: Message) -> None:
        """Show a job as FAILED that its owner refuses."""
        if not isinstance(message, CommandRefused):
            raise TypeError(f"{API_REFUSALS.name} got {message.TYPE}")
        async with self.database.transaction() as db:
            if not await _REFUSALS.first_time(db, message.id):
                return
            job = await db.fetchval(_END, message.command_id, "FAILED", message.reason)
        log.warning("command.refused", job=job, type=message.type)

    async def tidy(self) -> None:
        """See what owners have taken, and drop what is a day old, until cancelled."""
        while True:
            try:
                await self.look()
            except DependencyUnavailable as error:
                log.warning("accepted.kept", reason=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Do it once. A job that nobody has taken stays, however old."""
        async with self.database.acquire() as db:
            for view in self.views:
                await view.mark_taken(db)
            await db.execute(_DROP_TAKEN, KEY_LIFETIME)
            await db.execute(_DROP_ENDED, ENDED_LIFETIME)
            await _REFUSALS.forget(db, older_than=ENDED_LIFETIME)
