"""The documentation page: swagger-ui. Everything on it comes from here, nothing from the internet.

Of the package fastapi-offline only the files of swagger-ui are used, none of its code.
"""

import asyncio
from importlib.resources import files
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http import openapi
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.errors import ApiError, Code
from darkroom_api.http.responses import VARY, packed_response

_PAGE: Final = files("darkroom_api") / "docs_page"
_SWAGGER_UI: Final = files("fastapi_offline") / "static"
_ASSETS: Final = {
    "initializer.js": (_PAGE, "text/javascript"),
    "swagger-ui-bundle.js": (_SWAGGER_UI, "text/javascript"),
    "swagger-ui.css": (_SWAGGER_UI, "text/css"),
}
_HEADERS: Final = {
    # The arrows and marks of swagger-ui are pictures within its style sheet.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
_MADE_SECONDS: Final = 60.0
"""For the document: two on a machine with nothing else to do."""
_KEPT: Final = {"cache-control": "private, max-age=3600"}


async def docs_page() -> Response:
    """Show the documentation of this API."""
    page = (_PAGE / "index.html").read_text(encoding="utf-8")
    return Response(page, media_type="text/html", headers=_HEADERS)


async def docs_asset(asset: str) -> Response:
    """Return what the page is made of."""
    if asset not in _ASSETS:
        raise ApiError(404, Code.NOT_FOUND, "There is nothing here.")
    folder, kind = _ASSETS[asset]
    body = await asyncio.to_thread((folder / asset).read_bytes)
    return Response(body, media_type=kind, headers=_KEPT)


async def openapi_document(request: Request) -> Response:
    """Return the OpenAPI document. Who asks first waits for seconds, and nobody else does."""
    wait_for_another(request.scope, _MADE_SECONDS)
    body = await asyncio.to_thread(openapi.openapi_text, request.app)
    headers = {"vary": VARY}
    return await packed_response(request, body, media_type="application/json", headers=headers)


def add(app: FastAPI) -> None:
    """Add the routes."""
    app.add_api_route("/docs", docs_page, include_in_schema=False)
    app.add_api_route("/docs/{asset}", docs_asset, include_in_schema=False)
    app.add_api_route("/openapi.json", openapi_document, include_in_schema=False)
