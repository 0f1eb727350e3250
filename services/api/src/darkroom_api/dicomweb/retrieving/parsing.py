"""Frames and values of objects, found by workers: nothing is parsed in this process."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import orjson

from darkroom_api.dicomweb.retrieving import worker
from darkroom_api.dicomweb.retrieving.composite import Extent, Piece, length_of
from darkroom_api.dicomweb.retrieving.native_frames import Expected, expected
from darkroom_api.dicomweb.retrieving.pixels import NoSuchFrame, chosen_of
from darkroom_api.http.errors import decoder_failed
from darkroom_common.dicom.syntaxes import NATIVE
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.index.rows import StoredInstance
from darkroom_common.objects.frame_places import ITEM_HEAD, head_of, unpacked
from darkroom_common.objects.store import CHUNK, ObjectMissing, ObjectStore, StoreUnavailable
from darkroom_common.workers.faults import WorkerCrashed, WorkerFault, WorkerGone, WorkerTooSlow
from darkroom_common.workers.pool import STARTING, Held, Workers

MODULE: Final = worker.__name__
Places = Callable[[StoredInstance], Awaitable[bytes | None]]
MEMORY: Final = 320 << 20
"""Bytes of address space of a worker."""
LIMIT: Final = 20.0
"""Seconds for finding, and between pieces of what has to be made."""
PATIENCE: Final = LIMIT + STARTING
"""Seconds until something is found, with the start of a worker."""
LONGEST: Final = 8 << 20
"""Bytes of an answer: room for the places of some 300,000 frames."""
REMEMBERED: Final = 200_000
"""Frames of compressed objects whose places are kept in mind."""
_SEVERAL: Final = 2
"""Frames of which it takes long to find one by walking."""
HOLD: Final = 30.0
SLOWEST: Final = 1_000_000
"""Seconds for a client that is sent what a worker makes, and bytes in each further one."""


class Unparsable(PermanentError):
    """The object does not have what is asked for, or more than a worker can hold is needed."""


class Found:
    """Values of an object. Those that had to be made are read once, in order, and then closed.

    Attributes:
        lengths: bytes of each.
        pieces: of each, when they are among the bytes of the object; None: they are made.
    """

    def __init__(
        self, lengths: Sequence[int], pieces: Sequence[Sequence[Piece]] | None = None
    ) -> None:
        self.lengths = lengths
        self.pieces = pieces
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
        """Yield a value that is made, or `length` bytes of it from `first`.

        Raises:
            WorkerFault: it cannot be made after all.
        """
        if self._made is None:
            return
        length = self.lengths[number] - first if length < 0 else length
        at = 0
        async for data in self._made.read(self.lengths[number]):
            piece = data[max(0, first - at) : max(0, first + length - at)]
            at += len(data)
            if piece:
                yield piece

    async def closing(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Yield what is made of the values, and close them at the end, whatever it is."""
        async with self._until:
            pace = HOLD + sum(self.lengths) / SLOWEST
            async with asyncio.timeout(None if self._made is None else pace):
                async for chunk in chunks:
                    yield chunk


