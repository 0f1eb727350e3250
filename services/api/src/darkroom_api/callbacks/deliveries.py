"""The log of deliveries, and what is sent again of it."""

import datetime as dt
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.callbacks.repository import Deliveries
from darkroom_api.callbacks.spec import CALLBACKS, EVERY_EVENT, EventType
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.etags import ETAG, IfMatch, IfNoneMatch, answer, require, unless_known
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.lists import JOBS, LINKED, Catalogue, JobsQuery, Listed, list_of
from darkroom_api.http.parts import parts_of
from darkroom_api.http.typed import Moment
from darkroom_api.jobs.acts import KEY, act_of
from darkroom_common.messages.base import MessageId
from darkroom_common.postgres.pool import Connection
from darkroom_common.specs.destinations import Name

_BASE: Final = f"{CALLBACKS.path}/{CALLBACKS.in_path}/deliveries"
_ONE: Final = _BASE + "/{delivery}"
AT_ONCE: Final = 5000
"""Deliveries that one request has made or made again."""
State = Literal["PENDING", "DELIVERING", "RETRYING", "DELIVERED", "FAILED", "CANCELLED"]
_HOLD: Final = (
    "SELECT id, name, spec->'events' AS events, disabled_at FROM api.callback WHERE name = $1"
    " FOR UPDATE"
)
_SHOWN: Final = (
    "SELECT id AS job_id, id AS delivery_id, event_id, type, state, reason, status, attempts,"
    " CASE WHEN state IN ('PENDING', 'RETRYING') THEN next_at END AS next_at,"
    " created_at, updated_at, finished_at FROM api.callback_delivery"
    " WHERE callback_id = (SELECT id FROM api.callback WHERE name = $1)"
)
_ATTEMPTS: Final = (
    "SELECT number, at, seconds, status, reason FROM api.callback_attempt WHERE delivery = $1"
    " ORDER BY number DESC LIMIT 100"
)
_OF_EVENT: Final = "SELECT id FROM api.callback_delivery WHERE callback_id = $1 AND event_id = $2"
_CHOSEN: Final = (  # event_recorded, callback_delivery_callback_id_event_key
    "SELECT e.number, e.id AS event_id, e.type, e.traceparent, e.recorded_at, d.id AS delivery,"
    " $6::text AS callback_id, $7::text AS name"
    " FROM api.event e"
    " LEFT JOIN api.callback_delivery d ON d.event = e.number AND d.callback_id = $6"
    " WHERE e.recorded_at >= $1 AND ($2::timestamptz IS NULL OR e.recorded_at < $2)"
    " AND e.number > $8 AND e.callback_id = '' AND ($3::text[] IS NULL OR e.type = ANY($3))"
    " AND (d.id IS NULL OR d.state IN ('FAILED', 'CANCELLED') OR ($4 AND d.state = 'DELIVERED'))"
    " ORDER BY e.number LIMIT $5"
)
_AGAIN: Final = (
    "UPDATE api.callback_delivery SET state = 'PENDING', reason = '', tries = 0, wait_seconds = 0,"
    " next_at = now(), finished_at = NULL, updated_at = now()"
    " WHERE id IN (SELECT id FROM api.callback_delivery WHERE id = ANY($1::text[])"
    "  AND state IN ('DELIVERED', 'FAILED', 'CANCELLED') ORDER BY id FOR UPDATE SKIP LOCKED)"
    " RETURNING *"
)


class DeliverySearch(JobsQuery):
    """What the list is narrowed by."""

    state: State | None = None
    type: str | None = Field(default=None, max_length=64)
    event_id: MessageId | None = None


class DeliveryShown(BaseModel):
    """An event on its way to a callback."""

    delivery_id: str
    event_id: str = Field(description="in `webhook-id`: the same in every attempt")
    type: str
    state: State
    reason: str = Field(description="why it is not delivered; nothing that the receiver has said")
    status: int | None = Field(description="of the last answer; null: there was none")
    attempts: int
    next_at: dt.datetime | None = Field(description="when it is tried next")
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None


class AttemptShown(BaseModel):
    """One attempt of a delivery."""

    number: int
    at: dt.datetime = Field(description="when it was over")
    seconds: float
    status: int | None
    reason: str


class DeliveryDetail(DeliveryShown):
    """A delivery with its attempts, the newest 100."""

    attempt_list: list[AttemptShown]


