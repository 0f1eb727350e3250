"""Kinds of responses that the routes share."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.edge.codings import Coding, coding_of, pack
from darkroom_api.edge.ranges import content_range, ranges_of

DICOM_JSON: Final = "application/dicom+json"
VARY: Final = "Accept, Accept-Encoding"
SMALL: Final = 1024
SLOW: Final = 128 * 1024


async def json_response(
    request: Request,
    content: Any,
    *,
    media_type: str = DICOM_JSON,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return JSON, compressed when that pays."""
    body = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    sent = {"vary": VARY, **(headers or {})}
    return await packed_response(request, body, media_type=media_type, headers=sent)


async def packed_response(
    request: Request, body: bytes, *, media_type: str, headers: Mapping[str, str]
) -> Response:
    """Return a body, compressed when that pays."""
    coding = coding_of(request) if len(body) >= SMALL else Coding.IDENTITY
    packed = (
        await asyncio.to_thread(pack, body, coding) if len(body) >= SLOW else pack(body, coding)
    )
    sent = {**headers, **coding.headers}
    return Response(packed, headers=sent, media_type=media_type)


async def begin(chunks: AsyncIterator[bytes], *, parts: int = 1) -> AsyncIterator[bytes]:
    """Take the first chunks, so that their errors still become an answer, and return all."""
    first = [await anext(chunks, None) for _ in range(parts)]

    async def whole() -> AsyncIterator[bytes]:
        for chunk in first:
            if chunk is not None:
                yield chunk
        async for chunk in chunks:
            yield chunk

    return whole()


@dataclass(frozen=True)
class Part:
    """What is answered of a body.

    Attributes:
        first: byte of it.
        length: in bytes.
        status: 206 for a range, else 200.
        headers: that say so.
    """

    first: int
    length: int
    status: int
    headers: dict[str, str]


def ranged(request: Request, size: int, etag: str = "") -> Part:
    """Return what a request wants of a body of `size` bytes, of which one range is answered.

    Several ranges mean all of it. With `If-Range` a range counts for the body of this `etag` alone.

    Raises:
        ApiError: 416, it lies outside of the body.
    """
    headers, status, part = {"accept-ranges": "bytes"}, 200, (0, size)
    wanted = ranges_of(request, size, etag)
    if len(wanted) == 1:
        status, part = 206, wanted[0]
        headers["content-range"] = content_range(part, size)
    headers["content-length"] = str(part[1])
    return Part(*part, status, headers)
