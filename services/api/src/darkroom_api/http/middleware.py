"""What surrounds every request: its id, a span, metrics, headers, and the answer to a defect.

Nothing here touches the query string or a body: they hold names.
"""

import logging
import re
import traceback
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import orjson
import structlog
from opentelemetry.trace import Span, SpanKind, StatusCode
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from darkroom_api.edge.edge import Edge
from darkroom_api.edge.head import answer_head
from darkroom_api.http.deadline import BETWEEN_PARTS, Deadline
from darkroom_api.http.errors import (
    PROBLEM,
    SHOWN,
    ApiError,
    internal_error,
    misdirected,
    not_whole,
    problem,
    too_late,
)
from darkroom_common.clock import monotonic
from darkroom_common.http.exchange import ENDLESS, UPGRADE
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import api as metrics

log = get_logger(__name__)
_tracer = traces.get_tracer(__name__)
_debug: Final = logging.getLogger(__name__)
_REQUEST_ID: Final = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNROUTED: Final = "(none)"
SERVER_ERROR: Final = 500
_ID: Final = b"x-request-id"
_VARY: Final = b"vary"


class RequestScope:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp, edge: Edge) -> None:
        self._app = app
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        request_id = headers.get("x-request-id", "")
        if not _REQUEST_ID.match(request_id):
            request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        self._edge.enter(scope)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        answer = _Answer(send, request_id, self._edge.headers(scope, headers))
        started = monotonic()
        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            traces.span(
                _tracer,
                method,
                kind=SpanKind.SERVER,
                parent=traces.extract(headers),
                http__request__method=method,
            ) as span,
        ):
            try:
                preflight = self._edge.cross_origin.preflight(scope["method"], headers)
                if not self._edge.hosts.allow(headers.get("host", "")):
                    await answer.fail(misdirected())
                elif preflight is not None:
                    await answer.reply(204, preflight)
                else:
                    async with Deadline(scope) as answer.deadline:
                        if method == "HEAD":
                            await answer_head(self._app, scope, receive, answer.send)
                        else:
                            await self._app(scope, receive, answer.send)
            except TimeoutError:
                answer.page = scope["state"].get(SHOWN)
                await self._late(answer)
            except Exception as error:  # noqa: BLE001 - the last place that can answer
                answer.page = scope["state"].get(SHOWN)
                await self._defect(error, answer)
            self._count(scope, method, answer.status, monotonic() - started, span)

    @staticmethod
    def _count(scope: Scope, method: str, status: int, seconds: float, span: Span) -> None:
        """Keep what has come of a request, in its span and in the metrics."""
        route = str(getattr(scope.get("route"), "path", UNROUTED))
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        if status >= SERVER_ERROR:
            span.set_status(StatusCode.ERROR)
        count, observe = _meters(method, route, status)
        count()
        if ENDLESS not in scope:  # of what lasts as long as somebody listens no time is kept
            observe(seconds)
        if _debug.isEnabledFor(logging.DEBUG):
            log.debug(
                "http.answered",
                method=method,
                route=route,
                status=status,
                seconds=round(seconds, 4),
            )

    @staticmethod
    async def _defect(error: Exception, answer: "_Answer") -> None:
        """Log where it happened, not its text, which may hold PHI, and answer 500 if possible.

        When the answer has begun it stays unfinished, which the client sees as a broken transfer.
        """
        frames = traceback.extract_tb(error.__traceback__)
        log.error(
            "http.failed",
            error=type(error).__name__,
            cause=type(error.__cause__).__name__ if error.__cause__ else None,
            begun=answer.begun,
            at=[f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:]],
        )
        await answer.fail(internal_error())

    @staticmethod
    async def _late(answer: "_Answer") -> None:
        """Say that something does not answer, or leave an answer unfinished that has begun."""
        by_client = answer.deadline is not None and answer.deadline.by_client
        log.warning("http.late", begun=answer.begun, by_client=by_client)
        await answer.fail(not_whole() if by_client else too_late())


class _Answer:
    """Sees what is sent."""

    def __init__(self, send: Send, request_id: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.request_id = request_id
        self.begun = False
        self.status = SERVER_ERROR
        self.deadline: Deadline | None = None
        self.page: Callable[[ApiError], Response] | None = None

    async def fail(self, fault: ApiError) -> None:
        """Answer with an error, unless the answer has begun."""
        self.deadline = None
        if self.begun:
            return
        if self.page is not None:
            shown = self.page(fault)
            await self.reply(shown.status_code, shown.headers, bytes(shown.body))
            return
        body = orjson.dumps(problem(fault, self.request_id))
        headers = {**fault.headers, "content-type": PROBLEM, "content-length": str(len(body))}
        await self.reply(fault.status, headers, body)

    async def reply(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Answer without the application."""
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    async def send(self, message: Message) -> None:
        """Add the headers of every answer, and let each part of it take its time."""
        if self.deadline is not None:
            self.deadline.allow(None)
        if message["type"] in ("http.response.start", UPGRADE):
            self.begun = True
            self.status = message["status"]
            message["headers"] = self._whole(message.get("headers", ()))
        await self._send(message)
        if self.deadline is not None:
            self.deadline.allow(BETWEEN_PARTS)

    def _whole(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return the headers of a route with those that it has not."""
        found = [one for one in given if one[0] != _ID]
        own = {name for name, _ in found}
        for name, value in self._headers:
            if name not in own:
                found.append((name, value))
            elif name == _VARY:
                found = [
                    (each, b"%s, %s" % (said, value) if each == _VARY else said)
                    for each, said in found
                ]
        found.append((_ID, self.request_id.encode()))
        return found


@lru_cache(maxsize=4096)
def _meters(
    method: str, route: str, status: int
) -> tuple[Callable[[], None], Callable[[float], None]]:
    """Return what counts an answer, and what takes how long it has lasted."""
    return (
        metrics.HTTP_REQUESTS.labels(method, route, str(status)).inc,
        metrics.HTTP_SECONDS.labels(method, route).observe,
    )
