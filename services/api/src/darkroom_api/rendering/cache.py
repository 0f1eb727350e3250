"""Answers that were made, kept in memory: they show patients, so none is written to disk.

All processes of the api keep them in the same memory, so that what one has made none makes again.
Nobody waits there: whoever reads sees that what it has read was written over meanwhile, and whoever
comes to write while another process does so keeps nothing this time.
"""

import fcntl
import hashlib
import mmap
import os
import struct
from typing import Final

from darkroom_common.telemetry.metrics import api as metrics

_HEAD: Final = struct.Struct("=Q")
"""How many bytes were ever written: where the next answer goes, modulo the size."""
_ENTRY: Final = struct.Struct("=16sQQ")
"""Digest of a key, where its answer was written, and its length; the answer begins with this."""
_NOBODY: Final = bytes(16)
_WAYS: Final = 4
"""Places in the table that one key may have."""
_ANSWER: Final = 1024
"""Bytes of answers for each place in the table."""
_WORN: Final = 2
"""What was asked for when a half of the memory has been written since is written anew."""


def memory_of(limit: int) -> int:
    """Return a file of memory for answers of so many bytes; forked processes share it."""
    file = os.memfd_create("answers", os.MFD_CLOEXEC)
    os.ftruncate(file, _HEAD.size + _buckets(limit) * _WAYS * _ENTRY.size + limit)
    return file


class Cache:
    """The answers that were asked for last, up to a number of bytes.

    Args:
        name: in metrics.
        limit: bytes of all answers together; 0 keeps none.
        memory: of `memory_of` for the same limit; without it nobody shares it.
    """

    def __init__(self, name: str, limit: int, memory: int | None = None) -> None:
        self._asked = {
            outcome: metrics.CACHE_ASKED.labels(name, outcome) for outcome in ("hit", "miss")
        }
        self._limit = limit
        self._buckets = _buckets(limit)
        self._data = _HEAD.size + self._buckets * _WAYS * _ENTRY.size
        self._file = memory_of(limit) if memory is None else memory
        self._memory = mmap.mmap(self._file, self._data + limit)

    def close(self) -> None:
        """Let the memory go."""
        self._memory.close()
        os.close(self._file)

    def get(self, key: bytes) -> bytes | None:
        """Return an answer; None when it is not kept."""
        digest = _digest(key)
        found = self._find(digest)
        self._asked["miss" if found is None else "hit"].inc()
        if found is None:
            return None
        start, body = found
        if self._head() - start > self._limit // _WORN:
            self._write(digest, body)
        return body

    def put(self, key: bytes, body: bytes) -> None:
        """Keep an answer, and forget as many old ones as it takes room."""
        digest = _digest(key)
        if len(body) + _ENTRY.size <= self._limit and self._find(digest) is None:
            self._write(digest, body)

    def _head(self) -> int:
        head: int = _HEAD.unpack_from(self._memory)[0]
        return head

    def _places(self, digest: bytes) -> range:
        bucket = int.from_bytes(digest[:8], "little") % self._buckets
        first = _HEAD.size + bucket * _WAYS * _ENTRY.size
        return range(first, first + _WAYS * _ENTRY.size, _ENTRY.size)

    def _find(self, digest: bytes) -> tuple[int, bytes] | None:
        """Return where an answer was written, and the answer."""
        if not self._limit:
            return None
        for place in self._places(digest):
            known, start, length = _ENTRY.unpack_from(self._memory, place)
            if known != digest or self._is_gone(start):
                continue
            at = self._data + start % self._limit
            before = bytes(self._memory[at : at + _ENTRY.size])
            body = bytes(self._memory[at + _ENTRY.size : at + _ENTRY.size + length])
            # An entry that was read while it was written does not name what stands there.
            if before == _ENTRY.pack(digest, start, length) and not self._is_gone(start):
                return start, body
        return None

    def _is_gone(self, start: int) -> bool:
        return self._head() - start > self._limit

    def _write(self, digest: bytes, body: bytes) -> None:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process writes; the next one who asks may keep it
            return
        try:
            start, size = self._head(), _ENTRY.size + len(body)
            if start % self._limit + size > self._limit:  # an answer lies in one piece
                start += self._limit - start % self._limit
            # What is written over is gone before the first byte of it is.
            _HEAD.pack_into(self._memory, 0, start + size)
            at, entry = self._data + start % self._limit, _ENTRY.pack(digest, start, len(body))
            self._memory[at : at + size] = entry + body
            place = min(self._places(digest), key=lambda one: self._age(one, digest))
            self._memory[place : place + _ENTRY.size] = entry
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _age(self, place: int, digest: bytes) -> tuple[bool, bool, int]:
        """Return what tells the place that is given up first: its own, a free one, the oldest."""
        known, start, _ = _ENTRY.unpack_from(self._memory, place)
        return known != digest, known != _NOBODY, start


def _buckets(limit: int) -> int:
    return max(1, limit // (_ANSWER * _WAYS))


def _digest(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=16).digest()