class Parsing:
    """Finds values in stored objects.

    Args:
        store: has the objects.
        workers: of `worker`.
        places: what the index has of compressed frames, see `objects.frame_places`.
        processes: of the workers.
    """

    def __init__(
        self, store: ObjectStore, workers: Workers, places: Places, *, processes: int
    ) -> None:
        self._store = store
        self._workers = workers
        self._places = places
        self._makers = asyncio.Semaphore(max(1, processes - 1))  # one is there to find things
        self._known: OrderedDict[str, Sequence[Sequence[Piece]]] = OrderedDict()
        self._remembered = 0

    async def frames(self, one: StoredInstance, numbers: Sequence[int] | None) -> Found:
        """Return frames, counted from 0, or all of them.

        Raises:
            NoSuchFrame: there are fewer.
            Unparsable: it has none that can be read.
            ApiError: 500, the worker has crashed over it, or took too long, and is replaced.
            ObjectMissing, StoreUnavailable, DependencyUnavailable: as the store; no worker.
        """
        asked = None if numbers is None else list(numbers)
        if one.transfer_syntax_uid in NATIVE:
            found = await self._native(one, numbers)
            return found or await self._find(one, {"frames": asked})
        every = self._known.get(one.object_key) or await self._indexed(one)
        if every is None:
            found = await self._find(one, {"frames": None})
            if found.pieces is None:  # made one by one: of those that are asked for alone
                await found.close()
                return await self._find(one, {"frames": asked})
            every = found.pieces
        self._remember(one.object_key, every)
        chosen = [every[number] for number in chosen_of(numbers, len(every))]
        return Found([length_of(pieces) for pieces in chosen], chosen)

    async def places(
        self, one: StoredInstance, numbers: Sequence[int]
    ) -> tuple[tuple[int, int, int], ...]:
        """Return number, start and length of compressed frames of several, without a worker.

        Nothing: it is not known where they are.

        Raises:
            ObjectMissing, StoreUnavailable, DependencyUnavailable: as the store and the index.
        """
        if one.transfer_syntax_uid in NATIVE or (one.frames or 1) < _SEVERAL:
            return ()
        every = self._known.get(one.object_key) or await self._indexed(one)
        if every is None:
            return ()
        self._remember(one.object_key, every)
        found = []
        for number in numbers:
            match every[number : number + 1]:
                case [[Extent() as only]]:
                    found.append((number, only.start, only.length))
        return tuple(found)

    async def _native(self, one: StoredInstance, numbers: Sequence[int] | None) -> Found | None:
        """Return native frames that are where the index has them expected.

        Raises:
            NoSuchFrame: there are fewer.
            ObjectMissing, StoreUnavailable: as the store.
        """
        key, likely = one.object_key, list(expected(one))
        if not likely:
            return None
        found = next((each for each in likely if _is_at_hand(self._store, key, each)), None)
        found = found or await asyncio.to_thread(_standing, self._store, key, likely)
        if found is None:
            return None
        pieces: list[Piece] = [
            Extent(key, found.start + number * found.frame, found.frame)
            for number in chosen_of(numbers, found.count)
        ]
        return Found([found.frame] * len(pieces), [[piece] for piece in pieces])

    async def _indexed(self, one: StoredInstance) -> Sequence[Sequence[Piece]] | None:
        """Return compressed frames that are where the index says, as the bytes before them agree.

        Raises:
            ObjectMissing, StoreUnavailable, DependencyUnavailable: as the store and the index.
        """
        known = await self._places(one)
        if not known:
            return None
        places = unpacked(known)
        ends = [places[0], places[-1]]
        heads = [head_of(length) for _, length in ends]
        before = [(start - ITEM_HEAD, ITEM_HEAD) for start, _ in ends]
        stands = self._store.at_hand(one.object_key, before)
        if stands is None:
            stands = await asyncio.to_thread(_read_now, self._store, one.object_key, before)
        if stands != heads:
            return None
        return [[Extent(one.object_key, start, length)] for start, length in places]

    def _remember(self, key: str, every: Sequence[Sequence[Piece]]) -> None:
        if key not in self._known:
            self._known[key] = every
            self._remembered += len(every)
        while self._remembered > REMEMBERED:
            _, oldest = self._known.popitem(last=False)
            self._remembered -= len(oldest)

    async def value(self, one: StoredInstance, path: str) -> Found:
        """Return one value, by its path.

        Raises:
            Unparsable: there is none.
            ApiError: 500, the worker has crashed over it, or took too long, and is replaced.
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
                raise decoder_failed() from error
            except WorkerGone as error:
                raise DependencyUnavailable("a worker was gone") from error
            answer = orjson.loads(held.line)
            if "error" in answer:
                raise _fault(answer["error"])
            lengths, places = answer["lengths"], answer["places"]
            if places is not None:
                key = one.object_key
                return Found(lengths, [[Extent(key, *place) for place in each] for each in places])
            if sum(lengths) <= CHUNK:  # small enough to be at hand
                held.expect(sum(lengths))
                return Found(lengths, [[await _all(held, length)] for length in lengths])
            if self._makers.locked():
                raise DependencyUnavailable("too many values are being made at once")
            await self._makers.acquire()
            until.callback(self._makers.release)
            found = Found(lengths)
            found.make(held, until.pop_all())
            return found


async def _all(held: Held, length: int) -> bytes:
    """Return a value that a worker makes.

    Raises:
        Unparsable: it cannot be made after all.
    """
    try:
        return b"".join([data async for data in held.read(length)])
    except WorkerFault as error:
        raise Unparsable("the object cannot be read to the end of it") from error


def _fault(word: str) -> Exception:
    if word == worker.NO_FRAME:
        return NoSuchFrame("there is no such frame")
    if word == worker.MISSING:
        return ObjectMissing("there is no such object")
    if word == worker.STORE:
        return StoreUnavailable("the store is away")
    return Unparsable("the object does not have it, or cannot be read")


def _is_at_hand(store: ObjectStore, key: str, pixels: Expected) -> bool:
    """Tell whether what stands before frames is in memory, and is what is expected."""
    head = store.at_hand(key, [pixels.before])
    return head is not None and head[0] in pixels.heads


def _standing(store: ObjectStore, key: str, likely: Sequence[Expected]) -> Expected | None:
    """Return what an object has of that which is likely, for a thread.

    Raises:
        ObjectMissing, StoreUnavailable: as the store.
    """
    try:
        with store.open_now(key) as file:
            return next((pixels for pixels in likely if pixels.stands_in(file)), None)
    except OSError as error:
        raise StoreUnavailable(f"object store: {error.strerror}") from error


def _read_now(store: ObjectStore, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return parts of an object, for a thread.

    Raises:
        ObjectMissing, StoreUnavailable: as the store.
    """
    try:
        with store.open_now(key) as file:
            found = []
            for start, length in parts:
                file.seek(start)
                found.append(file.read(length))
            return found
    except OSError as error:
        raise StoreUnavailable(f"object store: {error.strerror}") from error
