"""Inflates a deflated data set piece by piece, within limits (PS3.5 A.5)."""

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

from darkroom_common.dicom.limits import NO_LIMITS
from darkroom_common.dicom.walk import Unreadable

WINDOW: Final = 1 << 16
"""Bytes that are held of what was inflated."""
_SLICE: Final = 1 << 14
_KEPT: Final = 4 * WINDOW
RESTARTS: Final = 64
"""How often an `InflatedFile` begins again for a reader that goes far back."""


class Inflater:
    """Inflates one stream: `feed` its bytes in order, then `finish`.

    Args:
        limit: bytes that the stream may grow to.
    """

    def __init__(self, limit: int) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._limit = limit
        self._taken = 0
        self._grown = 0

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """Yield what the next bytes inflate to; bytes after the end of the stream are padding.

        Raises:
            Unreadable: the stream is damaged, or grows beyond the limit.
        """
        view = memoryview(data)
        for start in range(0, len(view), _SLICE):
            piece = view[start : start + _SLICE]
            self._taken += len(piece)
            yield from self._inflate(piece)

    def _inflate(self, pending: bytes | memoryview) -> Iterator[bytes]:
        while not self._stream.eof:
            try:
                chunk = self._stream.decompress(pending, WINDOW)
            except zlib.error as error:
                raise Unreadable("bad-deflate", self._taken) from error
            pending = self._stream.unconsumed_tail
            self._grown += len(chunk)
            if self._grown > self._limit:
                raise Unreadable("inflates-too-far", self._taken)
            if chunk:
                yield chunk
            elif not pending:
                return

    def finish(self) -> None:
        """Say that there is no more.

        Raises:
            Unreadable: the stream has not come to its end.
        """
        if not self._stream.eof:
            raise Unreadable("truncated", self._taken)


class InflatedFile(io.RawIOBase):
    """The data set of a deflated object as a file, inflated; it holds a window of it only.

    Args:
        file: the object.
        start: where its data set starts in it.

    Raises:
        Unreadable: the stream is damaged, here or at any read.
    """

    def __init__(self, file: BinaryIO, start: int) -> None:
        super().__init__()
        self._file, self._start = file, start
        self._restarts = -1
        self.data_set_size = sum(map(len, self._inflated()))
        self._at = 0
        self._begin_again()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; past the end is allowed, as in files."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.data_set_size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read some bytes, at most what fits."""
        if self._at < self._kept_from:
            self._begin_again()
        while self._at >= self._kept_from + len(self._kept):
            chunk = next(self._chunks, b"")
            if not chunk:
                return 0
            dropped = max(0, len(self._kept) - _KEPT)
            del self._kept[:dropped]
            self._kept_from += dropped
            self._kept += chunk
        offset = self._at - self._kept_from
        data = self._kept[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _begin_again(self) -> None:
        self._restarts += 1
        if self._restarts > RESTARTS:
            raise Unreadable("inflates-too-far", self._at)
        self._chunks = self._inflated()
        self._kept = bytearray()
        self._kept_from = 0

    def _inflated(self) -> Iterator[bytes]:
        inflater = Inflater(NO_LIMITS.inflated_bytes)
        at = self._start
        while True:
            self._file.seek(at)
            piece = self._file.read(WINDOW)
            if not piece:
                break
            at += len(piece)
            yield from inflater.feed(piece)
        inflater.finish()
