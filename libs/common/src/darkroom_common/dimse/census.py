"""Counts open associations, in all, for each host and each AE, over the processes of one port.

The counts lie in memory that the processes share; each writes a row of its own, so that a process
that is killed takes its counts with it when its row is cleared. A host or an AE is counted in a
bucket of each of three tables, and the least of the three is its count: others that share one or
two of its buckets do not matter.
"""

import hashlib
import struct
import threading
from typing import Final, NamedTuple

_BUCKETS: Final = 4096
_TABLES: Final = 3
_CELL: Final = struct.Struct("=L")
_HASHES: Final = struct.Struct(f"={_TABLES}L")
ROW: Final = (1 + _TABLES * _BUCKETS) * _CELL.size
"""Bytes of the row of one process: the count of all, then the tables."""


class Counts(NamedTuple):
    """How many associations are open."""

    in_all: int
    of_host: int
    of_ae: int


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

    def enter(self, host: str, ae_title: str) -> Counts:
        """Count one in and return how many are open now."""
        return self._change(host, ae_title, 1)

    def leave(self, host: str, ae_title: str) -> None:
        """Count one out that was counted in."""
        self._change(host, ae_title, -1)

    def least_elsewhere(self) -> int | None:
        """Return how many the process has open that has the fewest; None: there is no other."""
        others = (row for row in range(0, len(self._memory), ROW) if row != self._own)
        return min((_CELL.unpack_from(self._memory, row)[0] for row in others), default=None)

    def _change(self, host: str, ae_title: str, by: int) -> Counts:
        of_host, of_ae = _cells(f"host {host}"), _cells(f"ae {ae_title}")
        with self._lock:
            for cell in (0, *of_host, *of_ae):
                (value,) = _CELL.unpack_from(self._memory, self._own + cell)
                _CELL.pack_into(self._memory, self._own + cell, value + by)
            return Counts(self._sum(0), min(map(self._sum, of_host)), min(map(self._sum, of_ae)))

    def _sum(self, cell: int) -> int:
        rows = range(0, len(self._memory), ROW)
        return sum(_CELL.unpack_from(self._memory, row + cell)[0] for row in rows)


def _cells(name: str) -> list[int]:
    """Return where a host or an AE is counted: one bucket in each table."""
    digest = hashlib.blake2b(name.encode(), digest_size=_HASHES.size).digest()
    return [
        (1 + table * _BUCKETS + number % _BUCKETS) * _CELL.size
        for table, number in enumerate(_HASHES.unpack(digest))
    ]


def clear(memory: memoryview, row: int) -> None:
    """Forget what a process that has ended had counted."""
    memory[row * ROW : (row + 1) * ROW] = bytes(ROW)
