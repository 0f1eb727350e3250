"""Bodies of answers that are known before they are read: our own bytes, and extents of objects."""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final, Self, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from darkroom_common.http.exchange import ZEROCOPY
from darkroom_common.objects.store import CHUNK, ObjectStore


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
"""Extents that are open at a time."""
_AT_ONCE: Final = 16 * CHUNK
"""Bytes of open extents, which take no memory."""
_APART: Final = 1 << 16
"""Bytes that are sent by themselves, not copied to stand before others."""


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
        parts = [(piece.start, piece.length)]
        while todo and isinstance(one := todo[-1], Extent) and one.key == piece.key:
            parts.append((one.start, one.length))
            todo.pop()
        found += store.parts_now(piece.key, parts)
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


def opened(store: ObjectStore, pieces: Sequence[Piece]) -> list[bytes | Opened] | None:
    """Return pieces, a few of them of objects, to be sent from memory without a copy; or None."""
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


def batches(pieces: Sequence[Piece], limit: int = CHUNK) -> Iterator[list[Piece]]:
    """Yield pieces some at a time: of what has to be read `limit` bytes, and a few extents."""
    some: list[Piece] = []
    room, extents = limit, _OPENED
    for piece in pieces:
        if isinstance(piece, bytes):
            some.append(piece)
            continue
        at = 0
        while at < piece.length:
            size = min(room, piece.length - at)
            some.append(Extent(piece.key, piece.start + at, size))
            at, room, extents = at + size, room - size, extents - 1
            if not room or not extents:
                yield some
                some, room, extents = [], limit, _OPENED
    if some:
        yield some


async def chunks_of(store: ObjectStore, pieces: Sequence[Piece]) -> AsyncIterator[bytes]:
    """Yield a body; what comes next is read while its client takes what came before.

    Raises:
        ObjectMissing, StoreUnavailable: see `read_now`.
    """
    async with aclosing(_prepared(store, batches(pieces), read_at_hand)) as prepared:
        async for batch in prepared:
            for data in batch:
                yield data


_Some = TypeVar("_Some", bound=bytes | Opened)


async def _prepared(
    store: ObjectStore,
    parts: Iterator[list[Piece]],
    at_hand: Callable[[ObjectStore, list[Piece]], Sequence[_Some] | None],
) -> AsyncGenerator[Sequence[_Some | bytes], None]:
    """Yield the parts of a body, each while the next one is being read unless that is at hand.

    Raises:
        ObjectMissing, StoreUnavailable: see `read_now`.
    """
    coming: asyncio.Task[list[bytes]] | Sequence[_Some] | None = None
    try:
        for part in parts:
            found = at_hand(store, part)
            for batch in batches(part) if found is None else [part]:
                before, coming = coming, found
                if coming is None:
                    coming = asyncio.create_task(asyncio.to_thread(read_now, store, batch))
                if before is not None:
                    yield await _read_ahead(before)
        if coming is not None:
            last, coming = coming, None
            yield await _read_ahead(last)
    finally:
        if isinstance(coming, asyncio.Task):
            coming.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await coming
        elif coming is not None:
            _close(coming)


async def _read_ahead(
    coming: asyncio.Task[list[bytes]] | Sequence[_Some],
) -> Sequence[_Some | bytes]:
    if isinstance(coming, asyncio.Task):
        return await coming
    await asyncio.sleep(0)  # others have their turn, however fast the client is
    return coming


class FromStore(Response):
    """Sends a body; what is in memory the kernel takes from there."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.background = None
        self.init_headers(headers)

    async def begin(self, store: ObjectStore, pieces: Sequence[Piece]) -> Self:
        """Have the first of it ready, so that its errors still become an answer.

        Raises:
            ObjectMissing, StoreUnavailable: see `read_now`.
        """
        self._prepared = _prepared(store, batches(pieces, _AT_ONCE), opened)
        self._first = await anext(self._prepared)
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and close what was opened whatever becomes of that."""
        del scope, receive
        batch: Sequence[bytes | Opened] | None = self._first
        async with aclosing(self._prepared):
            before = b""
            while batch is not None:
                try:
                    if batch is self._first:
                        start = {"status": self.status_code, "headers": self.raw_headers}
                        await send({"type": "http.response.start", **start})
                    before = await self._send_batch(batch, before, send)
                finally:
                    _close(batch)
                batch = await anext(self._prepared, None)
            await send({"type": "http.response.body", "body": before})

    @staticmethod
    async def _send_batch(batch: Sequence[bytes | Opened], before: bytes, send: Send) -> bytes:
        """Send pieces behind some bytes, but the last bytes of them, which are returned."""
        for piece in batch:
            if isinstance(piece, Opened):
                part = {"file": piece.file, "offset": piece.start, "count": piece.length}
                await send({"type": ZEROCOPY, "body": before, "more_body": True, **part})
                before = b""
            elif len(before) + len(piece) > _APART:
                await send({"type": "http.response.body", "body": before, "more_body": True})
                before = piece
            else:
                before += piece
        return before


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
