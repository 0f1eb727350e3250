"""Versions of what can be changed: `ETag`, `If-Match`, `If-None-Match` (RFC 9110 section 13.1)."""

import datetime as dt
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Final

from fastapi import Header
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.http.errors import ApiError, Code

_DIGITS: Final = 16
ETAG: Final = {"ETag": {"description": "of this version", "schema": {"type": "string"}}}
IfMatch = Annotated[str | None, Header(description="change no other than this ETag")]
IfNoneMatch = Annotated[str | None, Header(description="304 when it is still this ETag")]


def names_version(header: str, version: int | str) -> bool:
    """Tell whether `If-Match` names a version; what is shown besides does not count."""
    return bool({"*", str(version)} & {tag.partition(".")[0] for tag in _tags(header)})


def named_version(found: Mapping[str, Any]) -> str:
    """Return the version of what has a name that another one may have when it was removed."""
    created: dt.datetime = found["created_at"]
    return f"{found['version']}-{int(created.timestamp() * 1_000_000):x}"


def names_one(header: str, found: Mapping[str, Any]) -> bool:
    """Tell whether `If-Match` names what has a name now: by its ETag, or by its `version` alone."""
    return any(names_version(header, one) for one in (named_version(found), found["version"]))


def answer(
    found: Mapping[str, Any], status: int = 200, *, version: int | str | None = None
) -> Response:
    """Return a resource with its ETag: its version, if it has one, and a digest of what is shown.

    The version is what it says of itself, unless another one is given.

    Its state changes by itself: If-None-Match compares all of it, If-Match the version.
    """
    body = to_json(found)
    digest = sha256(body).hexdigest()[:_DIGITS]
    number = found.get("version") if version is None else version
    etag = f'"{digest}"' if number is None else f'"{number}.{digest}"'
    return Response(body, status, headers={"etag": etag}, media_type="application/json")


def require(if_match: str | None, found: Mapping[str, Any]) -> None:
    """Refuse to change what has no version and is not as the client has seen it.

    Raises:
        ApiError: 412.
    """
    if if_match is not None and not _is_among(answer(found), if_match):
        raise ApiError(412, Code.CHANGED_MEANWHILE, "It has been changed meanwhile.")


def unless_known(shown: Response, if_none_match: str | None) -> Response:
    """Return an answer, or 304 when the client has it already."""
    if if_none_match is not None and _is_among(shown, if_none_match):
        return Response(status_code=304, headers={"etag": shown.headers["etag"]})
    return shown


def _is_among(shown: Response, header: str) -> bool:
    return is_named(shown.headers["etag"], header)


def is_named(etag: str, header: str) -> bool:
    """Tell whether `If-None-Match` or `If-Match` names an ETag, or any."""
    return bool({"*", etag.strip('"')} & set(_tags(header)))


def is_known(request: Request, etag: str) -> bool:
    """Tell whether the client has what it asks for already, by `If-None-Match`.

    Raises:
        ApiError: 412, it is not of the version that `If-Match` names (RFC 9110 section 13.1.1).
    """
    bare = etag.removeprefix("W/")
    wanted = request.headers.get("if-match")
    if wanted is not None and not is_named(bare, wanted):
        raise ApiError(412, Code.CHANGED_MEANWHILE, "It has been changed meanwhile.")
    return is_named(bare, request.headers.get("if-none-match", ""))


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
