"""Ranges of bytes (RFC 9110 section 14)."""

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request

from darkroom_api.http.errors import ApiError, Code

_SPEC: Final = re.compile(r"(\d{0,18})-(\d{0,18})")
_UNIT: Final = "bytes="
MOST: Final = 32
"""Ranges that are answered one by one; whoever wants more, or more than all of it, gets all."""
Range = tuple[int, int]
"""The first byte and the number of them."""


def ranges_of(request: Request, size: int, etag: str = "") -> Sequence[Range]:
    """Return the ranges that a request wants of a body; none: all of it.

    What is not understood, or of another version than `If-Range` names, means all of it.

    Raises:
        ApiError: 416, all of them lie outside of the body.
    """
    header = request.headers.get("range", "").strip()
    if not header.lower().startswith(_UNIT) or request.headers.get("if-range", etag) != etag:
        return ()
    wanted = [_SPEC.fullmatch(one.strip()) for one in header[len(_UNIT) :].split(",")]
    found: list[Range] = []
    for one in wanted:
        if one is None or one.group() == "-":
            return ()
        low, high = one.groups()
        if low and high and int(high) < int(low):
            return ()
        first = int(low) if low else max(0, size - int(high))
        last = min(int(high), size - 1) if low and high else size - 1
        if first < size and (low or int(high)):
            found.append((first, last - first + 1))
    if not found:
        raise ApiError(
            416,
            Code.RANGE_NOT_SATISFIABLE,
            "The range lies outside of the value.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    if len(found) > MOST or (len(found) > 1 and sum(length for _, length in found) > size):
        return ()
    return found


def content_range(one: Range, size: int) -> str:
    """Return the value of Content-Range."""
    first, length = one
    return f"bytes {first}-{first + length - 1}/{size}"
