"""Videos as they are stored: nothing here encodes or decodes one (PS3.5 section 8.2.5)."""

import asyncio
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from darkroom_api.dicomweb.accept import MediaRange
from darkroom_api.dicomweb.multipart import Framing
from darkroom_api.dicomweb.retrieving.composite import Piece, length_of, part_of, read_now
from darkroom_api.dicomweb.retrieving.parsing import Unparsable
from darkroom_api.dicomweb.retrieving.sending import boundary_of, etag_of, send_pieces
from darkroom_api.http.errors import cannot_be_made, not_acceptable
from darkroom_api.http.parts import parts_of
from darkroom_common.index.rows import StoredInstance

MP4: Final = "video/mp4"
MPEG: Final = "video/mpeg"
TRANSPORT: Final = "video/mp2t"
KINDS: Final = (MP4, MPEG, TRANSPORT)
_PACKET: Final = 188
_LOOKED_AT: Final = 2 * _PACKET
_MPEG: Final = (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")
"""Program and elementary streams of MPEG-2."""


async def send_video(
    request: Request, one: StoredInstance, ranges: Sequence[MediaRange]
) -> Response:
    """Return a video in the container that it is stored in, or ranges of it.

    Raises:
        ApiError: 406, the client does not take that, or it is none that players know; 416.
        ObjectMissing, StoreUnavailable, DependencyUnavailable: as the store; no worker.
    """
    parts = parts_of(request.scope)
    try:
        found = await parts.parsing.frames(one, None)
    except Unparsable as error:
        raise cannot_be_made("it has no video that can be read") from error
    if not found.pieces:
        await found.close()
        raise cannot_be_made("it has no video that can be read")
    video: Sequence[Piece] = [piece for each in found.pieces for piece in each]
    some = part_of(video, 0, min(_LOOKED_AT, length_of(video)))
    kind = kind_of(b"".join(await asyncio.to_thread(read_now, parts.store, some)))
    if not kind:
        raise cannot_be_made("its video is in no container that players know")
    for wanted in ranges:
        if wanted.takes(kind):
            etag = etag_of([one], kind)
            return await send_pieces(request, video, {"content-type": kind}, etag)
        if wanted.takes_parts(kind):
            etag = etag_of([one], kind, "multipart")
            framing = Framing(kind, boundary_of(etag))
            head = framing.head(kind, first=True, length=length_of(video))
            pieces = [head, *video, framing.tail]
            return await send_pieces(request, pieces, {"content-type": framing.content_type}, etag)
    raise not_acceptable([kind])


def kind_of(beginning: bytes) -> str:
    """Return the media type of a stream by its first bytes; empty when it is not known."""
    if beginning[4:8] == b"ftyp":
        return MP4
    if beginning.startswith(_MPEG):
        return MPEG
    packets = beginning[:1], beginning[_PACKET : _PACKET + 1]
    return TRANSPORT if packets == (b"G", b"G") else ""
