"""Kinds of responses that the routes share."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.edge.ranges import content_range, ranges_of

DICOM_JSON: Final = "application/dicom+json"
SMALL: Final = 1024
SLOW: Final = 128 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
_LEVEL: Final = 1  # on a local network the time counts more than the last percent


def takes_gzip(request: Request) -> bool:
    """Tell whether the client accepts a gzip answer."""
    for part in request.headers.get("accept-encoding", "").split(","):
        name, _, parameters = part.strip().partition(";")
        if name.strip().lower() in ("gzip", "*"):
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return packer.compress(body) + packer.flush()


async def json_response(
    request: Request,
    content: Any,
    *,
    media_type: str = DICOM_JSON,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return JSON, compressed when that pays."""
    body = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    sent = {"vary": "Accept, Accept-Encoding", **(headers or {})}
    if len(body) >= SMALL and takes_gzip(request):
        body = await asyncio.to_thread(_gzip, body) if len(body) >= SLOW else _gzip(body)
        sent["content-encoding"] = "gzip"
    return Response(body, headers=sent, media_type=media_type)


async def streamed_json(request: Request, chunks: AsyncIterator[bytes]) -> Response:
    """Return JSON that is made while it is sent; what fails before the first bytes is told."""
    begun = await begin(chunks)
    headers = {"vary": "Accept, Accept-Encoding"}
    if takes_gzip(request):
        begun = _gzipped(begun)
        headers["content-encoding"] = "gzip"
    return StreamingResponse(begun, headers=headers, media_type=DICOM_JSON)


async def _gzipped(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    async for chunk in chunks:
        work = packer.compress
        packed = await asyncio.to_thread(work, chunk) if len(chunk) >= SLOW else work(chunk)
        if packed:
            yield packed
    yield packer.flush()


async def begin(chunks: AsyncIterator[bytes], *, parts: int = 1) -> AsyncIterator[bytes]:
    """Take the first chunks, so that their errors still become an answer, and return all."""
    first = [await anext(chunks) for _ in range(parts)]

    async def whole() -> AsyncIterator[bytes]:
        for chunk in first:
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
