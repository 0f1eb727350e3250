"""WADO-RS: frames and bulk data of one instance (PS3.18 sections 10.4.1.1.6 and .5)."""

import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.dicomweb.accept import MediaRange
from darkroom_api.dicomweb.bulk import BulkPath, BulkValue, NoSuchValue, parse_path, read_value
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.objectfile import parse
from darkroom_api.dicomweb.pixels import (
    OCTETS,
    NoPixels,
    NoSuchFrame,
    PixelLayout,
    frame_numbers,
    read_frame,
    read_layout,
)
from darkroom_api.dicomweb.retrieve import MULTIPART_TYPE, accepted, stored
from darkroom_api.dicomweb.search import in_path
from darkroom_api.http.documented import body, errors
from darkroom_api.http.errors import ApiError, Code, bad_request, not_acceptable
from darkroom_api.http.parts import Parts, parts_of
from darkroom_api.http.responses import begin
from darkroom_common.index.rows import StoredInstance

_RANGE: Final = re.compile(r"^bytes=(\d{0,18})-(\d{0,18})$")
_INSTANCE: Final = "/dicom-web/studies/{study}/series/{series}/instances/{instance}"


async def frames(request: Request) -> Response:
    """Retrieve frames, counted from 1: native ones as little endian, others as stored."""
    try:
        numbers = frame_numbers(request.path_params["frames"])
    except ValueError:
        raise bad_request("Frames are numbers from 1, separated by commas.") from None
    one = (await stored(request))[0]
    parts = parts_of(request.scope)
    layout = await _layout(parts, one)
    return await _frames(request, parts, one, layout, numbers)


async def _layout(parts: Parts, one: StoredInstance) -> PixelLayout:
    try:
        return await parse(parts.parsers, parts.store, one.object_key, one.object_size, read_layout)
    except NoPixels as error:
        raise ApiError(404, Code.NOT_FOUND, "The instance has no readable frames.") from error


async def _frames(
    request: Request, parts: Parts, one: StoredInstance, layout: PixelLayout, numbers: Sequence[int]
) -> Response:
    kinds = [layout.media_type, OCTETS]
    syntaxes = {layout.transfer_syntax, layout.stored_syntax}
    chosen = _choose_part(accepted(request), kinds, syntaxes)
    if chosen is None:
        raise not_acceptable([f'multipart/related; type="{kind}"' for kind in dict.fromkeys(kinds)])
    if max(numbers) >= layout.frames:
        raise ApiError(404, Code.NOT_FOUND, "The instance has fewer frames.")
    framing = Framing(chosen)
    content_type = f"{chosen}; transfer-syntax={layout.transfer_syntax}"

    async def chunks() -> AsyncIterator[bytes]:
        for place, number in enumerate(numbers):
            work = partial(read_frame, layout=layout, index=number)
            data = await parse(parts.parsers, parts.store, one.object_key, one.object_size, work)
            yield framing.head(content_type, first=place == 0, length=len(data))
            yield data
        yield framing.tail

    try:
        begun = await begin(chunks(), parts=2)
    except (NoPixels, NoSuchFrame) as error:
        raise ApiError(404, Code.NOT_FOUND, "The instance has no readable frames.") from error
    return StreamingResponse(begun, headers={"content-type": framing.content_type})


def _choose_part(
    ranges: Sequence[MediaRange], kinds: Sequence[str], syntaxes: set[str]
) -> str | None:
    """Return the media type of the parts that the client likes best; None when none suits."""
    for wanted in ranges:
        for kind in kinds:
            if wanted.takes_parts(kind) and wanted.takes_syntax(*syntaxes):
                return kind
    return None


