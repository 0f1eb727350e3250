"""Going to the provider, and coming back from there."""

import html
from typing import Annotated, Final

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from darkroom_api.accounts.cookies import Cookie, cookie_of
from darkroom_api.accounts.routes import answer_with, means_of
from darkroom_api.audit.actions import Action
from darkroom_api.audit.recording import record
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import body, errors
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.parts import parts_of
from darkroom_api.oidc.identities import sign_in
from darkroom_api.oidc.provider import FLOW_SECONDS, Provider, Refused
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import api as metrics

log = get_logger(__name__)
BASE: Final = "/api/v1/auth/oidc"
FLOW_COOKIE: Final = "darkroom_oidc"
_LONGEST: Final = 1024
_LONGEST_CODE: Final = 4096
"""Together they fit into the line of a request."""
_PROVIDER_SECONDS: Final = 18.0
_BACK: Final = (
    '<!doctype html><meta charset="utf-8"><title>Darkroom</title>'
    '<meta http-equiv="refresh" content="0; url={0}"><a href="{0}">Go on</a>'
)
"""A page, since a redirect that another site began would go without our cookies (SameSite)."""
_PAGE_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
}
Following = Annotated[
    str,
    Query(
        alias="next",
        max_length=512,
        pattern=r"^/([A-Za-z0-9_.~%?=&#-][A-Za-z0-9_.~%?=&#/-]*)?$",
        description="the path to show after that",
    ),
]
Given = Annotated[str | None, Query(max_length=_LONGEST)]


def _provider(request: Request) -> Provider:
    provider = parts_of(request.scope).provider
    if provider is None:
        raise ApiError(404, Code.NOT_FOUND, "No provider of OpenID Connect is set up.")
    return provider


def _redirect_uri(request: Request) -> str:
    here = parts_of(request.scope).settings.public_url or str(request.base_url).rstrip("/")
    return f"{here}{BASE}/callback"


async def go_there(request: Request, following: Following = "/") -> Response:
    """Send a browser to the provider."""
    provider = _provider(request)
    wait_for_another(request.scope, _PROVIDER_SECONDS)
    flow = provider.begin(following)
    answer = RedirectResponse(await provider.address(flow, _redirect_uri(request)), 302)
    # Lax: it has to come along when the provider sends the browser back.
    Cookie(FLOW_COOKIE, provider.sealed(flow), FLOW_SECONDS, "lax").put(request, answer)
    return answer


async def come_back(
    request: Request,
    state: Given = None,
    code: Annotated[str | None, Query(max_length=_LONGEST_CODE)] = None,
    error: Given = None,
    iss: Given = None,
) -> Response:
    """Sign a browser in that comes from the provider: its tokens are in cookies."""
    provider = _provider(request)
    wait_for_another(request.scope, _PROVIDER_SECONDS)
    given = {"code": code, "error": error, "iss": iss}
    came_with = {name: value for name, value in given.items() if value is not None}
    try:
        flow = provider.opened(cookie_of(request, FLOW_COOKIE), state or "")
        identity = await provider.identify(flow, came_with, _redirect_uri(request))
        signed_in = await sign_in(request, identity, means_of(request, "oidc", browser=True))
    except Refused as refusal:
        raise await _refused(request, str(refusal)) from None
    metrics.LOGINS.labels("accepted").inc()
    log.info("login.accepted", session=str(signed_in.session_id), method="oidc")
    page = HTMLResponse(_BACK.format(html.escape(flow.following)), headers=_PAGE_HEADERS)
    answer_with(request, page, signed_in)
    Cookie(FLOW_COOKIE, "", 0, "lax").put(request, page)
    return page


async def _refused(request: Request, reason: str) -> ApiError:
    """Say and keep that it has failed; return the answer to raise."""
    metrics.LOGINS.labels("refused").inc()
    log.warning("login.refused", method="oidc", reason=reason)
    async with parts_of(request.scope).database.transaction() as db:
        details = {"method": "oidc", "reason": reason}
        await record(
            db, request.scope, Action.AUTH_FAILED, "user", outcome="failure", details=details
        )
    return ApiError(
        401,
        Code.INVALID_CREDENTIALS,
        "You could not be signed in. The log says why, under the request id.",
        headers={"WWW-Authenticate": 'Bearer realm="darkroom"'},
    )


def add(app: FastAPI) -> None:
    """Add the routes."""
    tags: Final = ["authentication"]
    moved: Final = {
        "description": "To the provider.",
        "headers": {"Location": {"schema": {"type": "string"}}},
    }
    app.add_api_route(
        f"{BASE}/login",
        go_there,
        status_code=302,
        response_class=Response,
        tags=[*tags],
        responses={302: moved, **errors(404, 422, 503)},
    )
    app.add_api_route(
        f"{BASE}/callback",
        come_back,
        response_class=Response,
        tags=[*tags],
        responses={
            **body("Signed in; the page goes on.", "text/html"),
            **errors(401, 404, 409, 422, 503),
        },
    )
