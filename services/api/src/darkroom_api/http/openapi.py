"""The OpenAPI document, with the permission that each route needs."""

import threading
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from darkroom_api.accounts import cookies
from darkroom_api.accounts.access import ACCESS
from darkroom_api.accounts.guard import CSRF_HEADER
from darkroom_api.accounts.permissions import Access, Open
from darkroom_api.http.documented import SCHEMAS, errors, problem_schemas

_TOKEN, _KEY, _COOKIE, _CSRF = "access token", "API key", "cookie", "CSRF token"
_SCHEMES: Final = {
    _TOKEN: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    _KEY: {"type": "http", "scheme": "bearer", "description": "An API key in the token's place."},
    _COOKIE: {
        "type": "apiKey",
        "in": "cookie",
        "name": cookies.ACCESS,
        "description": "Of a browser that has signed in; behind TLS its name begins with"
        f" `{cookies.HOST}`.",
    },
    _CSRF: {
        "type": "apiKey",
        "in": "header",
        "name": CSRF_HEADER,
        "description": f"What the cookie `{cookies.CSRF}` holds.",
    },
}
_SAFE: Final = ("get", "head")
_ACCESS: Final = {
    (method, path.replace(":path}", "}")): access for (method, path), access in ACCESS.items()
}
"""OpenAPI has no path converters."""
_FASTAPIS: Final = {"$ref": f"{SCHEMAS}HTTPValidationError"}
"""What FastAPI says that it answers to values that are wrong; we answer a problem."""
_TEXT: Final = "openapi_text"
_MAKING: Final = threading.Lock()


def openapi_text(app: FastAPI) -> bytes:
    """Return the document of an application as it is sent, made once, for any thread."""
    with _MAKING:
        text: bytes | None = getattr(app.state, _TEXT, None)
        if text is None:
            text = orjson.dumps(openapi_document(app))
            setattr(app.state, _TEXT, text)
        return text


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes |= _SCHEMES
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                access = _ACCESS[method.upper(), path]
                if access is not Open.PUBLIC:
                    operation["security"] = _security(method, access)
                operation["x-permission"] = access.value
                strict = path.startswith("/api/v1/") and access is not Open.PUBLIC
                _complete(operation, public=access is Open.PUBLIC, strict=strict)
        document["components"].setdefault("schemas", {}).update(problem_schemas())
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        app.openapi_schema = document
    return app.openapi_schema


def _security(method: str, access: Access) -> list[dict[str, list[str]]]:
    """Return the ways to sign in for a route, each enough by itself."""
    browser = [_COOKIE] if method in _SAFE else [_COOKIE, _CSRF]
    keys = [] if access is Open.IN_PERSON else [[_KEY]]
    return [{name: [] for name in names} for names in ([_TOKEN], *keys, browser)]


def _complete(operation: dict[str, Any], *, public: bool, strict: bool) -> None:
    """Add the errors that a route can answer whatever it does, where it does not say so."""
    statuses = {400, 414, 421, 429, 431, 500, 503}
    if not public:
        statuses |= {401, 403}
    if strict or "parameters" in operation or "requestBody" in operation:  # see `parameters_of`
        statuses.add(422)
    parameters = {(one["in"], one["name"].lower()) for one in operation.get("parameters", ())}
    if any(place == "path" for place, _ in parameters):
        statuses.add(404)
    if ("header", "if-match") in parameters:
        statuses.add(412)
    if "requestBody" in operation:
        statuses |= {408, 413}
        if "application/json" in operation["requestBody"]["content"]:
            statuses.add(415)
    answers = operation["responses"]
    if ("header", "if-none-match") in parameters:
        answers.setdefault("304", {"description": "It is still as it was."})
    for status, answer in errors(*sorted(statuses)).items():
        found = answers.get(str(status), {})
        if found.get("content", {}).get("application/json", {}).get("schema") in (None, _FASTAPIS):
            answers[str(status)] = answer | {
                "description": found.get("description") or answer["description"]
            }
