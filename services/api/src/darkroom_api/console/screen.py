"""Routes of the console: guarded as all others, but they refuse people in words and pages."""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlencode

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from darkroom_api.accounts.cookies import ACCESS, CSRF, REFRESH, cookie_of
from darkroom_api.console.page import Page
from darkroom_api.console.paths import FILES
from darkroom_api.console.rest import Refused, Rest
from darkroom_api.http.errors import RETRY_AFTER, SHOWN, ApiError, Code
from darkroom_api.http.guarded import GuardedRoute
from darkroom_api.http.parts import parts_of
from darkroom_common.errors import DependencyUnavailable

Shows = Callable[[Page], Awaitable[Response]]
_REFRESH: Final = "/api/v1/auth/refresh"
_UNKNOWN: Final = 401


class Screen(GuardedRoute):
    """A route of the console."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; who is not signed in is asked to, and who may not is told so in words."""
        request = Request(scope, receive)
        if not _is_person(request) or self.path in FILES:
            await super().handle(scope, receive, send)
            return
        if _is_nobody(request):
            await (await _again(request))(scope, receive, send)
            return
        if not _is_part(request):
            scope["state"][SHOWN] = Page(request).refused
        try:
            await super().handle(scope, receive, send)
        except ApiError as fault:
            if fault.status == _UNKNOWN and fault.code is not Code.INVALID_CREDENTIALS:
                answer = await _again(request)
            elif _is_part(request):
                raise
            else:
                answer = Page(request).refused(fault)
            await answer(scope, receive, send)


def screen(app: FastAPI, path: str, shows: Shows, method: str = "GET") -> None:
    """Add a route of the console; `paths.py` says what it needs.

    Args:
        app: that gets it.
        path: as `paths.py` has it.
        shows: makes the answer.
        method: POST for what a button does.
    """

    async def answer(request: Request) -> Response:
        page = Page(request)
        try:
            if method == "GET" and page.principal is not None and not page.is_part:
                page.told = (await parts_of(request.scope).hub.ends()).newest
            return await shows(page)
        except ApiError as fault:
            refusal = fault
        except DependencyUnavailable:
            refusal = ApiError(
                503,
                Code.DATABASE_ERROR,
                "Something that this needs is away for the moment.",
                headers={"Retry-After": RETRY_AFTER},
            )
        if page.is_part or not _is_person(request):
            raise refusal  # the error body of REST, whose sentence the page shows
        return page.refused(refusal)

    app.router.add_api_route(
        path,
        answer,
        methods=[method],
        response_class=Response,
        include_in_schema=False,
        route_class_override=Screen,
    )


def _is_person(request: Request) -> bool:
    return _is_part(request) or "text/html" in request.headers.get("accept", "")


def _is_part(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"


def _is_nobody(request: Request) -> bool:
    """Tell whether a browser shows no sign of a session; it is asked to sign in, uncounted."""
    if "authorization" in request.headers or not parts_of(request.scope).settings.ff_auth_enabled:
        return False
    return not cookie_of(request, ACCESS)


async def _again(request: Request) -> Response:
    """Return where a browser goes on whose session is over: by its refresh token, or sign-in."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    page = Page(request)
    if cookie_of(request, REFRESH):
        try:
            renewed = await Rest(request).ask(
                "POST", _REFRESH, more={"x-csrftoken": cookie_of(request, CSRF).strip('"')}
            )
        except Refused:
            pass  # it is over for good: signing in is what is left
        else:
            if request.method == "GET":
                answer: Response = RedirectResponse(here, 303)
            else:
                answer = Response(status_code=204, headers={"hx-refresh": "true"})
            for cookie in renewed.headers.getlist("set-cookie"):
                answer.headers.append("set-cookie", cookie)
            return answer
    following = here if request.method == "GET" and not page.is_part else "/worklist"
    return page.go("/sign-in?" + urlencode({"next": following}))
