"""Turns every exception of a route into the error body."""

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from darkroom_api.console.page import Page
from darkroom_api.edge.edge import SECURITY
from darkroom_api.http.body import UnfitBody
from darkroom_api.http.errors import (
    PROBLEM,
    RETRY_AFTER,
    ApiError,
    Code,
    bad_request,
    invalid,
    problem,
)
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.index.matching.values import BadKey
from darkroom_common.index.reader import SearchTooLong
from darkroom_common.objects.store import StoreUnavailable
from darkroom_common.postgres.pool import Unstorable
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
_NAME: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")
_TAKEN_FOR: Final = re.compile(r"(literal|function-(after|before|plain|wrap)|constrained-str)\[")
_CLEAN: Final = (
    "missing",
    "extra_forbidden",
    "string_",
    "greater_than",
    "less_than",
    "too_",
    "literal_error",
    "int_",
    "float_",
    "bool_",
    "list_",
    "dict_",
    "model_",
    "date_type",
    "json_type",
)
"""Errors of pydantic whose text says what is wanted, never what was given."""
_SAID: Final = {
    "datetime_": "It is no time YYYY-MM-DDThh:mm:ss with its offset.",
    "timezone_": "It is no time YYYY-MM-DDThh:mm:ss with its offset.",
    "date_": "It is no date YYYY-MM-DD.",
    "time_": "It is no time hh:mm:ss.",
    "uuid_": "It is no id of ours.",
    "enum": "It is none of the values that there are.",
}
"""What is wanted in the place of others, by how their kind begins."""
_NOT_SO: Final = "This value cannot be."
_NOT_MIGRATED: Final = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InsufficientPrivilegeError,
)
_OF_PROGRAMS: Final = ("/api/", "/dicom-web")
"""Where nobody but programs asks for what there is not."""
_DEPTH_SHOWN: Final = 8
_TOO_WIDE: Final = (
    "is too wide: no index knows it, and not every study could be compared in time;"
    " ask for two or more characters that stand together, or for a date as well"
)
_BY_STATUS: Final = {
    400: Code.INVALID_REQUEST,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    413: Code.TOO_LARGE,
    414: Code.TOO_LARGE,
    415: Code.UNSUPPORTED_MEDIA_TYPE,
    431: Code.TOO_LARGE,
    503: Code.SERVICE_AWAY,
}
_TEXT: Final = {
    Code.INVALID_REQUEST: "The request makes no sense.",
    Code.NOT_FOUND: "There is nothing here.",
    Code.METHOD_NOT_ALLOWED: "This method is not offered here.",
    Code.TOO_LARGE: "The request is too large.",
    Code.UNSUPPORTED_MEDIA_TYPE: "This content type is not understood.",
    Code.SERVICE_AWAY: "There is no room for the moment.",
}


def answer(request: Request, error: ApiError) -> Response:
    """Return the response to an error."""
    body = problem(error, request.scope["state"]["request_id"])
    return Response(orjson.dumps(body), error.status, headers=error.headers, media_type=PROBLEM)


def refusal(status: int) -> tuple[Mapping[str, str], bytes]:
    """Return what is said of a request that HTTP itself refuses: nothing of it was believed."""
    code = _BY_STATUS.get(status, Code.INVALID_REQUEST)
    request_id = uuid.uuid4().hex
    body = problem(ApiError(status, code, _TEXT[code]), request_id)
    headers = {"content-type": PROBLEM, "x-request-id": request_id, **SECURITY}
    return headers, orjson.dumps(body)


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(BadKey, _bad_key)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(UnfitBody, _unfit)
    app.add_exception_handler(Unstorable, _unstorable)
    for error in _NOT_MIGRATED:
        app.add_exception_handler(error, _not_migrated)
    app.add_exception_handler(SearchTooLong, _search_too_long)
    app.add_exception_handler(DependencyUnavailable, _unavailable)


async def _api_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return answer(request, error)


