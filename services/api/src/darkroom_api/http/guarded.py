"""Routes that ask the permission table before anything of a request is read."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from darkroom_api.accounts.access import ACCESS, access_of
from darkroom_api.accounts.client import address_of
from darkroom_api.accounts.cookies import ACCESS as ACCESS_COOKIE
from darkroom_api.accounts.cookies import cookie_of
from darkroom_api.accounts.guard import Principal, key_refused
from darkroom_api.accounts.permissions import Access, Open, allows
from darkroom_api.audit.actions import Action
from darkroom_api.audit.recorded import KNOWN, recording
from darkroom_api.audit.recording import record
from darkroom_api.desk.fence import require_unfenced
from darkroom_api.edge.flags import require_in_use, with_rights
from darkroom_api.http.body import JsonRequest
from darkroom_api.http.deadline import whole_body_missing
from darkroom_api.http.errors import ApiError, Code, handled, permission_denied, token_invalid
from darkroom_api.http.parts import parts_of
from darkroom_api.licence.gate import require_licensed
from darkroom_api.rates.classes import IN_FLOW, Class, class_of
from darkroom_api.settings import ApiSettings
from darkroom_common.errors import ConfigurationError

BODY_LIMIT: Final = 1 << 20
"""Bytes of a request's body."""
BULK_LIMIT: Final = 8 << 20
"""The same of bulk changes."""
PUBLIC_BODY_LIMIT: Final = 64 * 1024
"""The same of who has not signed in."""
WITHIN: Final = "darkroom.within"
"""In the scope of what a page of the console asks for by itself."""
_FIXED: Final = frozenset(path for _, path in ACCESS if "{" not in path)
_VALIDATE: Final = "/api/v1/validate"
_OBJECTS: Final = "/api/v1/objects/{kind}"
UPLOAD_LIMIT: Final = 64 << 20
"""The same of a picture or a document of which an object is made."""
_REST: Final = "/api/v1/"
_JSON_ALONE: Final = "The body has to be application/json, as it is."
_JSON: Final = re.compile(r"application/([a-z0-9!#$&^_.-]+\+)?json")
_UNKNOWN: Final = "There is no such parameter here."
_STORE: Final = frozenset({"/dicom-web/studies", "/dicom-web/studies/{study}"})


