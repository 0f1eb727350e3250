"""Reports of workitems over WebSocket (PS3.18 sections 8.10.4, 8.10.5 and 11.13).

A report stays to be sent until it has reached the subscriber: behind each few of them goes a ping,
whose pong says so. Whoever comes back, to whatever process, is told what is left.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from darkroom_api.accounts.permissions import Permission, has
from darkroom_api.dicomweb.workitems.asking import ae_title_of
from darkroom_api.dicomweb.workitems.reports import deliver, delivered_to, report_json
from darkroom_api.dicomweb.workitems.routes import AE_TITLE
from darkroom_api.dicomweb.workitems.socket import (
    GOING_AWAY,
    POLICY,
    Socket,
    accepted_key,
    no_websocket,
)
from darkroom_api.edge.head import is_head
from darkroom_api.http.documented import errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.guarded import authenticated, principal_of
from darkroom_api.http.parts import Parts, parts_of
from darkroom_common.clock import monotonic
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.http.exchange import ENDLESS, UPGRADE
from darkroom_common.readers import workitems
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
PATH: Final = "/dicom-web/subscribers/{ae_title}"
PAGE: Final = 50
"""Reports between pings."""
HEARTBEAT_SECONDS: Final = 10.0
CHECK_SECONDS: Final = 10.0


@dataclass
class Telling:
    """Tells one subscriber.

    Attributes:
        position: the number of the last report that it was sent.
    """

    request: Request
    socket: Socket
    ae_title: str
    position: int = 0
    _checked: float = 0.0

    @property
    def _parts(self) -> Parts:
        return parts_of(self.request.scope)

    async def run(self) -> None:
        """Tell until the subscriber goes, may listen no more, or the process stops."""
        news = self._parts.report_news
        self._checked = monotonic()
        await self._begin()
        while not self.socket.ended:
            if news.closed:
                await self.socket.close(GOING_AWAY, "this process stops; come again")
                return
            event = news.news
            try:
                if reason := await self._refusal():
                    await self.socket.close(POLICY, reason)
                    return
                sent = await self._next()
            except DependencyUnavailable:
                sent = False  # later
            if not sent:
                await _within(event, HEARTBEAT_SECONDS)
            if not await self.socket.has_arrived(b"%d" % self.position):
                await self.socket.close(GOING_AWAY, "no pong")
                return
            if sent:
                await self._arrived()

    async def _begin(self) -> None:
        async with self._parts.database.acquire() as db:
            newest = await workitems.newest_report(db)
            # A database that was brought back from before has given fewer numbers.
            self.position = min(await delivered_to(db, self.ae_title), newest)

    async def _next(self) -> bool:
        """Send what follows; return whether there was something."""
        async with self._parts.database.acquire() as db:
            rows = await workitems.reports(db, self.ae_title, self.position, PAGE)
        for row in rows:
            await self.socket.say(report_json(self._parts.seal, row))
            self.position = row["number"]
        return bool(rows)

    async def _arrived(self) -> None:
        try:
            async with self._parts.database.acquire() as db:
                await deliver(db, self.ae_title, self.position)
        except DependencyUnavailable as error:  # it is told again, another time
            log.warning("workitem_reports.not_kept", reason=str(error))

    async def _refusal(self) -> str:
        """Return why somebody may listen no more; look at it now and then."""
        if monotonic() - self._checked < CHECK_SECONDS:
            return ""
        self._checked = monotonic()
        try:
            principal = await authenticated(self.request.scope)
        except ApiError as error:
            return error.detail
        self.request.scope["principal"] = principal
        allowed = has(Permission.STEPS_READ, principal.permissions)
        return "" if allowed else "A permission is missing."


class Reports(Response):
    """The answer that becomes a WebSocket; the place of its listener is free when it is over."""

    def __init__(self, request: Request, accept: bytes, place: AsyncExitStack) -> None:
        super().__init__(status_code=101)
        self._request, self._accept, self._place = request, accept, place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speak it."""
        scope[ENDLESS] = True
        async with self._place:
            socket = Socket(receive, send)
            await socket.open(self._accept)
            telling = Telling(self._request, socket, ae_title_of(self._request))
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(socket.listen())
                await telling.run()
                listening.cancel()


async def listen(request: Request) -> Response:
    """Open a WebSocket by which an AE is told of workitems."""
    parts, user = parts_of(request.scope), str(principal_of(request.scope).user_id)
    ae_title_of(request)
    scope = request.scope
    if is_head(request) or scope["http_version"] != "1.1" or UPGRADE not in scope["extensions"]:
        raise no_websocket()
    accept = accepted_key(request.headers)
    _require_origin(request, frozenset(parts.settings.cors_origins))
    await request.body()
    await _require_ae(request)
    stack = AsyncExitStack()
    await stack.enter_async_context(parts.hub.listening(user))
    stack.enter_context(parts.report_news.listening())
    return Reports(request, accept, stack)


async def _require_ae(request: Request) -> None:
    """Refuse those whose AE title this is not.

    It is of the user of this name, and of whoever has subscribed it; who may change workitems may
    listen as any.

    Raises:
        ApiError: 403.
    """
    principal, ae_title = principal_of(request.scope), ae_title_of(request)
    if has(Permission.STEPS_WRITE, principal.permissions):
        return
    if principal.username.casefold() == ae_title.casefold():
        return
    async with parts_of(request.scope).database.acquire() as db:
        if await workitems.subscribes(db, ae_title, principal.username):
            return
    raise ApiError(403, Code.PERMISSION_DENIED, "This AE title is not yours to listen as.")


def _require_origin(request: Request, known: frozenset[str]) -> None:
    """Refuse pages of others, which a browser signs in without asking (RFC 6455 section 10.2).

    Raises:
        ApiError: 403.
    """
    origin = request.headers.get("origin")
    own = f"{request.scope['scheme']}://{request.headers.get('host', '')}"
    public = parts_of(request.scope).settings.public_url
    if origin is not None and origin not in {own, public, *known}:
        raise ApiError(403, Code.PERMISSION_DENIED, "Pages of this origin may not listen.")


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def add(app: FastAPI) -> None:
    """Add the route."""
    app.add_api_route(
        PATH,
        listen,
        name="listen_to_workitems",
        tags=["UPS-RS"],
        response_class=Response,
        status_code=101,
        responses={
            101: {"description": "A WebSocket: each message is a report in DICOM JSON."},
            **errors(400, 401, 403, 426, 429, 503),
        },
        openapi_extra={"parameters": [AE_TITLE]},
    )
