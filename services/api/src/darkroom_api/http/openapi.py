"""The OpenAPI document, with the permission that each route needs."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from darkroom_api.accounts.access import ACCESS
from darkroom_api.accounts.permissions import Open
from darkroom_api.http.errors import PROBLEM, Problem

_SCHEME: Final = "access token"
_ACCESS: Final = {
    (method, path.replace(":path}", "}")): access for (method, path), access in ACCESS.items()
}
"""OpenAPI has no path converters."""
_PROBLEM: Final = f"#/components/schemas/{Problem.__name__}"


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes[_SCHEME] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                access = _ACCESS[method.upper(), path]
                if access is not Open.PUBLIC:
                    operation["security"] = [{_SCHEME: []}]
                operation["x-permission"] = access.value
                for answer in operation["responses"].values():
                    _as_problem(answer)
        app.openapi_schema = document
    return app.openapi_schema


def _as_problem(answer: dict[str, Any]) -> None:
    """Name the media type of errors; FastAPI knows only that of the route."""
    content = answer.get("content", {})
    for kind, body in list(content.items()):
        if body.get("schema", {}).get("$ref") == _PROBLEM:
            content[PROBLEM] = content.pop(kind)
