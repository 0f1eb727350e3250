"""Answers with transcoded frames and objects, sent while they are made."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.dicomweb.address import dicomweb_url, instance_url
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.retrieving.pixels import NoSuchFrame
from darkroom_api.dicomweb.retrieving.streaming import DICOM, dicom_type, object_chunks
from darkroom_api.http.deadline import wait_for_another
from darkroom_api.http.errors import ApiError, Code, cannot_be_made, decoder_failed
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import begin
from darkroom_api.rendering.negotiation import FrameForm
from darkroom_api.rendering.rendering import CannotMake, DecoderFailed, MadeObject, Rendering
from darkroom_common.index.rows import StoredInstance

HOLD: Final = 60.0
SLOWEST: Final = 500_000
"""Seconds for a client that is sent what a worker makes, and bytes in each further one."""


@contextmanager
def told() -> Iterator[None]:
    """Make answers of what workers cannot do.

    Raises:
        ApiError: 404, 406, 500.
    """
    try:
        yield
    except NoSuchFrame as error:
        raise ApiError(404, Code.NOT_FOUND, "The instance has fewer frames.") from error
    except CannotMake as error:
        raise cannot_be_made(str(error)) from error
    except DecoderFailed as error:
        raise decoder_failed() from error


async def transcoded_frames(
    request: Request, one: StoredInstance, numbers: Sequence[int] | None, form: FrameForm
) -> Response:
    """Return frames in a transfer syntax that they are not stored in.

    Raises:
        ApiError: see `told`.
    """
    rendering = parts_of(request.scope).rendering
    wait_for_another(request.scope, rendering.patience())
    until = AsyncExitStack()
    with told():
        hold = rendering.frames(one, numbers, form.syntaxes)
        made = await until.enter_async_context(hold)
    content_type = f"{form.kind}; transfer-syntax={made.syntax}"
    base = instance_url(dicomweb_url(request), one)
    framing = Framing(form.kind)

    async def parts() -> AsyncIterator[bytes]:
        number = 0
        async for length, body in made.bodies:
            if not form.single:
                frame = number if numbers is None else numbers[number]
                where = f"{base}/frames/{frame + 1}"
                yield framing.head(content_type, first=number == 0, length=length, location=where)
            async for chunk in body:
                yield chunk
            number += 1
        if not form.single:
            yield framing.tail

    chunks = await begin(_sent(rendering, until, parts(), one.size))
    if form.single:
        location = f"{base}/frames/{(numbers or [0])[0] + 1}"
        return StreamingResponse(
            chunks, headers={"content-type": content_type, "content-location": location}
        )
    return StreamingResponse(chunks, headers={"content-type": framing.content_type})


async def transcoded_object(
    request: Request, one: StoredInstance, wanted: Sequence[str]
) -> Response | None:
    """Return an object in a transfer syntax that it is not stored in; None: it cannot be made.

    None stands for the stored one, which then is among what is wanted.

    Raises:
        ApiError: see `told`.
    """
    rendering = parts_of(request.scope).rendering
    wait_for_another(request.scope, rendering.patience(one))
    until = AsyncExitStack()
    with told():
        made = await _made(rendering, until, one, wanted)
    if made is None:
        return None
    headers = {
        "content-type": f"{DICOM}; transfer-syntax={made.syntax}",
        "content-location": instance_url(dicomweb_url(request), one),
    }
    if made.length is not None:
        headers["content-length"] = str(made.length)
    chunks = await begin(_sent(rendering, until, made.chunks, made.length or one.size))
    return StreamingResponse(chunks, headers=headers)


async def transcoded_objects(
    request: Request, instances: Sequence[StoredInstance], wanted: Sequence[tuple[str, ...]]
) -> Response:
    """Return objects, some of them in a transfer syntax that they are not stored in.

    Raises:
        ApiError: see `told`; what fails after the first of them cuts the answer off.
    """
    framing = Framing(DICOM)
    chunks = await begin(_objects(request, framing, instances, wanted), parts=2)
    return StreamingResponse(chunks, headers={"content-type": framing.content_type})


async def _objects(
    request: Request,
    framing: Framing,
    instances: Sequence[StoredInstance],
    wanted: Sequence[tuple[str, ...]],
) -> AsyncIterator[bytes]:
    parts, base = parts_of(request.scope), dicomweb_url(request)
    for number, (one, syntaxes) in enumerate(zip(instances, wanted, strict=True)):
        first = number == 0
        wait_for_another(request.scope, parts.rendering.patience(one))
        async with AsyncExitStack() as until:
            with told():
                made = await _made(parts.rendering, until, one, syntaxes)
            if made is None:
                yield framing.head(dicom_type(one), first=first, length=one.object_size)
                async for chunk in object_chunks(parts.store, one):
                    yield chunk
                continue
            kind = f"{DICOM}; transfer-syntax={made.syntax}"
            where = instance_url(base, one)
            yield framing.head(kind, first=first, length=made.length, location=where)
            sent = _sent(parts.rendering, until, made.chunks, made.length or one.size)
            async with aclosing(sent):
                async for chunk in sent:
                    yield chunk
    yield framing.tail


async def _made(
    rendering: Rendering, until: AsyncExitStack, one: StoredInstance, wanted: Sequence[str]
) -> MadeObject | None:
    """Hold what is made of an object; None when it goes out as it is stored.

    Raises:
        CannotMake, DecoderFailed: see `Rendering.transcoded`; not when it is right as it is.
    """
    others = [syntax for syntax in wanted if syntax != one.transfer_syntax_uid]
    if not others:
        return None
    try:
        return await until.enter_async_context(rendering.transcoded(one, others))
    except CannotMake:
        if len(others) < len(wanted):
            return None
        raise


def _sent(
    rendering: Rendering, until: AsyncExitStack, chunks: AsyncIterator[bytes], size: int
) -> AsyncGenerator[bytes, None]:
    """Return what a worker makes, which is free when it has made it all."""
    return rendering.ahead.of(_closing(until, chunks, size), rendering.is_wanted)


async def _closing(
    until: AsyncExitStack, chunks: AsyncIterator[bytes], size: int
) -> AsyncGenerator[bytes, None]:
    """Yield what a worker makes, and let it go at the end, whatever that is."""
    async with until, asyncio.timeout(HOLD + size / SLOWEST):
        async for chunk in chunks:
            yield chunk
