"""SHA-256 of an object while it arrives.

Hashing is most of what a large object costs. From some size on it goes on in a thread of its own,
beside reading and writing: OpenSSL lets go of the interpreter meanwhile.
"""

import hashlib
import queue
import threading
from collections.abc import Sequence
from typing import Final

ASIDE_FROM: Final = 8 << 20
"""Bytes of an object after which the rest of it is hashed in a thread."""
_AHEAD: Final = 2
"""Pieces that may wait for the thread: memory stays bounded."""


class Digest:
    """The digest of one object; `close` it, whatever has become of it."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._size = 0
        self._pieces: queue.Queue[bytes | None] | None = None
        self._thread: threading.Thread | None = None

    def update(self, parts: Sequence[memoryview]) -> None:
        """Take the next bytes; they are not looked at after the return."""
        self._size += sum(map(len, parts))
        if self._pieces is None and self._size < ASIDE_FROM:
            for part in parts:
                self._digest.update(part)
            return
        if self._pieces is None:
            self._pieces = queue.Queue(_AHEAD)
            self._thread = threading.Thread(
                target=self._work, args=(self._pieces,), name="digest", daemon=True
            )
            self._thread.start()
        self._pieces.put(b"".join(parts))

    def _work(self, pieces: "queue.Queue[bytes | None]") -> None:
        while (piece := pieces.get()) is not None:
            self._digest.update(piece)

    def restart(self) -> None:
        """Forget what was taken."""
        self.close()
        self._digest = hashlib.sha256()
        self._size = 0

    def hexdigest(self) -> str:
        """Return the digest of all bytes, in lower-case hexadecimal."""
        self.close()
        return self._digest.hexdigest()

    def close(self) -> None:
        """End the thread, if there is one, after what it has taken."""
        if self._pieces is not None and self._thread is not None:
            self._pieces.put(None)
            self._thread.join()
            self._pieces = self._thread = None
