"""Routes that ask the permission table before anything of a request is read."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from darkroom_api.accounts.access import ACCESS, access_of
from darkroom_api.accounts.guard import Principal
from darkroom_api.accounts.permissions import Open, allows
from darkroom_api.http.body import JsonRequest
from darkroom_api.http.errors import permission_denied, token_invalid
from darkroom_api.http.parts import parts_of
from darkroom_common.errors import ConfigurationError

BODY_LIMIT: Final = 64 * 1024
"""Bytes of a request's body; no JSON that anybody sends us is longer."""


def limited(receive: Receive, limit: int) -> Receive:
    """Return `receive` for bodies of at most `limit` bytes, however they are framed."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413)
        return message

    return counted


class GuardedRoute(APIRoute):
    """A route whose permission is looked up in `ACCESS` by method and path."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers, with bodies read by `JsonRequest`."""
        answer = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await answer(JsonRequest(request.scope, request.receive))

        return strictly

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse who may not call this, then answer."""
        if scope["method"] in (self.methods or ()):
            parts = parts_of(scope)
            access = access_of(scope["method"], self.path, open_docs=parts.settings.open_docs)
            if access is None:  # not reached: the application checks its routes when it is made
                raise token_invalid()
            if access is not Open.PUBLIC:
                authorization = Headers(scope=scope).get("authorization")
                principal = await parts.guard.authenticate(authorization)
                if not allows(access, principal.permissions):
                    raise permission_denied(str(access.value))
                scope["principal"] = principal
        await super().handle(scope, limited(receive, BODY_LIMIT), send)


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
