"""Has the kernel begin to write a file to its volume, without waiting for it (Linux)."""

import ctypes
import os
from typing import Final

_SYNC_FILE_RANGE_WRITE: Final = 2  # <fcntl.h>
_sync_file_range: Final = ctypes.CDLL(None, use_errno=True).sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def begin_to_write(descriptor: int) -> None:
    """Begin to write what is not yet on the volume: it is no promise, and replaces no sync.

    Raises:
        OSError: the volume does not take it.
    """
    if _sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