def limited(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Return `receive` for bodies of at most `limit` bytes, however they are framed."""
    received, whole = 0, False

    async def counted() -> Message:
        nonlocal received, whole
        try:
            message = await receive()
        except asyncio.CancelledError:
            if not whole:
                whole_body_missing(scope)
            raise
        whole = not message.get("more_body", False)
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413)
        return message

    return counted


def _answering(endpoint: Callable[[Request], Coroutine[Any, Any, Response]]) -> ASGIApp:
    """Return the application of an endpoint that takes nothing that would have to be found first.

    FastAPI's has two stacks for what dependencies leave behind.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await handled(answer, scope, receive, send)

    return app


@dataclass(frozen=True, slots=True)
class _Terms:
    """On what a method of a route is served.

    Attributes:
        access: what it needs.
        kind: what it is counted under.
        limit: bytes of the body of a request.
    """

    access: Access
    kind: Class
    limit: int


class GuardedRoute(APIRoute):
    """A route whose permission is looked up in `ACCESS` by method and path.

    Attributes:
        is_plain: whether its endpoint takes the request and nothing else.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        alone = list(signature(self.endpoint).parameters) == ["request"]
        self.is_plain = alone and parameters_of(self) is None
        self._terms: dict[str, _Terms] = {}
        if self.is_plain:
            self.app = _answering(self.endpoint)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Leave a path that stands in the table as it is to the routes of that path."""
        found, inner = super().matches(scope)
        if found is not Match.NONE and "{" in self.path and scope["path"] in _FIXED:
            return Match.NONE, {}
        return found, inner

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers, with bodies read by `JsonRequest` and parameters that are known."""
        answer, known = super().get_route_handler(), parameters_of(self)
        takes_json = self.body_field is not None

        async def strictly(request: Request) -> Response:
            if known is not None:
                _require_known(request, known)
            if takes_json:
                _require_json(request.headers)
            return await answer(JsonRequest(request.scope, request.receive))

        return strictly

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse who may not call this, then answer."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)  # says which methods there are
            return
        parts = parts_of(scope)
        terms = self._terms_of(scope["method"], parts.settings)
        require_in_use(self.path, parts.settings)
        if terms.access is Open.PUBLIC:
            who = address_of(scope)
        else:
            scope["principal"] = principal = await authenticated(scope)
            who = str(principal.user_id)
        if terms.kind in IN_FLOW:
            async with parts.flow.of(terms.kind, who):
                if terms.kind is Class.DICOMWEB:
                    receive, send = parts.flow.counted(who, receive, send)
                await self._permitted(terms, scope, receive, send)
            return
        within = terms.kind is Class.DEFAULT and WITHIN in scope  # a page counts, not its parts
        if terms.kind is not Class.LOGIN and not within:  # of sign-ins only failures count
            # Of exports what is made: the route counts that itself.
            counted = Class.DEFAULT if terms.kind is Class.EXPORTS else terms.kind
            send = with_headers(send, await parts.rates.take(counted, who))
        await self._permitted(terms, scope, receive, send)

    def _terms_of(self, method: str, settings: ApiSettings) -> _Terms:
        """Return on what a method of this route is served: the settings stay as they are."""
        found = self._terms.get(method)
        if found is None:
            access = access_of(method, self.path, open_docs=settings.open_docs)
            if access is None:  # not reached: the application checks its routes when it is made
                raise token_invalid()
            kind = class_of(method, self.path, access)
            limit = PUBLIC_BODY_LIMIT if access is Open.PUBLIC else BODY_LIMIT
            if kind is Class.BULK:
                limit = BULK_LIMIT
            elif self.path == _VALIDATE:
                limit = settings.validate_limit
            elif self.path == _OBJECTS:
                limit = UPLOAD_LIMIT
            elif method == "POST" and self.path in _STORE:
                limit = settings.stow_limit
            found = self._terms[method] = _Terms(access, kind, limit)
        return found

    async def _permitted(self, terms: _Terms, scope: Scope, receive: Receive, send: Send) -> None:
        access, limit = terms.access, terms.limit
        if access is not Open.PUBLIC:
            principal = principal_of(scope)
            if access is Open.IN_PERSON and principal.presence is None:
                raise await self._denied(scope, access, key_refused())
            if not allows(access, principal.permissions):
                raise await self._denied(scope, access, permission_denied(str(access.value)))
        require_unfenced(scope, scope["method"], self.path)
        await require_licensed(scope, scope["method"], self.path)
        sending = await recording(scope, self.path, send)
        try:
            await self.app(scope, limited(scope, receive, limit), sending)
        except Exception:
            known = scope.pop(KNOWN, None)
            if known is None:
                raise
            # It may not be that any more, whatever has come of it: its object may be gone, too.
            # Nothing of an answer has gone out. Once more, with nothing that was known before.
            parts_of(scope).forget(known)
            await self.app(scope, limited(scope, receive, limit), sending)

    async def _denied(self, scope: Scope, access: Access, answer: ApiError) -> ApiError:
        """Keep that somebody has tried what they may not; return the answer to raise."""
        details = {"method": scope["method"], "route": self.path, "needs": str(access.value)}
        async with parts_of(scope).database.transaction() as db:
            await record(
                db, scope, Action.ACCESS_DENIED, "route", outcome="failure", details=details
            )
        return answer


def parameters_of(route: APIRoute) -> frozenset[str] | None:
    """Return the query parameters of a route; None where any may stand.

    DICOMweb has its own words for that, and whoever sends a browser back to a public route may add
    some of theirs (RFC 6749 section 4.1.2).
    """
    access = {ACCESS.get((method, route.path)) for method in route.methods or ()}
    if not route.path.startswith(_REST) or Open.PUBLIC in access:
        return None
    return frozenset(_query_names(route.dependant))


def _query_names(dependant: Dependant) -> set[str]:
    found: set[str] = set()
    for one in dependant.query_params:
        model = one.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            found |= {field.alias or name for name, field in model.model_fields.items()}
        else:
            found.add(one.alias)
    return found.union(*(_query_names(below) for below in dependant.dependencies))


def _require_known(request: Request, known: frozenset[str]) -> None:
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise RequestValidationError(
            [
                {"type": "extra_forbidden", "loc": ("query", name), "msg": _UNKNOWN}
                for name in unknown
            ]
        )


def _require_json(headers: Headers) -> None:
    """Refuse a body that does not say of itself that it is JSON; that there is none is said later.

    Raises:
        ApiError: 415.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    framed = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    coded = headers.get("content-encoding", "identity").strip().lower() != "identity"
    if coded or (not _JSON.fullmatch(kind) and (kind or framed)):
        raise ApiError(415, Code.UNSUPPORTED_MEDIA_TYPE, _JSON_ALONE)


async def authenticated(scope: Scope) -> Principal:
    """Return who asks: by the header Authorization, or else by the cookie of a browser.

    Raises:
        ApiError: nobody does, or not any more.
        DependencyUnavailable: the database is away.
    """
    parts, headers = parts_of(scope), Headers(scope=scope)
    given = headers.getlist("authorization")
    authorization = given[0] if given else None
    token = cookie_of(HTTPConnection(scope), ACCESS_COOKIE) if authorization is None else ""
    try:
        if len(given) > 1:  # a proxy may have looked at the other one
            raise token_invalid()
        if token:
            found = await parts.guard.authenticate_browser(token, scope["method"], headers)
        elif authorization is None and not parts.settings.ff_auth_enabled:
            found = await parts.open_door.enter(scope)
        else:
            found = await parts.guard.authenticate(authorization)
        return with_rights(found, parts.settings)
    except ApiError as fault:
        if fault.code is Code.TOKEN_INVALID:
            # Apart from public routes: a program with an old token keeps nobody from refreshing.
            await parts.rates.take(Class.ANONYMOUS, f"{address_of(scope)} with a token")
        raise


def with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """Return `send` for answers that have these headers, too, unless they have their own."""
    if not headers:
        return send

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            raw = list(message.get("headers", ()))
            sent = MutableHeaders(raw=raw)
            for name, value in headers.items():
                sent.setdefault(name, value)
            message = {**message, "headers": raw}
        await send(message)

    return sending


def principal_of(scope: Scope) -> Principal:
    """Return who asks, on a route that is not public."""
    principal: Principal = scope["principal"]
    return principal


def require_listed(app: FastAPI) -> None:
    """Refuse an application with a route that the table does not list, or the reverse.

    Raises:
        ConfigurationError: names the routes.
    """
    served: set[tuple[str, str]] = set()
    unguarded: list[str] = []
    for route in app.routes:
        if not isinstance(route, GuardedRoute):
            unguarded.append(str(getattr(route, "path", route)))
            continue
        served |= {(method, route.path) for method in route.methods or ()}
    unlisted = sorted(f"{method} {path}" for method, path in served - ACCESS.keys())
    if unguarded or unlisted:
        raise ConfigurationError(
            f"routes without an entry in the permission table: {unguarded + unlisted}"
        )
    missing = ACCESS.keys() - served
    if missing:
        raise ConfigurationError(f"the permission table names no routes: {sorted(missing)}")
