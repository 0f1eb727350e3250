"""Reading what the kernel has in memory: parts of files, without a wait for any medium.

An event loop may do that by itself: a thread for a read that is over in microseconds costs more
than the read. What is not in memory is left to a thread.
"""

import ctypes
import os
import struct
import threading
from collections.abc import Sequence
from typing import Final

_OPENAT2: Final = 437
"""The number of the system call, on every architecture but Alpha."""
_RESOLVE_CACHED: Final = 0x20
"""Give up where a name is not in memory (Linux 5.12)."""
_HOW: Final = struct.pack("=QQQ", os.O_RDONLY | os.O_CLOEXEC, 0, _RESOLVE_CACHED)
_AT_FDCWD: Final = -100
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_CACHESTAT: Final = 451
"""Likewise (Linux 6.5)."""
_RANGE: Final = struct.Struct("=QQ")
_PAGES: Final = struct.Struct("=QQQQQ")
"""Of these counts the first is that of pages in memory."""
_SYSCALL: Final = ctypes.CDLL(None, use_errno=True).syscall
_SYSCALL.restype = ctypes.c_long
_SYSCALL.argtypes = [
    ctypes.c_long,
    ctypes.c_long,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_size_t,
]
_STATE: Final = ctypes.CDLL(None, use_errno=True)["syscall"]
_STATE.restype = ctypes.c_long
_STATE.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint]


def open_cached(path: str, first: int, length: int) -> int | None:
    """Return a descriptor of a file, which the caller closes, to send a part of it from.

    Args:
        path: of the file.
        first: byte of the part.
        length: its bytes.

    Returns:
        None: not all of it is there, or in memory, or the kernel cannot say.
    """
    file: int = _SYSCALL(_OPENAT2, _AT_FDCWD, os.fsencode(path), _HOW, len(_HOW))
    if file < 0:
        return None
    if not is_in_memory(file, first, length) or os.fstat(file).st_size < first + length:
        os.close(file)
        return None
    return file


def is_in_memory(file: int, first: int, length: int) -> bool:
    """Tell whether a part of a file is in memory, as far as the kernel can say."""
    pages = ctypes.create_string_buffer(_PAGES.size)
    failed = _STATE(_CACHESTAT, file, _RANGE.pack(first, length), pages, 0)
    wanted = (first + length - 1) // _PAGE - first // _PAGE + 1
    return not failed and _PAGES.unpack(pages.raw)[0] >= wanted


class CachedReader:
    """Reads parts of files into a buffer of its own first.

    Args:
        limit: bytes of all parts of one call.
    """

    def __init__(self, limit: int) -> None:
        self._buffer = memoryview(bytearray(limit))
        self._lock = threading.Lock()

    def read(self, path: str, parts: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """Return parts of a file, or None: it cannot be had without waiting, or is too much.

        Args:
            path: of the file.
            parts: the first byte and the number of bytes of each.
        """
        if sum(length for _, length in parts) > len(self._buffer):
            return None
        file = _SYSCALL(_OPENAT2, _AT_FDCWD, os.fsencode(path), _HOW, len(_HOW))
        if file < 0:  # not in memory, not there, or a kernel that does not know this call
            return None
        try:
            with self._lock:
                return self._parts(file, parts)
        except OSError:  # EAGAIN; what else is wrong is found by who reads it in a thread
            return None
        finally:
            os.close(file)

    def _parts(self, file: int, parts: Sequence[tuple[int, int]]) -> list[bytes] | None:
        found: list[bytes] = []
        for start, length in parts:
            room = self._buffer[:length]
            if length and os.preadv(file, [room], start, os.RWF_NOWAIT) < length:
                return None
            found.append(bytes(room))
        return found
