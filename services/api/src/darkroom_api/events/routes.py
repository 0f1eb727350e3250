"""The event stream (API-13): server-sent events, as the HTML standard has them (section 9.2).

Each event has the number of the log as its id, from which a listener goes on after a break. Who
may see what is asked again every ten seconds: what was taken from somebody is shown no more after
`CHECK_SECONDS` and the five for which an answer about a token is used.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import FastAPI, Header, Query
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from darkroom_api.accounts.permissions import has
from darkroom_api.callbacks.spec import EVENT_TYPES, EventType
from darkroom_api.events.catalogue import KINDS
from darkroom_api.events.hub import Hub
from darkroom_api.events.log import Entry
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, invalid, permission_denied
from darkroom_api.http.guarded import authenticated, principal_of
from darkroom_api.http.parts import parts_of
from darkroom_common.clock import monotonic
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.http.exchange import ENDLESS

PATH: Final = "/api/v1/events"
HEARTBEAT_SECONDS: Final = 10.0
CHECK_SECONDS: Final = 10.0
_RETRY_MS: Final = 3000
_LONGEST: Final = 18
LastEventId = Annotated[
    str | None,
    Header(max_length=64, description="the id of the last event that you have; 0: from the first"),
]


class Listening(StreamingResponse):
    """An answer that goes on; the place of its listener is free when it is over."""

    media_type = "text/event-stream"

    def __init__(
        self, content: AsyncIterator[bytes], place: AsyncExitStack, headers: Mapping[str, str]
    ) -> None:
        super().__init__(content, headers=headers)
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        scope[ENDLESS] = True
        async with self._place:
            await super().__call__(scope, receive, send)


@dataclass
class Stream:
    """What one listener is sent.

    Attributes:
        request: that it listens by.
        hub: where it reads.
        wanted: types.
        position: the number of the last event that it was sent, or that was left out.
        missed: what says that events before are gone.
    """

    request: Request
    hub: Hub
    wanted: frozenset[str]
    position: int
    missed: bytes = b""
    _checked: float = 0.0
    _may: frozenset[str] = frozenset()

    async def run(self) -> AsyncIterator[bytes]:
        """Send until the listener goes, may listen no more, or the process stops."""
        self._checked, self._may = monotonic(), self._types()
        yield f"retry: {_RETRY_MS}\n\n".encode() + self.missed
        while not self.hub.closed:
            try:
                reason = await self._refusal()
                text = _frame("end", {"reason": reason}) if reason else await self._next()
            except DependencyUnavailable:
                reason, text = "", b": the database is away\n\n"
                await _within(self.hub.news, HEARTBEAT_SECONDS)
            yield text
            if reason:
                return

    async def _next(self) -> bytes:
        """Return what follows: events, the news that some are gone, or a sign of life."""
        news = self.hub.news
        found = await self.hub.after(self.position)
        if not found:
            await _within(news, HEARTBEAT_SECONDS)
            found = await self.hub.after(self.position)
        if not found:
            return f"id: {self.position}\n: all is well\n\n".encode()
        gap = b""
        if found[0].number > self.position + 1:
            gap = await self._gap()
        self.position = found[-1].number
        shown = [one for one in found if one.type in self._may]
        text = b"".join(map(_event, shown))
        if not shown or shown[-1].number != self.position:
            text += f"id: {self.position}\n\n".encode()
        return gap + text

    async def _gap(self) -> bytes:
        ends = await self.hub.ends()
        if ends.removed_to <= self.position:
            return b""  # numbers that were never given
        return _gone(self.position, ends.removed_to)

    async def _refusal(self) -> str:
        """Return why a listener may listen no more; look at it now and then."""
        if monotonic() - self._checked < CHECK_SECONDS:
            return ""
        self._checked = monotonic()
        try:
            self.request.scope["principal"] = await authenticated(self.request.scope)
        except ApiError as error:
            return error.detail
        self._may = self._types()
        return ""

    def _types(self) -> frozenset[str]:
        held = principal_of(self.request.scope).permissions
        return frozenset(
            name
            for name, kind in KINDS.items()
            if name in self.wanted and has(kind.permission, held)
        )


def _event(one: Entry) -> bytes:
    head = json.dumps({"id": one.id, "type": one.type, "timestamp": one.at}, separators=(",", ":"))
    return (
        f'id: {one.number}\nevent: {one.type}\ndata: {head[:-1]},"data":{one.data}}}\n\n'
    ).encode()


def _gone(after: int, through: int) -> bytes:
    return _frame("gap", {"after": str(after), "through": str(through)})


async def _within(news: asyncio.Event, seconds: float) -> None:
    """Wait for news, or so long."""
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return


def _frame(kind: str, data: dict[str, str]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


async def listen(
    request: Request,
    types: Annotated[
        str | None,
        Query(max_length=2000, description="types with commas between them; left out: all"),
    ] = None,
    last_event_id: LastEventId = None,
    after: Annotated[
        str | None, Query(max_length=64, description="as `Last-Event-ID`, which goes before it")
    ] = None,
) -> StreamingResponse:
    """Listen to what happens, as far as you may see it. The answer goes on until you go."""
    hub = parts_of(request.scope).hub
    wanted = _wanted(request, types)
    asked = _number(last_event_id or after)
    ends = await hub.ends()
    position = ends.newest if asked is None else min(max(asked, ends.removed_to), ends.newest)
    # Also of a database that was brought back from before: the number is not the log's.
    missed = b"" if asked in (None, position) else _gone(asked or 0, position)
    stream = Stream(request, hub, wanted, position, missed)
    stack = AsyncExitStack()
    user = str(principal_of(request.scope).user_id)
    await stack.enter_async_context(hub.listening(user))
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return Listening(stream.run(), stack, headers)


def _wanted(request: Request, types: str | None) -> frozenset[EventType]:
    if types is None:
        return frozenset(EVENT_TYPES)
    named = {one.strip() for one in types.split(",")}
    known: frozenset[EventType] = frozenset(one for one in EVENT_TYPES if one in named)
    if len(known) != len(named):
        raise invalid("query.types", "It names a type that there is not; see /event-types.")
    held = principal_of(request.scope).permissions
    for one in sorted(known):
        if not has(KINDS[one].permission, held):
            raise permission_denied(str(KINDS[one].permission))
    return known


def _number(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST):
        raise invalid("header.last-event-id", "It is the id of an event: a number.")
    return int(text)


def add(app: FastAPI) -> None:
    """Add the route."""
    app.add_api_route(
        PATH,
        listen,
        tags=["events"],
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "Events, one after the other.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **errors(401, 403, 422, 429, 503),
        },
    )
