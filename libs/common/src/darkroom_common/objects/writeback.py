"""Has the kernel begin to write a file to its volume, without waiting for it (Linux)."""

import ctypes
from typing import Final

_SYNC_FILE_RANGE_WRITE: Final = 2  # <fcntl.h>
_sync_file_range: Final = ctypes.CDLL(None).sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def begin_to_write(descriptor: int) -> None:
    """Begin to write what is not yet on the volume: it is no promise, and replaces no sync.

    What is wrong with the volume the sync that follows tells; a file system that cannot begin early
    takes objects all the same.
    """
    _sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)
