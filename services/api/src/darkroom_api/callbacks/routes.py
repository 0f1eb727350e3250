"""What is done with a callback: its secret changed, tried, enabled again, events sent again."""

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel, Field, StrictBool
from starlette.requests import Request

from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.callbacks import deliveries, signing
from darkroom_api.callbacks.declared import SHOWN_ONCE, OwnCallbacks
from darkroom_api.callbacks.deliveries import Replay, Replayed, hold, replay_range
from darkroom_api.callbacks.repository import PURPOSE
from darkroom_api.callbacks.spec import CALLBACKS
from darkroom_api.events import log
from darkroom_api.events.catalogue import KINDS, TEST, Told, as_json
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code, invalid
from darkroom_api.http.guarded import principal_of
from darkroom_api.http.parts import parts_of
from darkroom_api.jobs.acts import KEY, act_of
from darkroom_api.people.roles import Strict
from darkroom_api.resources.served import serve
from darkroom_common.clock import utc_now
from darkroom_common.messages.base import new_message_id
from darkroom_common.resources.change_log import log_change
from darkroom_common.specs.destinations import Name
from darkroom_common.telemetry import traces

_ONE: Final = f"{CALLBACKS.path}/{CALLBACKS.in_path}"
_WORK: Final = 202
LONGEST_OVERLAP: Final = dt.timedelta(days=30)
_ROTATE: Final = (
    "UPDATE api.callback SET former_secret = secret, former_until = now() + $3::interval,"
    " secret = $2, version = version + 1, updated_at = now() WHERE name = $1"
    " RETURNING former_until"
)
_ENABLE: Final = (
    "UPDATE api.callback SET disabled_at = NULL, disabled_reason = '', failures = 0,"
    " updated_at = now() WHERE name = $1"
)


class Rotation(Strict):
    """A secret in the place of another one."""

    secret: str | None = Field(
        default=None, max_length=128, description="your own; left out: a new one"
    )
    overlap_seconds: int = Field(
        default=86_400,
        ge=0,
        le=int(LONGEST_OVERLAP.total_seconds()),
        description="for how long the former one signs, too",
    )


class NewSecret(BaseModel):
    """The secret that signs from now on."""

    secret: str = SHOWN_ONCE
    former_until: dt.datetime = Field(description="until when the former one signs, too")


class Enabling(Strict):
    """How a callback is taken into use again."""

    replay: StrictBool = Field(
        default=False, description="have sent what it has missed while it was disabled"
    )


class TestSent(BaseModel):
    """What is sent to try a callback."""

    delivery_id: str = Field(description="under which it says what becomes of it")
    event_id: str


class EventKind(BaseModel):
    """A type of event."""

    type: str
    permission: str = Field(description="that whoever sees it, or has it sent, needs")
    description: str


class EventKinds(BaseModel):
    """The types of events."""

    data: list[EventKind]


async def rotate_secret(request: Request, name: Name, given: Rotation) -> NewSecret:
    """Sign with a new secret, and for a while with the former one as well."""
    secret = given.secret or signing.new_secret()
    if not signing.is_secret(secret):
        raise invalid("body.secret", "It is `whsec_` and the base64 of 24 to 64 bytes.")
    parts = parts_of(request.scope)
    sealed = parts.seal.seal(secret, purpose=PURPOSE)
    overlap = dt.timedelta(seconds=given.overlap_seconds)
    async with parts.database.transaction() as db:
        await hold(db, name)
        until = await db.fetchval(_ROTATE, name, sealed, overlap)
        await _changed(db, request, name, "rotate-secret")
    return NewSecret(secret=secret, former_until=until)


async def enable(request: Request, name: Name, given: Enabling) -> Replayed:
    """Send to a callback again that had failed too often."""
    parts = parts_of(request.scope)
    async with parts.database.transaction() as db:
        await log.alone(db)
        row = await hold(db, name)
        since = row["disabled_at"]
        if since is None:
            return Replayed(deliveries=0)
        await db.execute(_ENABLE, name)
        await _changed(db, request, name, "enable")
        told = Told(new_message_id(), "callback.enabled", utc_now(), as_json({"callback": name}))
        await parts.own.deliveries.tell(db, [told])
        if not given.replay:
            return Replayed(deliveries=0)
        missed = Replay(since=since, until=None)
        return await replay_range(db, parts.own.deliveries, row, missed)


async def test(request: Request, name: Name) -> TestSent:
    """Send a callback an event that says nothing, once, whether it is in use or not."""
    parts = parts_of(request.scope)
    async with parts.database.transaction() as db:
        await log.alone(db)
        row = await hold(db, name)
        act = await act_of(db, request)
        if act.said is not None:
            delivery, _, event = act.said.partition(" ")
            return TestSent(delivery_id=delivery, event_id=event)
        event = uuid.uuid4().hex
        trace = traces.inject().get("traceparent", "")
        data = as_json({"callback": name})
        await parts.own.deliveries.tell(db, [Told(event, TEST, utc_now(), data, trace, row["id"])])
        delivery = await deliveries.of_event(db, row["id"], event)
        await record(db, request.scope, Action.JOB_CREATE, "callback_delivery", delivery)
        await act.say(db, f"{delivery} {event}")
    return TestSent(delivery_id=delivery, event_id=event)


async def replay(request: Request, name: Name, given: Replay) -> Replayed:
    """Have the events of a time sent again: those that were not delivered, or all of them."""
    parts = parts_of(request.scope)
    async with parts.database.transaction() as db:
        await log.alone(db)
        row = await hold(db, name)
        act = await act_of(db, request, given)
        if act.said is not None:
            return Replayed.model_validate_json(act.said)
        if row["disabled_at"] is not None:
            raise ApiError(409, Code.CONFLICT, "It is disabled; enable it first.")
        found = await replay_range(db, parts.own.deliveries, row, given)
        details = {"callback": name, "deliveries": found.deliveries, "all": given.delivered_too}
        await record(db, request.scope, Action.JOB_UPDATE, "callback", name, details=details)
        await act.say(db, found.model_dump_json())
    return found


async def list_event_types() -> EventKinds:
    """List the types of events, and what it takes to see them."""
    return EventKinds(
        data=[
            EventKind(type=name, permission=str(kind.permission), description=kind.says)
            for name, kind in KINDS.items()
        ]
    )


async def _changed(db: Any, request: Request, name: str, act: str) -> None:
    by = principal_of(request.scope).username[:64]
    await log_change(db, "api", by=by, kind=f"callback {act}", name=name, before="{}", after="{}")
    details = {"act": act}
    await record(db, request.scope, Action.RESOURCE_UPDATE, "callback", name, details=details)


def add(app: FastAPI) -> None:
    """Add the routes."""
    serve(app, CALLBACKS, of=OwnCallbacks)
    deliveries.add(app)
    failed = errors(400, 401, 403, 404, 413, 422, 503)
    acts: tuple[tuple[str, Callable[..., Any], int], ...] = (
        ("rotate-secret", rotate_secret, 200),
        ("enable", enable, 200),
        ("test", test, _WORK),
        ("replay", replay, _WORK),
    )
    for word, endpoint, status in acts:
        app.add_api_route(
            f"{_ONE}/{word}",
            endpoint,
            methods=["POST"],
            status_code=status,
            tags=[CALLBACKS.tag],
            responses={**failed, **(errors(409) if status == _WORK else {})},
            openapi_extra=KEY if status == _WORK else None,
        )
    app.add_api_route(
        "/api/v1/event-types", list_event_types, tags=["events"], responses=errors(401, 403, 503)
    )
