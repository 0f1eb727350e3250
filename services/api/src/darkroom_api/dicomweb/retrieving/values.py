"""WADO-RS: frames and bulk data of one instance (PS3.18 sections 10.4.1.1.6 and .5)."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.dicomweb.accept import MediaRange, accepted
from darkroom_api.dicomweb.address import in_path, stored
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.retrieving.bulk import NoSuchValue, parse_path
from darkroom_api.dicomweb.retrieving.objects import MULTIPART_TYPE
from darkroom_api.dicomweb.retrieving.parsing import LIMIT, Found, Unparsable
from darkroom_api.dicomweb.retrieving.pixels import NoSuchFrame, frame_numbers
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import body, errors
from darkroom_api.http.errors import ApiError, Code, bad_request, not_acceptable
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import begin, ranged
from darkroom_api.rendering.negotiation import MADE_FRAMES, frame_form
from darkroom_api.rendering.streams import transcoded_frames
from darkroom_common.dicom.syntaxes import EXPLICIT_LITTLE, NATIVE, OCTETS, media_type
from darkroom_common.index.rows import StoredInstance

_INSTANCE: Final = "/dicom-web/studies/{study}/series/{series}/instances/{instance}"


async def frames(request: Request) -> Response:
    """Retrieve frames, counted from 1, as stored or in another transfer syntax that is accepted."""
    try:
        numbers = frame_numbers(request.path_params["frames"])
    except ValueError:
        raise bad_request("Frames are numbers from 1, separated by commas.") from None
    return await _frames(request, (await stored(request))[0], numbers)


async def _frames(request: Request, one: StoredInstance, numbers: Sequence[int] | None) -> Response:
    """Return frames, or all of them."""
    syntax = one.transfer_syntax_uid
    single = numbers is not None and len(numbers) == 1
    form = frame_form(accepted(request), syntax, one=single)
    if form is None:
        kinds = dict.fromkeys((media_type(syntax), OCTETS, *MADE_FRAMES))
        raise not_acceptable([f'multipart/related; type="{kind}"' for kind in kinds])
    if form.syntaxes:
        return await transcoded_frames(request, one, numbers, form)
    wait_for_another(request.scope, LIMIT)
    try:
        found = await parts_of(request.scope).parsing.frames(one, numbers)
    except NoSuchFrame as error:
        raise ApiError(404, Code.NOT_FOUND, "The instance has fewer frames.") from error
    except Unparsable as error:
        raise ApiError(404, Code.NOT_FOUND, "The instance has no readable frames.") from error
    shown = EXPLICIT_LITTLE if syntax in NATIVE else syntax
    content_type = f"{form.kind}; transfer-syntax={shown}"
    if form.single:
        headers = {"content-type": content_type, "content-length": str(found.lengths[0])}
        return StreamingResponse(await begin(found.closing(found.value(0))), headers=headers)
    framing = Framing(form.kind)

    async def chunks() -> AsyncIterator[bytes]:
        for number, length in enumerate(found.lengths):
            yield framing.head(content_type, first=number == 0, length=length)
            async for chunk in found.value(number):
                yield chunk
        yield framing.tail

    begun = await begin(found.closing(chunks()), parts=2)
    return StreamingResponse(begun, headers={"content-type": framing.content_type})


async def bulkdata(request: Request) -> Response:
    """Retrieve one value by its path; the pixel data of a compressed object as its frames."""
    try:
        path = parse_path(request.path_params["path"])
    except NoSuchValue as error:
        raise ApiError(404, Code.NOT_FOUND, "There is no such value.") from error
    one = (await stored(request))[0]
    if path.is_pixel_data and one.transfer_syntax_uid not in NATIVE:
        return await _frames(request, one, None)
    single = _prefers_single(accepted(request))
    if single is None:
        raise not_acceptable([f'multipart/related; type="{OCTETS}"', OCTETS])
    wait_for_another(request.scope, LIMIT)
    try:
        found = await parts_of(request.scope).parsing.value(one, request.path_params["path"])
    except Unparsable as error:
        raise ApiError(404, Code.NOT_FOUND, "There is no such value.") from error
    if single:
        return await _ranged(request, found)
    framing = Framing(OCTETS)
    head, tail = framing.head(OCTETS, first=True, length=found.lengths[0]), framing.tail

    async def chunks() -> AsyncIterator[bytes]:
        yield head
        async for chunk in found.value(0):
            yield chunk
        yield tail

    length = len(head) + found.lengths[0] + len(tail)
    return StreamingResponse(
        await begin(found.closing(chunks())),
        headers={"content-type": framing.content_type, "content-length": str(length)},
    )


def _prefers_single(ranges: Sequence[MediaRange]) -> bool | None:
    for wanted in ranges:
        if wanted.takes_parts(OCTETS):
            return False
        if wanted.takes(OCTETS):
            return True
    return None


async def _ranged(request: Request, value: Found) -> Response:
    """Return the value alone, or the one range of it that is asked for."""
    try:
        part = ranged(request, value.lengths[0])
    except ApiError:
        await value.close()
        raise
    headers = {"content-type": OCTETS, **part.headers}
    if not part.length:
        await value.close()
        return Response(b"", part.status, headers=headers)
    chunks = await begin(value.closing(value.value(0, part.first, part.length)))
    return StreamingResponse(chunks, part.status, headers=headers)


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
            **body("The frames, a part each.", MULTIPART_TYPE, *MADE_FRAMES),
            **errors(400, 401, 403, 404, 406, 429, 500, 503),
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
            **errors(401, 403, 404, 406, 416, 429, 500, 503),
        },
        openapi_extra={"parameters": [*uids, value]},
    )
