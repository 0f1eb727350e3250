"""Bodies of answers that are known before they are read: our own bytes, and extents of objects."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from darkroom_common.http.exchange import ZEROCOPY
from darkroom_common.objects.store import CHUNK, ObjectStore, StoreUnavailable


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes of a stored object.

    Attributes:
        key: of the object.
        start: the first of them.
        length: their number.
    """

    key: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A part of an open file, all of it in memory.

    Attributes:
        file: its descriptor.
        start: the first byte.
        length: their number.
    """

    file: int
    start: int
    length: int


Piece = bytes | Extent
_OPENED: Final = 32
"""Extents of an answer that are opened before it begins."""


def length_of(pieces: Sequence[Piece]) -> int:
    """Return the bytes of all pieces."""
    return sum(len(one) if isinstance(one, bytes) else one.length for one in pieces)


def part_of(pieces: Sequence[Piece], first: int, length: int) -> list[Piece]:
    """Return the pieces of a part of a body."""
    found: list[Piece] = []
    begin, end = 0, first + length
    for piece in pieces:
        size = len(piece) if isinstance(piece, bytes) else piece.length
        low, high = max(first, begin), min(end, begin + size)
        if low < high:
            at = low - begin
            if isinstance(piece, bytes):
                found.append(piece[at : high - begin])
            else:
                found.append(Extent(piece.key, piece.start + at, high - low))
        begin += size
    return found


def read_now(store: ObjectStore, pieces: Sequence[Piece]) -> list[bytes]:
    """Read pieces, in a thread that may wait for the store.

    Raises:
        ObjectMissing, StoreUnavailable: as the store; and when an object is shorter than indexed.
    """
    found: list[bytes] = []
    todo = list(reversed(pieces))
    while todo:
        piece = todo.pop()
        if isinstance(piece, bytes):
            found.append(piece)
            continue
        try:
            with store.open_now(piece.key) as file:
                found.append(_read(file.fileno(), piece))
                while todo and isinstance(one := todo[-1], Extent) and one.key == piece.key:
                    found.append(_read(file.fileno(), one))
                    todo.pop()
        except OSError as error:
            raise StoreUnavailable(f"object store: {error.strerror}") from error
    return found


def read_at_hand(store: ObjectStore, pieces: Sequence[Piece]) -> list[bytes] | None:
    """Return pieces without waiting for the store, or None when that cannot be done."""
    found: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            found.append(piece)
            continue
        data = store.at_hand(piece.key, [(piece.start, piece.length)])
        if data is None:
            return None
        found += data
    return found


async def read_pieces(store: ObjectStore, pieces: Sequence[Piece]) -> list[bytes]:
    """Read pieces, `CHUNK` bytes of objects at most, in a thread if they have to be waited for.

    Raises:
        ObjectMissing, StoreUnavailable: see `read_now`.
    """
    found = read_at_hand(store, pieces)
    return await asyncio.to_thread(read_now, store, pieces) if found is None else found


def _read(file: int, one: Extent) -> bytes:
    data = os.pread(file, one.length, one.start)
    while 0 < len(data) < one.length and (
        more := os.pread(file, one.length - len(data), one.start + len(data))
    ):
        data += more
    if len(data) < one.length:
        raise StoreUnavailable("an object is shorter than it was when it was indexed")
    return data


def opened(store: ObjectStore, pieces: Sequence[Piece]) -> list[bytes | Opened] | None:
    """Return pieces, a few of them of objects, to be sent from memory without a copy; or None."""
    if sum(isinstance(piece, Extent) for piece in pieces) > _OPENED:
        return None
    found: list[bytes | Opened] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            found.append(piece)
            continue
        file = store.open_at_hand(piece.key, piece.start, piece.length)
        if file is None:
            _close(found)
            return None
        found.append(Opened(file, piece.start, piece.length))
    return found


def _close(pieces: Sequence[bytes | Opened]) -> None:
    for piece in pieces:
        if isinstance(piece, Opened):
            os.close(piece.file)


class FromFiles(Response):
    """Sends what was opened; the kernel takes it from there."""

    def __init__(
        self, pieces: Sequence[bytes | Opened], status: int, headers: Mapping[str, str]
    ) -> None:
        self.status_code = status
        self.background = None
        self.init_headers(headers)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and close what was opened whatever becomes of that."""
        del scope, receive
        try:
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            before = b""
            for piece in self._pieces:
                if isinstance(piece, bytes):
                    before += piece
                    continue
                part = {"file": piece.file, "offset": piece.start, "count": piece.length}
                await send({"type": ZEROCOPY, "body": before, "more_body": True, **part})
                before = b""
            await send({"type": "http.response.body", "body": before})
        finally:
            _close(self._pieces)


def batches(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Yield pieces some at a time, a mebibyte at most of what has to be read."""
    some: list[Piece] = []
    room = CHUNK
    for piece in pieces:
        if isinstance(piece, bytes):
            some.append(piece)
            continue
        at = 0
        while at < piece.length:
            size = min(room, piece.length - at)
            some.append(Extent(piece.key, piece.start + at, size))
            at, room = at + size, room - size
            if not room:
                yield some
                some, room = [], CHUNK
    if some:
        yield some


async def chunks_of(store: ObjectStore, pieces: Sequence[Piece]) -> AsyncIterator[bytes]:
    """Yield a body; what comes next is read while its client takes what came before.

    Raises:
        ObjectMissing, StoreUnavailable: see `read_now`.
    """
    coming: asyncio.Task[list[bytes]] | list[bytes] | None = None
    try:
        for batch in batches(pieces):
            before, coming = coming, read_at_hand(store, batch)
            if coming is None:
                coming = asyncio.create_task(asyncio.to_thread(read_now, store, batch))
            if before is not None:
                for data in await _read_ahead(before):
                    yield data
        if coming is not None:
            for data in await _read_ahead(coming):
                yield data
    finally:
        if isinstance(coming, asyncio.Task) and not coming.done():
            coming.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await coming


async def _read_ahead(coming: asyncio.Task[list[bytes]] | list[bytes]) -> list[bytes]:
    if isinstance(coming, asyncio.Task):
        return await coming
    await asyncio.sleep(0)  # others have their turn, however fast the client is
    return coming


async def digest_of(store: ObjectStore, pieces: Sequence[Piece], algorithm: str) -> bytes:
    """Return the digest of a body.

    Raises:
        ObjectMissing, StoreUnavailable: see `read_now`.
    """
    found = hashlib.new(algorithm)
    for batch in batches(pieces):

        def add(some: list[Piece] = batch) -> None:
            for data in read_now(store, some):
                found.update(data)

        await asyncio.to_thread(add)
    return found.digest()
