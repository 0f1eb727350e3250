"""Counts open associations, in all and for each host, over the processes that share a port.

The counts lie in memory that the processes share; each writes a row of its own, so that a process
that is killed takes its counts with it when its row is cleared. A host is a bucket of a hash: two
hosts that fall into one share its limit, which only matters to those near it.
"""

import struct
import threading
import zlib
from typing import Final

_BUCKETS: Final = 4096
_CELL: Final = struct.Struct("=L")
ROW: Final = (1 + _BUCKETS) * _CELL.size
"""Bytes of the row of one process: the count of all, then the buckets."""


class Census:
    """The counts of one process among `len(memory) // ROW`.

    Args:
        memory: zeroed, shared by the processes; without it there is this process alone.
        row: which row is this process's own.
    """

    def __init__(self, memory: memoryview | None = None, row: int = 0) -> None:
        self._memory = memoryview(bytearray(ROW)) if memory is None else memory
        self._own = row * ROW
        self._lock = threading.Lock()

    def enter(self, host: str) -> tuple[int, int]:
        """Count one in and return how many are open, in all and from this host."""
        return self._change(host, 1)

    def leave(self, host: str) -> None:
        """Count one out that was counted in."""
        self._change(host, -1)

    def _change(self, host: str, by: int) -> tuple[int, int]:
        bucket = (1 + zlib.crc32(host.encode()) % _BUCKETS) * _CELL.size
        with self._lock:
            for cell in (self._own, self._own + bucket):
                (value,) = _CELL.unpack_from(self._memory, cell)
                _CELL.pack_into(self._memory, cell, value + by)
            return self._sum(0), self._sum(bucket)

    def _sum(self, cell: int) -> int:
        rows = range(0, len(self._memory), ROW)
        return sum(_CELL.unpack_from(self._memory, row + cell)[0] for row in rows)


def clear(memory: memoryview, row: int) -> None:
    """Forget what a process that has ended had counted."""
    memory[row * ROW : (row + 1) * ROW] = bytes(ROW)
