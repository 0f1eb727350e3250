"""Answers with bodies that are known: conditional requests, ranges, digests, HEAD."""

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from darkroom_api.dicomweb.retrieving.composite import (
    FromStore,
    Piece,
    chunks_of,
    digest_of,
    length_of,
    part_of,
    read_pieces,
)
from darkroom_api.edge.head import is_head
from darkroom_api.edge.ranges import Range, content_range, ranges_of
from darkroom_api.http.etags import is_known
from darkroom_api.http.parts import parts_of
from darkroom_api.http.responses import begin
from darkroom_common.http.exchange import ZEROCOPY
from darkroom_common.index.rows import StoredInstance
from darkroom_common.objects.store import CHUNK

PRIVATE: Final = "private, no-cache"
"""Whoever has asked may keep it, and asks by ETag whether it may still be shown."""
CONDITIONAL: Final[dict[int | str, dict[str, Any]]] = {
    206: {"description": "The ranges that were asked for."},
    304: {"description": "The client has it already."},
}
_VERSION: Final = b"1"
"""Of how bodies are put together."""
_WANTED: Final = re.compile(
    r"\s*(sha-256|sha-512)\s*(?:=\s*(\d{1,2})|;\s*q=([0-9.]{1,5}))?\s*", re.IGNORECASE
)
_DIGESTED: Final = 1 << 29
"""Bytes of a body whose digest is computed before it is sent."""


def etag_of(instances: Iterable[StoredInstance], *form: str) -> str:
    """Return what tells a body from any other: of the bytes it is made of, and of its form."""
    found = hashlib.sha256(_VERSION)
    for one in instances:
        found.update(one.sha256)
        found.update(one.object_key.encode())
    found.update("\n".join(form).encode())
    return f'"{found.hexdigest()[:32]}"'


def boundary_of(etag: str) -> str:
    """Return a boundary that is the same for the same body, so that ranges of it make sense.

    No part can hold it: it is a digest that depends on all of their bytes.
    """
    return f"darkroom-{etag.strip(chr(34))}"


def validators(etag: str) -> dict[str, str]:
    """Return the headers of a body by which a client asks for it again."""
    return {"etag": etag, "cache-control": PRIVATE, "vary": "Accept"}


def unless_known(request: Request, etag: str) -> Response | None:
    """Return 304 when the client has a body already.

    Raises:
        ApiError: 412, see `is_known`.
    """
    if is_known(request, etag):
        return Response(status_code=304, headers=validators(etag))
    return None


def bodiless(headers: Mapping[str, str], status: int = 200) -> Response:
    """Return the answer to HEAD, which says no length of a body unless it is known."""
    answer = Response(None, status, dict(headers))
    if "content-length" not in headers:
        del answer.headers["content-length"]
    return answer


async def send_pieces(
    request: Request, pieces: Sequence[Piece], headers: dict[str, str], etag: str
) -> Response:
    """Answer with a body, or with the ranges of it that are asked for.

    Args:
        request: see there.
        pieces: of the body.
        headers: among them its media type.
        etag: of the body.

    Raises:
        ApiError: 416.
        ObjectMissing, StoreUnavailable: as the store.
    """
    if known := unless_known(request, etag):
        return known
    size, status = length_of(pieces), 200
    wanted = ranges_of(request, size, etag)
    headers = {**headers, **validators(etag), "accept-ranges": "bytes"}
    headers |= await _digests(request, pieces, size)
    if len(wanted) == 1:
        status, headers["content-range"] = 206, content_range(wanted[0], size)
        pieces = part_of(pieces, *wanted[0])
    elif wanted:
        status = 206
        pieces, headers["content-type"] = _ranges(pieces, wanted, headers["content-type"], size)
    length = length_of(pieces)
    headers["content-length"] = str(length)
    if is_head(request):
        return bodiless(headers, status)
    ready = [one for one in pieces if isinstance(one, bytes)]
    if len(ready) == len(pieces):
        return Response(b"".join(ready), status, headers)
    store = parts_of(request.scope).store
    if ZEROCOPY in request.scope.get("extensions", ()):
        return await FromStore(status, headers).begin(store, pieces)
    if length <= CHUNK:
        # In one piece: that costs less than to send, and to receive, three.
        return Response(b"".join(await read_pieces(store, pieces)), status, headers)
    return StreamingResponse(await begin(chunks_of(store, pieces)), status, headers)


def _ranges(
    pieces: Sequence[Piece], wanted: Sequence[Range], kind: str, size: int
) -> tuple[list[Piece], str]:
    """Return the body of several ranges, and its media type (RFC 9110 section 14.6)."""
    boundary = f"darkroom-{secrets.token_hex(16)}"
    found: list[Piece] = []
    for number, one in enumerate(wanted):
        head = "\r\n" if number else ""
        head += f"--{boundary}\r\nContent-Type: {kind}\r\n"
        head += f"Content-Range: {content_range(one, size)}\r\n\r\n"
        found += [head.encode("ascii"), *part_of(pieces, *one)]
    found.append(f"\r\n--{boundary}--\r\n".encode("ascii"))
    return found, f"multipart/byteranges; boundary={boundary}"


async def _digests(request: Request, pieces: Sequence[Piece], size: int) -> dict[str, str]:
    """Return the digest of the body that a client wants (RFC 9530; RFC 3230 for older ones)."""
    made: dict[str, str] = {}
    if size > _DIGESTED:
        return made
    store = parts_of(request.scope).store
    if algorithm := _wanted(request.headers.get("want-repr-digest", "")):
        found = await digest_of(store, pieces, algorithm.replace("-", ""))
        made["repr-digest"] = f"{algorithm}=:{base64.b64encode(found).decode()}:"
    if algorithm := _wanted(request.headers.get("want-digest", "")):
        found = await digest_of(store, pieces, algorithm.replace("-", ""))
        made["digest"] = f"{algorithm}={base64.b64encode(found).decode()}"
    return made


def _wanted(header: str) -> str:
    """Return the algorithm that a client likes best of those that are computed; none: empty."""
    best, liked = "", 0.0
    for part in header.split(","):
        found = _WANTED.fullmatch(part)
        if found is None:
            continue
        try:
            weight = float(found[2] or found[3] or 1)
        except ValueError:
            continue
        if weight > liked:
            best, liked = found[1].lower(), weight
    return best
