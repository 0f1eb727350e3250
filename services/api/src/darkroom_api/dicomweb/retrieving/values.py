"""WADO-RS: frames and bulk data of one instance (PS3.18 sections 10.4.1.1.6 and .5)."""

from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.dicomweb.accept import MediaRange, accepted
from darkroom_api.dicomweb.address import dicomweb_url, in_path, instance_url, stored
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.retrieving.bulk import NoSuchValue, parse_path
from darkroom_api.dicomweb.retrieving.composite import Piece
from darkroom_api.dicomweb.retrieving.objects import MULTIPART_TYPE
from darkroom_api.dicomweb.retrieving.parsing import PATIENCE, Found, Unparsable
from darkroom_api.dicomweb.retrieving.pixels import NoSuchFrame, frame_numbers
from darkroom_api.dicomweb.retrieving.sending import (
    CONDITIONAL,
    bodiless,
    boundary_of,
    etag_of,
    send_pieces,
    unless_known,
    validators,
)
from darkroom_api.edge.head import is_head
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import body, errors
from darkroom_api.http.errors import ApiError, Code, bad_request, not_acceptable
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import begin, ranged
from darkroom_api.rendering.negotiation import MADE_FRAMES, FrameForm, frame_forms
from darkroom_api.rendering.streams import transcoded_frames
from darkroom_common.dicom.syntaxes import EXPLICIT_LITTLE, NATIVE, OCTETS, media_type
from darkroom_common.index.rows import StoredInstance

_INSTANCE: Final = "/dicom-web/studies/{study}/series/{series}/instances/{instance}"
_TRIED: Final = 8
"""Forms that are tried, one after the other, when those liked better cannot be made."""


async def frames(request: Request) -> Response:
    """Retrieve frames, counted from 1, as stored or in another transfer syntax that is accepted."""
    try:
        numbers = frame_numbers(request.path_params["frames"])
    except ValueError:
        raise bad_request("Frames are numbers from 1, separated by commas.") from None
    return await _frames(request, (await stored(request))[0], numbers)


async def _frames(request: Request, one: StoredInstance, numbers: Sequence[int] | None) -> Response:
    """Return frames, or all of them, in the form that the client likes best of what can be made."""
    single = numbers is not None and len(numbers) == 1
    forms = frame_forms(accepted(request), one.transfer_syntax_uid, one=single)
    fault: ApiError | None = None
    for form in islice(forms, _TRIED):
        if not form.syntaxes:
            return await _as_stored(request, one, numbers, form)
        try:
            return await _made(request, one, numbers, form)
        except ApiError as error:
            if error.code is not Code.NOT_ACCEPTABLE:
                raise
            fault = fault or error
    kinds = dict.fromkeys((media_type(one.transfer_syntax_uid), OCTETS, *MADE_FRAMES))
    raise fault or not_acceptable([f'multipart/related; type="{kind}"' for kind in kinds])


def _asked(numbers: Sequence[int] | None) -> str:
    return "all" if numbers is None else ",".join(map(str, numbers))


async def _made(
    request: Request, one: StoredInstance, numbers: Sequence[int] | None, form: FrameForm
) -> Response:
    etag = etag_of([one], "frames", _asked(numbers), form.kind, *form.syntaxes, str(form.single))
    if known := unless_known(request, etag):
        return known
    made = await transcoded_frames(request, one, numbers, form)
    made.headers.update(validators(etag))
    return made


async def _as_stored(
    request: Request, one: StoredInstance, numbers: Sequence[int] | None, form: FrameForm
) -> Response:
    wait_for_another(request.scope, PATIENCE)
    found = await _found(request, one, numbers)
    syntax = one.transfer_syntax_uid
    shown = EXPLICIT_LITTLE if syntax in NATIVE else syntax
    content_type = f"{form.kind}; transfer-syntax={shown}"
    base = instance_url(dicomweb_url(request), one)
    etag = etag_of([one], "frames", _asked(numbers), content_type, "" if form.single else base)
    if form.single:
        return await _single(request, found, content_type, etag)
    framing = Framing(form.kind, boundary_of(etag))
    heads = [
        framing.head(
            content_type,
            first=number == 0,
            length=length,
            location=f"{base}/frames/{1 + (number if numbers is None else numbers[number])}",
        )
        for number, length in enumerate(found.lengths)
    ]
    return await _parts(request, framing, heads, found, etag)


