"""Directories whose entries are to survive a crash, and files in them."""

import os
import weakref
from pathlib import Path
from typing import Final

from darkroom_common.objects.interface import StoreUnavailable

_MODE: Final = 0o666
"""Of a new file, without what the umask takes away."""


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_part(file: int, start: int, length: int) -> bytes:
    """Return a part of an open file, all of it.

    Raises:
        StoreUnavailable: the file is shorter.
        OSError: it cannot be read.
    """
    data = os.pread(file, length, start)
    while 0 < len(data) < length and (
        more := os.pread(file, length - len(data), start + len(data))
    ):
        data += more
    if len(data) < length:
        raise StoreUnavailable("an object is shorter than it was when it was indexed")
    return data


class OpenDirectory:
    """A directory that is kept open, so that nobody walks its path again for each file.

    Everything raises `OSError`.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        weakref.finalize(self, os.close, self.descriptor)

    def create(self, name: str) -> int:
        """Return the descriptor of a new file, open for writing."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        return os.open(name, flags, _MODE, dir_fd=self.descriptor)

    def move(self, name: str, to: "OpenDirectory") -> None:
        """Move a file to another directory, under its name."""
        os.rename(name, name, src_dir_fd=self.descriptor, dst_dir_fd=to.descriptor)

    def sync(self) -> None:
        """Make the names in it durable."""
        os.fsync(self.descriptor)

    def free_bytes(self) -> int:
        """Return the room on its volume that this process may use."""
        state = os.statvfs(self.descriptor)
        return state.f_bavail * state.f_frsize
