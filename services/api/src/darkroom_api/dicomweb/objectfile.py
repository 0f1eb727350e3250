"""An object of the store as a file, for parsers that run in a thread."""

import asyncio
import io
from collections.abc import Callable
from concurrent.futures import Executor
from typing import BinaryIO, Final, TypeVar

from darkroom_common.objects.store import ObjectStore

_T = TypeVar("_T")
BUFFER: Final = 128 * 1024
READ_LIMIT: Final = 30.0  # seconds


class ObjectFile(io.RawIOBase):
    """Reads from the store on the event loop's behalf; only for threads, never for the loop."""

    name = ""
    """pydicom asks every buffered reader for it."""

    def __init__(
        self, store: ObjectStore, key: str, size: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__()
        self._store, self._key, self._size, self._loop = store, key, size, loop
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; past the end is allowed, as in files."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read what fits."""
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        reading = asyncio.run_coroutine_threadsafe(
            self._store.read(self._key, start=self._at, length=length), self._loop
        )
        data = reading.result(READ_LIMIT)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


async def parse(
    executor: Executor, store: ObjectStore, key: str, size: int, work: Callable[[BinaryIO], _T]
) -> _T:
    """Run a parser over an object in a thread of `executor`, which is not the store's own.

    Raises:
        ObjectMissing, StoreUnavailable: as the store; and what `work` raises.
    """
    loop = asyncio.get_running_loop()

    def run() -> _T:
        raw: io.RawIOBase = ObjectFile(store, key, size, loop)
        with io.BufferedReader(raw, BUFFER) as file:
            return work(file)

    return await loop.run_in_executor(executor, run)
