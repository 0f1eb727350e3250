"""Where bulk data of an upload wait for the object that they are of: a file that has no name."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from darkroom_common.errors import DarkroomError

_PIECE: Final = 1 << 20


class Range(NamedTuple):
    """Bytes of the scratch file."""

    start: int
    size: int


class Scratch:
    """Bytes in a directory of the spool, gone with the process or with `close`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: int | None = None
        self._end = 0
        self._held: set[Range] = set()

    @property
    def end(self) -> int:
        """Bytes of the file."""
        return self._end

    def write(self, data: memoryview) -> None:
        """Append bytes.

        Raises:
            OSError: the volume does not take them.
        """
        if self._file is None:
            flags = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
            self._file = os.open(self._directory, flags, 0o600)
        while data:
            written = os.pwrite(self._file, data, self._end)
            self._end += written
            data = data[written:]

    def hold(self, kept: Range) -> None:
        """Keep bytes until they are let go."""
        self._held.add(kept)

    def let_go(self, kept: Range) -> None:
        """Give the room of bytes back, once nothing of the file is needed."""
        self._held.discard(kept)
        if not self._held and self._file is not None:
            os.ftruncate(self._file, 0)
            self._end = 0

    def read(self, kept: Range) -> Iterator[bytes]:
        """Yield bytes.

        Raises:
            OSError: they cannot be read.
        """
        at, end = kept.start, kept.start + kept.size
        while at < end and self._file is not None:
            piece = os.pread(self._file, min(_PIECE, end - at), at)
            if not piece:
                raise OSError("the scratch file is shorter than what was written")
            yield piece
            at += len(piece)

    def close(self) -> None:
        """Forget all."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class NoRoom(DarkroomError):
    """Metadata of other uploads take all the memory that there is for it."""


class Memory:
    """Bytes of metadata that a process keeps at a time, of all its uploads."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Count bytes in.

        Raises:
            NoRoom: there is no room for them.
        """
        with self._lock:
            if size > self._free:
                raise NoRoom("metadata")
            self._free -= size

    def give(self, size: int) -> None:
        """Count them out."""
        with self._lock:
            self._free += size