async def bulkdata(request: Request) -> Response:
    """Retrieve one value by its path; the pixel data of a compressed object as its frames."""
    try:
        path: BulkPath = parse_path(request.path_params["path"])
    except NoSuchValue as error:
        raise ApiError(404, Code.NOT_FOUND, "There is no such value.") from error
    one = (await stored(request))[0]
    parts = parts_of(request.scope)
    if path.is_pixel_data:
        layout = await _layout(parts, one)
        if layout.encapsulated:
            return await _frames(request, parts, one, layout, range(layout.frames))
    ranges = accepted(request)
    single = _prefers_single(ranges)
    if single is None:
        raise not_acceptable([f'multipart/related; type="{OCTETS}"', OCTETS])
    try:
        work = partial(read_value, path=path)
        value = await parse(parts.parsers, parts.store, one.object_key, one.object_size, work)
    except NoSuchValue as error:
        raise ApiError(404, Code.NOT_FOUND, "There is no such value.") from error
    size = value.length if value.data is None else len(value.data)
    if single:
        return await _ranged(request, parts, one, value, size)
    framing = Framing(OCTETS)
    head, tail = framing.head(OCTETS, first=True, length=size), framing.tail

    async def chunks() -> AsyncIterator[bytes]:
        yield head
        async for chunk in _bytes(parts, one, value, 0, size):
            yield chunk
        yield tail

    length = len(head) + size + len(tail)
    return StreamingResponse(
        await begin(chunks()),
        headers={"content-type": framing.content_type, "content-length": str(length)},
    )


def _prefers_single(ranges: Sequence[MediaRange]) -> bool | None:
    for wanted in ranges:
        if wanted.takes_parts(OCTETS):
            return False
        if wanted.takes(OCTETS):
            return True
    return None


async def _ranged(
    request: Request, parts: Parts, one: StoredInstance, value: BulkValue, size: int
) -> Response:
    """Return the value alone, or the one range of it that is asked for (RFC 9110 section 14)."""
    headers = {"content-type": OCTETS, "accept-ranges": "bytes"}
    first, last, status = 0, size - 1, 200
    found = _RANGE.match(request.headers.get("range", ""))
    if found is not None and found.group() != "bytes=-":
        low, high = found.groups()
        first = int(low) if low else max(0, size - int(high))
        last = min(int(high), size - 1) if low and high else size - 1
        if (high and low and int(high) < int(low)) or first >= size or (not low and int(high) == 0):
            raise ApiError(
                416,
                Code.RANGE_NOT_SATISFIABLE,
                "The range lies outside of the value.",
                headers={"Content-Range": f"bytes */{size}"},
            )
        status = 206
        headers["content-range"] = f"bytes {first}-{last}/{size}"
    length = last - first + 1
    headers["content-length"] = str(length)
    if not length:
        return Response(b"", status, headers=headers)
    chunks = await begin(_bytes(parts, one, value, first, length))
    return StreamingResponse(chunks, status, headers=headers)


async def _bytes(
    parts: Parts, one: StoredInstance, value: BulkValue, start: int, length: int
) -> AsyncIterator[bytes]:
    if value.data is not None:
        yield value.data[start : start + length]
        return
    async for chunk in parts.store.stream(one.object_key, start=value.start + start, length=length):
        yield chunk


def add(app: FastAPI) -> None:
    """Add the routes."""
    uids = [in_path(name) for name in ("study", "series", "instance")]
    numbers = {"name": "frames", "in": "path", "required": True, "schema": {"type": "string"}}
    app.add_api_route(
        _INSTANCE + "/frames/{frames}",
        frames,
        tags=["WADO-RS"],
        response_class=Response,
        responses={
            **body("The frames, a part each.", MULTIPART_TYPE),
            **errors(400, 401, 403, 404, 406, 503),
        },
        openapi_extra={"parameters": [*uids, numbers]},
    )
    value = {"name": "path", "in": "path", "required": True, "schema": {"type": "string"}}
    app.add_api_route(
        _INSTANCE + "/bulkdata/{path:path}",
        bulkdata,
        tags=["WADO-RS"],
        response_class=Response,
        responses={
            **body("The value.", MULTIPART_TYPE, OCTETS),
            206: {"description": "The range of the value."},
            **errors(401, 403, 404, 406, 416, 503),
        },
        openapi_extra={"parameters": [*uids, value]},
    )