async def _found(request: Request, one: StoredInstance, numbers: Sequence[int] | None) -> Found:
    try:
        return await parts_of(request.scope).parsing.frames(one, numbers)
    except NoSuchFrame as error:
        raise ApiError(404, Code.NOT_FOUND, "The instance has fewer frames.") from error
    except Unparsable as error:
        raise ApiError(404, Code.NOT_FOUND, "The instance has no readable frames.") from error


async def _single(request: Request, found: Found, kind: str, etag: str) -> Response:
    """Return one value by itself, or what is asked for of it."""
    headers = {"content-type": kind}
    if found.pieces is not None:
        return await send_pieces(request, found.pieces[0], headers, etag)
    try:
        if known := unless_known(request, etag):
            await found.close()
            return known
        part = ranged(request, found.lengths[0], etag)
    except ApiError:
        await found.close()
        raise
    headers |= part.headers | validators(etag)
    if not part.length or is_head(request):
        await found.close()
        return Response(None, part.status, headers=headers)
    chunks = await begin(found.closing(found.value(0, part.first, part.length)))
    return StreamingResponse(chunks, part.status, headers=headers)


async def _parts(
    request: Request, framing: Framing, heads: Sequence[bytes], found: Found, etag: str
) -> Response:
    """Return values as parts, which begin with these heads."""
    headers = {"content-type": framing.content_type}
    if found.pieces is not None:
        pieces: list[Piece] = []
        for head, value in zip(heads, found.pieces, strict=True):
            pieces += [head, *value]
        return await send_pieces(request, [*pieces, framing.tail], headers, etag)
    known = unless_known(request, etag)
    if known or is_head(request):
        await found.close()
        return known or bodiless(headers | validators(etag))

    async def chunks() -> AsyncIterator[bytes]:
        for number, head in enumerate(heads):
            yield head
            async for chunk in found.value(number):
                yield chunk
        yield framing.tail

    length = sum(map(len, heads)) + sum(found.lengths) + len(framing.tail)
    headers |= validators(etag) | {"content-length": str(length)}
    return StreamingResponse(await begin(found.closing(chunks()), parts=2), headers=headers)


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
    wait_for_another(request.scope, PATIENCE)
    try:
        found = await parts_of(request.scope).parsing.value(one, request.path_params["path"])
    except Unparsable as error:
        raise ApiError(404, Code.NOT_FOUND, "There is no such value.") from error
    path_text = request.path_params["path"]
    where = f"{instance_url(dicomweb_url(request), one)}/bulkdata/{path_text}"
    etag = etag_of([one], "bulkdata", path_text, "" if single else where)
    if single:
        return await _single(request, found, OCTETS, etag)
    framing = Framing(OCTETS, boundary_of(etag))
    head = framing.head(OCTETS, first=True, length=found.lengths[0], location=where)
    return await _parts(request, framing, [head], found, etag)


def _prefers_single(ranges: Sequence[MediaRange]) -> bool | None:
    for wanted in ranges:
        if wanted.takes_parts(OCTETS):
            return False
        if wanted.takes(OCTETS):
            return True
    return None


async def pixeldata(request: Request) -> Response:
    """Retrieve all frames of an instance."""
    return await _frames(request, (await stored(request))[0], None)


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
            **CONDITIONAL,
            **errors(400, 401, 403, 404, 406, 412, 416, 429, 500, 503),
        },
        openapi_extra={"parameters": [*uids, numbers]},
    )
    app.add_api_route(
        _INSTANCE + "/pixeldata",
        pixeldata,
        name="pixeldata_instance",
        tags=["WADO-RS"],
        response_class=Response,
        responses={
            **body("All frames, a part each.", MULTIPART_TYPE, *MADE_FRAMES),
            **CONDITIONAL,
            **errors(401, 403, 404, 406, 412, 416, 429, 500, 503),
        },
        openapi_extra={"parameters": uids},
    )
    value = {"name": "path", "in": "path", "required": True, "schema": {"type": "string"}}
    app.add_api_route(
        _INSTANCE + "/bulkdata/{path:path}",
        bulkdata,
        tags=["WADO-RS"],
        response_class=Response,
        responses={
            **body("The value.", MULTIPART_TYPE, OCTETS),
            **CONDITIONAL,
            **errors(401, 403, 404, 406, 412, 416, 429, 500, 503),
        },
        openapi_extra={"parameters": [*uids, value]},
    )
