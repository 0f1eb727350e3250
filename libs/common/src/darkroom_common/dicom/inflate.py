"""Inflates a deflated data set piece by piece, within limits (PS3.5 A.5)."""

import zlib
from collections.abc import Iterator
from typing import Final

from darkroom_common.dicom.walk import Unreadable

WINDOW: Final = 1 << 16
"""Bytes that are held of what was inflated."""
_SLICE: Final = 1 << 14


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