class Replay(BaseModel):
    """Which events to send again."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, populate_by_name=True)

    since: Moment = Field(description="recorded then or later")
    until: Moment | None = Field(default=None, description="recorded before; left out: all since")
    events: tuple[EventType, ...] | None = Field(
        default=None, max_length=100, description="of these types; left out: all that it takes"
    )
    delivered_too: StrictBool = Field(
        default=False, description="those that were delivered, as well"
    )
    after: str | None = Field(
        default=None, pattern=r"^[0-9]{1,18}$", description="`continue_after` of the answer before"
    )


class Replayed(BaseModel):
    """What is sent again."""

    deliveries: int
    continue_after: str | None = Field(
        default=None, description="when there is more: ask again with this as `after`"
    )


async def hold(db: Connection, name: str) -> Any:
    """Keep a callback as it is until the transaction ends; return its row.

    Raises:
        ApiError: 404.
    """
    row = await db.fetchrow(_HOLD, name)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no callback of this name.")
    return row


async def of_event(db: Connection, callback_id: str, event_id: str) -> str:
    """Return the id of the delivery of an event to a callback."""
    return str(await db.fetchval(_OF_EVENT, callback_id, event_id))


async def replay_range(
    db: Connection, deliveries: Deliveries, callback: Any, given: Replay
) -> Replayed:
    """Have events of the log delivered to a callback, each under its id of before.

    Args:
        db: within a transaction that holds the callback.
        deliveries: takes them.
        callback: its row, see `hold`.
        given: which ones.
    """
    takes = set(_events(callback))
    types: list[str] | None = None
    if given.events is not None:
        types = [one for one in given.events if one in takes or EVERY_EVENT in takes]
    elif EVERY_EVENT not in takes:
        types = sorted(takes)
    chosen = await db.fetch(
        _CHOSEN,
        given.since,
        given.until,
        types,
        given.delivered_too,
        AT_ONCE + 1,
        callback["id"],
        callback["name"],
        int(given.after or 0),
    )
    these = chosen[:AT_ONCE]
    made = await deliveries.insert(db, [row for row in these if row["delivery"] is None])
    again = await db.fetch(_AGAIN, [row["delivery"] for row in these if row["delivery"]])
    for row in again:
        await deliveries.table.entered(db, row, {})
    more = str(these[-1]["number"]) if len(chosen) > AT_ONCE else None
    return Replayed(deliveries=made + len(again), continue_after=more)


def _events(callback: Any) -> list[str]:
    found: list[str] = orjson.loads(callback["events"])
    return found


def _shown(row: Any) -> DeliveryShown:
    return DeliveryShown.model_validate(dict(row))


async def list_deliveries(
    request: Request, response: Response, name: Name, asked: Annotated[DeliverySearch, Query()]
) -> Listed[DeliveryShown]:
    """List what was sent to a callback, or will be, the newest first."""
    async with parts_of(request.scope).database.acquire() as db:
        await _known(db, name)
    return await list_of(request, response, asked, Catalogue(_SHOWN, JOBS, _shown, [name]))


async def _known(db: Connection, name: str) -> None:
    if not await db.fetchval("SELECT EXISTS (SELECT FROM api.callback WHERE name = $1)", name):
        raise ApiError(404, Code.NOT_FOUND, "There is no callback of this name.")


async def show_delivery(
    request: Request, name: Name, delivery: MessageId, if_none_match: IfNoneMatch = None
) -> Response:
    """Show one, with its attempts."""
    async with parts_of(request.scope).database.acquire() as db:
        found = await _detail(db, name, delivery)
    return unless_known(answer(found.model_dump()), if_none_match)


async def _detail(db: Connection, name: str, delivery: str) -> DeliveryDetail:
    row = await db.fetchrow(f"{_SHOWN} AND id = $2", name, delivery)
    if row is None:
        raise ApiError(404, Code.NOT_FOUND, "There is no such delivery.")
    attempts = [dict(one) for one in await db.fetch(_ATTEMPTS, delivery)]
    return DeliveryDetail.model_validate({**dict(row), "attempt_list": attempts})


async def replay_delivery(
    request: Request, name: Name, delivery: MessageId, if_match: IfMatch = None
) -> DeliveryDetail:
    """Have one sent again, or at once if it waits; `webhook-id` stays what it was."""
    parts = parts_of(request.scope)
    async with parts.database.transaction() as db:
        shown = await _detail(db, name, delivery)
        if (await act_of(db, request)).said is not None:
            return shown
        require(if_match, shown.model_dump())
        by = principal_of(request.scope).username[:64]
        acted = await parts.own.deliveries.table.act(db, delivery, "retry", by=by)
        if acted is None or acted.after is None:
            raise ApiError(409, Code.CONFLICT, "It is being sent, or about to be.")
        await record(db, request.scope, Action.JOB_UPDATE, "callback_delivery", delivery)
        return await _detail(db, name, delivery)


def add(app: FastAPI) -> None:
    """Add the routes."""
    found = errors(401, 403, 404, 422, 503)
    tags: Final = [CALLBACKS.tag]
    app.add_api_route(_BASE, list_deliveries, tags=[*tags], responses={**LINKED, **found})
    shown: dict[int | str, dict[str, Any]] = {200: {"model": DeliveryDetail, "headers": ETAG}}
    app.add_api_route(
        _ONE, show_delivery, tags=[*tags], response_class=Response, responses={**found, **shown}
    )
    app.add_api_route(
        f"{_ONE}/replay",
        replay_delivery,
        methods=["POST"],
        status_code=202,
        tags=[*tags],
        responses={**found, **errors(409)},
        openapi_extra=KEY,
    )
