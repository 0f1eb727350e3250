"""Reading objects of an S3 store: ranges, taken up again where a connection was cut."""

import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Final

from darkroom_common.objects.interface import ObjectMissing, StoreUnavailable
from darkroom_common.objects.s3.client import Client, NotThere, OutOfRange, pause, translated

CHUNK: Final = 1 << 20
_FIRST: Final = 256 << 10
"""Bytes that opening an object reads: a header is in them as a rule."""
_MOST_AHEAD: Final = 8 << 20
_NEAR: Final = 64 << 10
"""Bytes between two parts that are read with them: a request costs more."""


class Reader:
    """Reads objects by their whole names, in threads."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def size(self, name: str) -> int:
        """Return the bytes of an object."""
        try:
            return int(self._client.call("head_object", Key=name)["ContentLength"])
        except NotThere as error:
            raise ObjectMissing(name) from error

    def chunks(self, name: str, start: int, length: int | None) -> Iterator[bytes]:
        """Yield the bytes from `start`, at most `length` of them, a mebibyte at a time."""
        if length == 0:
            self.size(name)
            return
        end = None if length is None else start + length
        failed = 0
        while end is None or start < end:
            answer = self._get(name, start, end)
            if answer is None:
                return
            end = start + int(answer["ContentLength"])
            try:
                with closing(answer["Body"]) as body, translated():
                    while data := body.read(min(CHUNK, end - start)):
                        start += len(data)
                        failed = 0
                        yield data
            except StoreUnavailable:
                failed += 1
                if failed >= self._client.location.attempts:
                    raise
                pause(failed)

    def _get(self, name: str, start: int, end: int | None) -> dict[str, Any] | None:
        """Return the answer to a range; None: the object ends before it."""
        last = "" if end is None else end - 1
        wanted = {"Range": f"bytes={start}-{last}"} if start or end is not None else {}
        try:
            return self._client.call("get_object", Key=name, **wanted)
        except NotThere as error:
            raise ObjectMissing(name) from error
        except OutOfRange:
            return None

    def read(self, name: str, start: int, length: int | None) -> bytes:
        """Return the bytes from `start`, at most `length` of them."""
        return b"".join(self.chunks(name, start, length))

    def parts(self, name: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts, each whole; those that lie near each other come with one request.

        Args:
            name: of the object.
            parts: the first byte and the number of bytes of each, in any order.

        Raises:
            StoreUnavailable: the object is shorter.
        """
        found: dict[tuple[int, int], bytes] = {}
        for begin, end, some in _joined(parts):
            data = self.read(name, begin, end - begin)
            if len(data) < end - begin:
                raise StoreUnavailable("an object is shorter than it was when it was indexed")
            for start, length in some:
                found[start, length] = data[start - begin : start - begin + length]
        return [found[part] for part in parts]

    def open(self, name: str) -> io.BufferedReader:
        """Open an object for a parser; what it reads first is there already."""
        return io.BufferedReader(ObjectFile(self, name), _NEAR)


def _joined(parts: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Yield ranges, first byte and end, and the parts that each has in it."""
    begin, end = -1, -1
    some: list[tuple[int, int]] = []
    for start, length in sorted(parts):
        if some and start > end + _NEAR:
            yield begin, end, some
            some = []
        if not some:
            begin, end = start, start
        some.append((start, length))
        end = max(end, start + length)
    if some:
        yield begin, end, some


class ObjectFile(io.RawIOBase):
    """An object as a file that can be read and moved about in; it keeps one window of it."""

    def __init__(self, reader: Reader, name: str) -> None:
        super().__init__()
        self._reader = reader
        self._name = name
        self._place = 0
        self._size: int | None = None
        self._begin = 0
        self._ahead = _FIRST
        self._window = reader.read(name, 0, _FIRST)
        if len(self._window) < _FIRST:
            self._size = len(self._window)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that its place can be moved."""
        return True

    def tell(self) -> int:
        """Return its place."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move its place; only one from the end may ask the store."""
        if whence == io.SEEK_CUR:
            offset += self._place
        elif whence == io.SEEK_END:
            offset += self._whole()
        if offset < 0:
            raise ValueError("a place before the first byte")
        self._place = offset
        return offset

    def _whole(self) -> int:
        if self._size is None:
            self._size = self._reader.size(self._name)
        return self._size

    def readinto(self, buffer: Any, /) -> int:
        """Read at least a byte, unless the object ends here."""
        room = memoryview(buffer).cast("B")
        at = self._place - self._begin
        if not 0 <= at < len(self._window):
            if self._size is not None and self._place >= self._size:
                return 0
            follows = self._place == self._begin + len(self._window)
            self._ahead = min(_MOST_AHEAD, self._ahead * 2) if follows else _FIRST
            wanted = max(len(room), self._ahead)
            self._window = self._reader.read(self._name, self._place, wanted)
            self._begin, at = self._place, 0
        data = self._window[at : at + len(room)]
        room[: len(data)] = data
        self._place += len(data)
        return len(data)

    def readall(self) -> bytes:
        """Read the rest of it."""
        at = self._place - self._begin
        held = self._window[at:] if 0 <= at < len(self._window) else b""
        self._place += len(held)
        rest = b""
        if self._size is None or self._place < self._size:
            rest = self._reader.read(self._name, self._place, None)
            self._place += len(rest)
        return held + rest
