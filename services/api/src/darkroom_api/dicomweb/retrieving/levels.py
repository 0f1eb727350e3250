"""Pixel data and bulk data of several instances, or of one as a whole (PS3.18 10.4.1.1.5, .7)."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.dicomweb.accept import accepted
from darkroom_api.dicomweb.address import dicomweb_url, in_path, instance_url, stored
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.retrieving.composite import chunks_of
from darkroom_api.dicomweb.retrieving.objects import MULTIPART_TYPE
from darkroom_api.dicomweb.retrieving.parsing import PATIENCE, Found, Unparsable
from darkroom_api.dicomweb.retrieving.sending import (
    bodiless,
    boundary_of,
    etag_of,
    unless_known,
    validators,
)
from darkroom_api.edge.head import is_head
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.documented import body, errors
from darkroom_api.http.errors import ApiError, Code, not_acceptable
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import begin
from darkroom_api.rendering.negotiation import FrameForm, stored_form
from darkroom_common.dicom.syntaxes import EXPLICIT_LITTLE, NATIVE, OCTETS, media_type
from darkroom_common.index.rows import StoredInstance

_BULK: Final = re.compile(rb'"BulkDataURI":"bulkdata/([0-9A-Fa-f/]{1,400})"')
_PIXELS: Final = "7FE00010"


@dataclass(frozen=True)
class _Values:
    """Values of an instance, each a part.

    Attributes:
        kind: media type of all.
        places: the end of the address of each.
    """

    one: StoredInstance
    kind: str
    found: Found
    places: Sequence[str]


async def pixeldata(request: Request) -> Response:
    """Retrieve all frames of a study or series, as they are stored."""
    instances = [one for one in await stored(request) if one.rows]
    if not instances:
        raise ApiError(404, Code.NOT_FOUND, "There are no pixels.")
    forms = [_form(request, one) for one in instances]
    if any(form is None for form in forms):
        kinds = dict.fromkeys(media_type(one.transfer_syntax_uid) for one in instances)
        raise not_acceptable([f'multipart/related; type="{kind}"' for kind in kinds])

    async def values() -> AsyncIterator[_Values]:
        for one, form in zip(instances, forms, strict=True):
            if form is not None and (found := await _frames(request, one, form)):
                yield found

    return await _answer(request, instances, "pixeldata", values())


async def bulkdata(request: Request) -> Response:
    """Retrieve all bulk data of a study, a series or an instance, as they are stored."""
    if not any(one.takes_parts(OCTETS) for one in accepted(request)):
        raise not_acceptable([f'multipart/related; type="{OCTETS}"'])
    instances = await stored(request)
    return await _answer(request, instances, "bulkdata", _bulk(request, instances))


async def _bulk(request: Request, instances: Sequence[StoredInstance]) -> AsyncIterator[_Values]:
    parts = parts_of(request.scope)
    async for batch in parts.reader.headers(instances):
        for one, header in batch:
            for path in dict.fromkeys(_BULK.findall(header)):
                text = path.decode("ascii")
                if text == _PIXELS and one.transfer_syntax_uid not in NATIVE:
                    form = _form(request, one)
                    found = form and await _frames(request, one, form)
                    if found:
                        yield found
                    continue
                wait_for_another(request.scope, PATIENCE)
                with suppress(Unparsable):
                    value = await parts.parsing.value(one, text)
                    yield _Values(one, OCTETS, value, [f"bulkdata/{text}"])


def _form(request: Request, one: StoredInstance) -> FrameForm | None:
    """Return how frames go out as they are stored; None when they may not."""
    return stored_form(accepted(request), one.transfer_syntax_uid)


async def _frames(request: Request, one: StoredInstance, form: FrameForm) -> _Values | None:
    syntax = EXPLICIT_LITTLE if one.transfer_syntax_uid in NATIVE else one.transfer_syntax_uid
    wait_for_another(request.scope, PATIENCE)
    with suppress(Unparsable):
        found = await parts_of(request.scope).parsing.frames(one, None)
        places = [f"frames/{number + 1}" for number in range(len(found.lengths))]
        return _Values(one, f"{form.kind}; transfer-syntax={syntax}", found, places)
    return None


async def _answer(
    request: Request, instances: Sequence[StoredInstance], what: str, values: AsyncIterator[_Values]
) -> Response:
    """Return values as parts, read while they are sent; what fails later cuts the answer off.

    Raises:
        ApiError: 404, there are none.
    """
    first = await anext(values, None)
    if first is None:
        raise ApiError(404, Code.NOT_FOUND, "There is nothing of this kind.")
    base, store = dicomweb_url(request), parts_of(request.scope).store
    etag = etag_of(instances, what, base, request.headers.get("accept", ""))
    framing = Framing(first.kind.partition(";")[0], boundary_of(etag))
    headers = {"content-type": framing.content_type, **validators(etag)}
    if (known := unless_known(request, etag)) or is_head(request):
        await first.found.close()
        return known or bodiless(headers)

    async def of(each: _Values) -> AsyncIterator[bytes]:
        where = instance_url(base, each.one)
        every = zip(each.found.lengths, each.places, strict=True)
        for number, (length, place) in enumerate(every):
            begins = each is first and number == 0
            location = f"{where}/{place}"
            yield framing.head(each.kind, first=begins, length=length, location=location)
            pieces = each.found.pieces
            made = each.found.value(number) if pieces is None else chunks_of(store, pieces[number])
            async for chunk in made:
                yield chunk

    async def parts() -> AsyncIterator[bytes]:
        each: _Values | None = first
        while each is not None:
            async with aclosing(each.found.closing(of(each))) as chunks:
                async for chunk in chunks:
                    yield chunk
            each = await anext(values, None)
        yield framing.tail

    return StreamingResponse(await begin(parts(), parts=2), headers=headers)


_STUDY: Final = "/dicom-web/studies/{study}"
_SERIES: Final = _STUDY + "/series/{series}"
_INSTANCE: Final = _SERIES + "/instances/{instance}"


def add(app: FastAPI) -> None:
    """Add the routes."""
    for path in (_STUDY, _SERIES, _INSTANCE):
        names = [name for name in ("study", "series", "instance") if f"{{{name}}}" in path]
        for what, endpoint in (("pixeldata", pixeldata), ("bulkdata", bulkdata)):
            if path == _INSTANCE and what == "pixeldata":
                continue  # it may be transcoded
            app.add_api_route(
                f"{path}/{what}",
                endpoint,
                name=f"{what}_{names[-1]}",
                tags=["WADO-RS"],
                response_class=Response,
                responses={
                    **body("The values, a part each.", MULTIPART_TYPE),
                    304: {"description": "The client has it already."},
                    **errors(401, 403, 404, 406, 412, 429, 500, 503),
                },
                openapi_extra={"parameters": [in_path(name) for name in names]},
            )
