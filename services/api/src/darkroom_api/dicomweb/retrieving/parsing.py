"""Frames and values of objects, found by workers: nothing is parsed in this process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import orjson

from darkroom_api.dicomweb.retrieving import worker
from darkroom_api.dicomweb.retrieving.fragments import Stretch
from darkroom_api.dicomweb.retrieving.pixels import NoSuchFrame
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.index.rows import StoredInstance
from darkroom_common.objects.store import CHUNK, ObjectMissing, ObjectStore, StoreUnavailable
from darkroom_common.workers import Held, WorkerCrashed, WorkerGone, Workers, WorkerTooSlow

MODULE: Final = worker.__name__
MEMORY: Final = 320 << 20
"""Bytes of address space of a worker."""
LIMIT: Final = 20.0
"""Seconds for finding, and between pieces of what has to be made."""
LONGEST: Final = 8 << 20
"""Bytes of an answer: room for the places of some 300,000 frames."""
HOLD: Final = 30.0
SLOWEST: Final = 1_000_000
"""Seconds for a client that is sent what a worker makes, and bytes in each further one."""


class Unparsable(PermanentError):
    """The object does not have what is asked for, or not within the limits of a worker."""


class Found:
    """Values of an object. Those that had to be made are read once, in order, and then closed.

    Attributes:
        lengths: bytes of each.
    """

    def __init__(self, lengths: Sequence[int], stored: "Stored | None" = None) -> None:
        self.lengths = lengths
        self._stored = stored
        self._made: Held | None = None
        self._until = AsyncExitStack()

    def make(self, held: Held, until: AsyncExitStack) -> None:
        """Take the bytes from a worker, which is held until they are read or given up."""
        held.expect(sum(self.lengths))
        self._made, self._until = held, until

    async def close(self) -> None:
        """Give up what was not read."""
        await self._until.aclose()

    async def value(self, number: int, first: int = 0, length: int = -1) -> AsyncIterator[bytes]:
        """Yield a value, or `length` bytes of it from `first`.

        Raises:
            StoreUnavailable, ObjectMissing: as the store.
            WorkerFault: it cannot be made after all.
        """
        length = self.lengths[number] - first if length < 0 else length
        if self._stored is not None:
            async for chunk in self._stored.read(number, first, length):
                yield chunk
        if self._made is None:
            return
        at = 0
        async for data in self._made.read(self.lengths[number]):
            piece = data[max(0, first - at) : max(0, first + length - at)]
            at += len(data)
            if piece:
                yield piece

    async def closing(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield what is made of the values, and close them at the end, whatever it is."""
        async with self._until:
            pace = HOLD + sum(self.lengths) / SLOWEST
            async with asyncio.timeout(None if self._made is None else pace):
                async for chunk in chunks:
                    yield chunk


@dataclass(frozen=True)
class Stored:
    """Values that are among the bytes of an object, each in one piece or several."""

    store: ObjectStore
    key: str
    places: Sequence[Sequence[Stretch]]

    async def read(self, number: int, first: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes of a value from `first`.

        Raises:
            StoreUnavailable, ObjectMissing: as the store.
        """
        for start, size in _within(self.places[number], first, length):
            left = size
            if size <= CHUNK:
                data = await self.store.read(self.key, start=start, length=size)
                left -= len(data)
                yield data
            else:
                async for chunk in self.store.stream(self.key, start=start, length=size):
                    left -= len(chunk)
                    yield chunk
            if left:
                raise StoreUnavailable("an object is shorter than it was when it was indexed")


def _within(places: Sequence[Stretch], first: int, length: int) -> list[Stretch]:
    """Return the part of a value that begins at `first`, in the same pieces."""
    ends = accumulate(size for _, size in places)
    found = []
    for (start, size), end in zip(places, ends, strict=True):
        begin = end - size
        low, high = max(first, begin), min(first + length, end)
        if low < high:
            found.append((start + low - begin, high - low))
    return found


class Parsing:
    """Finds values in stored objects.

    Args:
        store: has the objects.
        workers: of `worker`.
        processes: of the workers.
    """

    def __init__(self, store: ObjectStore, workers: Workers, *, processes: int) -> None:
        self._store = store
        self._workers = workers
        self._makers = asyncio.Semaphore(max(1, processes - 1))  # one is there to find things

    async def frames(self, one: StoredInstance, numbers: Sequence[int] | None) -> Found:
        """Return frames, counted from 0, or all of them.

        Raises:
            NoSuchFrame: there are fewer.
            Unparsable: it has none that can be read.
            ObjectMissing, StoreUnavailable, DependencyUnavailable: as the store; no worker.
        """
        return await self._find(one, {"frames": None if numbers is None else list(numbers)})

    async def value(self, one: StoredInstance, path: str) -> Found:
        """Return one value, by its path.

        Raises:
            Unparsable: there is none.
            ObjectMissing, StoreUnavailable, DependencyUnavailable: as the store; no worker.
        """
        return await self._find(one, {"path": path})

    async def _find(self, one: StoredInstance, what: dict[str, Any]) -> Found:
        place = {"key": one.object_key, "syntax": one.transfer_syntax_uid}
        task = {**place, "start": one.data_set_offset, "size": one.size, **what}
        async with AsyncExitStack() as until:
            try:
                hold = self._workers.hold(orjson.dumps(task) + b"\n", LIMIT)
                held = await until.enter_async_context(hold)
            except (WorkerCrashed, WorkerTooSlow) as error:
                raise Unparsable("it takes more than is allowed to read the object") from error
            except WorkerGone as error:
                raise DependencyUnavailable("a worker was gone") from error
            answer = orjson.loads(held.line)
            if "error" in answer:
                raise _fault(answer["error"])
            lengths, places = answer["lengths"], answer["places"]
            if places is not None:
                return Found(lengths, Stored(self._store, one.object_key, places))
            if self._makers.locked():
                raise DependencyUnavailable("too many values are being made at once")
            await self._makers.acquire()
            until.callback(self._makers.release)
            found = Found(lengths)
            found.make(held, until.pop_all())
            return found


def _fault(word: str) -> Exception:
    if word == worker.NO_FRAME:
        return NoSuchFrame("there is no such frame")
    if word == worker.MISSING:
        return ObjectMissing("there is no such object")
    if word == worker.STORE:
        return StoreUnavailable("the store is away")
    return Unparsable("the object does not have it, or cannot be read")