async def _bad_key(request: Request, error: Exception) -> Response:
    if not isinstance(error, BadKey):
        raise error
    fault = bad_request(f"{error.key} {error.reason}.", (error.key, error.reason))
    return answer(request, fault)


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    fields = [
        (".".join(map(_place, _named(item["loc"]))), message_of(item))
        for item in error.errors()[:20]
    ]
    fault = ApiError(422, Code.INVALID_REQUEST, "Some values are missing or wrong.", errors=fields)
    return answer(request, fault)


async def _unfit(request: Request, error: Exception) -> Response:
    if not isinstance(error, UnfitBody):
        raise error
    place = ".".join(_place(part) for part in ("body", *error.fault.place[:_DEPTH_SHOWN]))
    return answer(request, invalid(place, error.fault.reason))


async def _unstorable(request: Request, error: Exception) -> Response:
    log.warning("http.unstorable", reason=str(error))
    fault = ApiError(422, Code.INVALID_REQUEST, "A value of the request cannot be kept.")
    return answer(request, fault)


async def _not_migrated(request: Request, error: Exception) -> Response:
    """Answer as long as a schema of another service lacks what this version reads."""
    log.warning("http.not_migrated", error=type(error).__name__)
    return await _unavailable(request, DependencyUnavailable("a schema was not migrated yet"))


def _named(loc: Sequence[int | str]) -> list[int | str]:
    """Return where a value stands, without the words for what it was taken for there."""
    return [part for part in loc if not _TAKEN_FOR.match(str(part))]


def message_of(item: Mapping[str, Any]) -> str:
    """Return what is wrong in words that hold nothing of the value."""
    kind, text = str(item["type"]), str(item["msg"])
    if kind == "value_error":  # our own words
        return text.removeprefix("Value error, ")
    if kind.startswith(_CLEAN):
        return text
    return next((said for begin, said in _SAID.items() if kind.startswith(begin)), _NOT_SO)


def _place(part: Any) -> str:
    """Return a part of a field's place, unless the client could have made it up."""
    text = str(part)
    return text if isinstance(part, int) or _NAME.match(text) else "?"


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = _BY_STATUS.get(error.status_code, Code.INVALID_REQUEST)
    headers = dict(error.headers or {})
    if code is Code.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": headers["Allow"]})
    fault = ApiError(error.status_code, code, _TEXT[code], headers=headers)
    asks_for_page = "text/html" in request.headers.get("accept", "")
    if code is Code.NOT_FOUND and asks_for_page and not request.url.path.startswith(_OF_PROGRAMS):
        return Page(request).refused(fault)
    return answer(request, fault)


def _methods(request: Request) -> list[str]:
    """Return the methods of a path: each is a route of its own, and Starlette knows one of them."""
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    if "GET" in found:
        found.add("HEAD")
    return sorted(found | {"OPTIONS"})


async def _search_too_long(request: Request, error: Exception) -> Response:
    """Answer that a search is too wide, or, where an index knows what it asks for, that we lag."""
    if not isinstance(error, SearchTooLong):
        raise error
    log.warning("http.search_too_long", reason=str(error), keys=list(error.wide))
    if error.wide:
        named = ", ".join(error.wide)
        fields = [(key, _TOO_WIDE) for key in error.wide]
        return answer(request, bad_request(f"The search by {named} {_TOO_WIDE}.", *fields))
    fault = ApiError(
        503,
        Code.DATABASE_ERROR,
        "The search has taken too long; narrow it.",
        headers={"Retry-After": RETRY_AFTER},
    )
    return answer(request, fault)


async def _unavailable(request: Request, error: Exception) -> Response:
    store = isinstance(error, StoreUnavailable)
    log.warning("http.unavailable", dependency="store" if store else "postgres")
    fault = ApiError(
        503,
        Code.STORE_ERROR if store else Code.DATABASE_ERROR,
        "Something that this needs is away for the moment.",
        headers={"Retry-After": RETRY_AFTER},
    )
    return answer(request, fault)
