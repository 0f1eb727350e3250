"""Versions of what can be changed: `ETag`, `If-Match`, `If-None-Match` (RFC 9110 section 13.1)."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Final

from fastapi import Header
from pydantic_core import to_json
from starlette.responses import Response

_DIGITS: Final = 16
ETAG: Final = {"ETag": {"description": "of this version", "schema": {"type": "string"}}}
IfMatch = Annotated[str | None, Header(description="change no other than this ETag")]
IfNoneMatch = Annotated[str | None, Header(description="304 when it is still this ETag")]


def names_version(header: str, version: int | str) -> bool:
    """Tell whether `If-Match` names a version; what is shown besides does not count."""
    return bool({"*", str(version)} & {tag.partition(".")[0] for tag in _tags(header)})


def answer(
    found: Mapping[str, Any], status: int = 200, *, version: int | str | None = None
) -> Response:
    """Return a resource with its ETag: its version, and a digest of all that is shown.

    The version is what it says of itself, unless another one is given.

    Its state changes by itself: If-None-Match compares all of it, If-Match the version.
    """
    body = to_json(found)
    number = found["version"] if version is None else version
    etag = f'"{number}.{sha256(body).hexdigest()[:_DIGITS]}"'
    return Response(body, status, headers={"etag": etag}, media_type="application/json")


def unless_known(shown: Response, if_none_match: str | None) -> Response:
    """Return an answer, or 304 when the client has it already."""
    etag = shown.headers["etag"]
    if if_none_match is not None and {"*", etag.strip('"')} & set(_tags(if_none_match)):
        return Response(status_code=304, headers={"etag": etag})
    return shown


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
