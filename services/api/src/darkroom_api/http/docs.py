"""The documentation page. Everything on it comes from here: it works without the internet."""

from importlib.resources import files
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from darkroom_api.http import openapi
from darkroom_api.http.errors import ApiError, Code

_PAGE: Final = files("darkroom_api") / "docs_page"
_KINDS: Final = {"docs.css": "text/css", "docs.js": "text/javascript"}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def docs_page() -> Response:
    """Show the documentation of this API."""
    page = (_PAGE / "index.html").read_text(encoding="utf-8")
    return Response(page, media_type="text/html", headers={"content-security-policy": _POLICY})


async def docs_asset(asset: str) -> Response:
    """Return what the page is made of."""
    kind = _KINDS.get(asset)
    if kind is None:
        raise ApiError(404, Code.NOT_FOUND, "There is nothing here.")
    return Response((_PAGE / asset).read_text(encoding="utf-8"), media_type=kind)


async def openapi_document(request: Request) -> JSONResponse:
    """Return the OpenAPI document."""
    app: FastAPI = request.app
    return JSONResponse(openapi.openapi_document(app))


def add(app: FastAPI) -> None:
    """Add the routes."""
    app.add_api_route("/docs", docs_page, include_in_schema=False)
    app.add_api_route("/docs/{asset}", docs_asset, include_in_schema=False)
    app.add_api_route("/openapi.json", openapi_document, include_in_schema=False)
