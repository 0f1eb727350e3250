"""Rendered images and transcoded pixels, made by workers: nothing is decoded in this process."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import orjson

from darkroom_api.conformance.exchange import StatementTask
from darkroom_api.dicomweb.retrieving.pixels import NoSuchFrame
from darkroom_api.objects.exchange import MakeTask
from darkroom_api.rendering.ahead import Ahead
from darkroom_api.rendering.cache import Cache
from darkroom_api.rendering.exchange import (
    MADE,
    MISSING,
    NO_FRAME,
    STORE,
    TASK,
    FramesTask,
    Made,
    ObjectTask,
    Picture,
    Place,
    RenderTask,
    Task,
)
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.index.rows import StoredInstance
from darkroom_common.objects.store import ObjectMissing, StoreUnavailable
from darkroom_common.workers.faults import WorkerCrashed, WorkerGone, WorkerTooSlow
from darkroom_common.workers.pool import STARTING, Held, Workers

MODULE: Final = "darkroom_api.rendering.worker"
LIMIT: Final = 20.0
"""Seconds for an image, a frame, or an object; and
"""
SLOWEST: Final = 1_000_000
"""bytes of an object in each further one, for all that is made of the whole of it."""
PATIENCE: Final = LIMIT + STARTING
"""Seconds for a new object, with the start of a worker."""
_VERSION: Final = b"2"
"""Of how images are drawn: with another one, those that clients have are not taken for new."""


Places = Callable[[StoredInstance, Sequence[int]], Awaitable[tuple[tuple[int, int, int], ...]]]
"""Returns number, start and length of those of some frames of an object that are known."""


class CannotMake(PermanentError):
    """It cannot be made of this object, and never will. The text has no PHI."""


class DecoderFailed(PermanentError):
    """The worker that was to make it has crashed, or took too long, and is replaced."""


@dataclass(frozen=True)
class MadeFrames:
    """Frames in one transfer syntax.

    Attributes:
        syntax: of all of them.
        bodies: their lengths and bytes, one by one.
    """

    syntax: str
    bodies: AsyncIterator[tuple[int, AsyncIterator[bytes]]]


@dataclass(frozen=True)
class MadeObject:
    """A DICOM file in another transfer syntax; its length is not known when it is large."""

    syntax: str
    length: int | None
    chunks: AsyncIterator[bytes]


class Rendering:
    """Asks workers, and keeps images that they have made.

    Args:
        workers: of `worker`.
        cache: of images.
        processes: of the workers.
        places: see `Places`.
        limit: seconds for an image, a frame, or an object.
    """

    def __init__(
        self,
        workers: Workers,
        cache: Cache,
        *,
        processes: int,
        places: Places | None = None,
        limit: float = LIMIT,
    ) -> None:
        self._workers = workers
        self._cache = cache
        self._places = places
        # What clients take at their own pace leaves a worker for images, if there are several.
        self._streams = asyncio.Semaphore(max(1, processes - 1))
        self._free = processes
        self._waiting = 0
        self._waiting_streams = 0
        self.ahead = Ahead()
        self.limit = limit

    async def image(
        self, one: StoredInstance, picture: Picture, state: StoredInstance | None = None
    ) -> bytes:
        """Return a rendered image, shown by a presentation state if one is given.

        Raises:
            NoSuchFrame: the object has fewer.
            CannotMake, DecoderFailed: see there.
            ObjectMissing, StoreUnavailable, DependencyUnavailable: as the store; no worker.
        """
        key = key_of([one] if state is None else [one, state], picture)
        found = self._cache.get(key)
        if found is None:
            place = await self._place(one, picture.frames)
            task = RenderTask(place, picture, None if state is None else _place(state))
            async with self._answer(task, self.limit) as (held, made):
                found = b"".join([chunk async for chunk in held.read(made.length)])
            self._cache.put(key, found)
        return found

    @asynccontextmanager
    async def frames(
        self, one: StoredInstance, frames: Sequence[int] | None, wanted: Sequence[str]
    ) -> AsyncIterator[MadeFrames]:
        """Hold frames of an object in the first of some transfer syntaxes that can be made.

        Raises:
            NoSuchFrame, CannotMake, DecoderFailed: as for `image`; a later frame may yet fail.
            ObjectMissing, StoreUnavailable, DependencyUnavailable: as the store; no worker.
        """
        chosen = None if frames is None else tuple(frames)
        task = FramesTask(await self._place(one, chosen), chosen, tuple(wanted))
        async with self._stream(), self._answer(task, self.limit) as (held, made):
            yield MadeFrames(made.syntax, _each(held, made))

    @asynccontextmanager
    async def transcoded(
        self, one: StoredInstance, wanted: Sequence[str]
    ) -> AsyncIterator[MadeObject]:
        """Hold an object in the first of some transfer syntaxes that it can be said in.

        Raises:
            CannotMake, DecoderFailed: as for `image`; a later frame of a large one may yet fail.
            ObjectMissing, StoreUnavailable, DependencyUnavailable: as the store; no worker.
        """
        task = ObjectTask(_place(one), tuple(wanted))
        async with self._stream(), self._answer(task, self.limit_of(one)) as (held, made):
            if made.more:
                yield MadeObject(made.syntax, None, _joined(_each(held, made)))
            else:
                yield MadeObject(made.syntax, made.length, held.read(made.length))

    @asynccontextmanager
    async def object(
        self, task: MakeTask | StatementTask, body: Sequence[bytes]
    ) -> AsyncIterator[MadeObject]:
        """Hold a new object, made of a body, or the document of a statement.

        Raises:
            CannotMake, DecoderFailed, DependencyUnavailable: as for `image`.
        """
        async with self._stream(), self._answer(task, self.limit, body) as (held, made):
            yield MadeObject(made.syntax, made.length, held.read(made.length))

    async def _place(self, one: StoredInstance, frames: tuple[int, ...] | None) -> Place:
        place = _place(one)
        if self._places is None or not frames:
            return place
        return replace(place, frames=await self._places(one, frames))

    def limit_of(self, one: StoredInstance) -> float:
        """Return the seconds that an object may take as a whole."""
        return self.limit + one.size / SLOWEST

    def patience(self, one: StoredInstance | None = None) -> float:
        """Return the seconds until an image or a frame is there, or that of an object as a whole.

        Its worker may have to be started for it.
        """
        return STARTING + (self.limit if one is None else self.limit_of(one))

    def is_wanted(self) -> bool:
        """Tell whether somebody waits for a worker of which a client is sent what it makes."""
        return self._waiting_streams > 0 or self._waiting > self._free

    @asynccontextmanager
    async def _stream(self) -> AsyncIterator[None]:
        self._waiting_streams += 1
        try:
            await self._streams.acquire()
        finally:
            self._waiting_streams -= 1
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
            self._streams.release()

    @asynccontextmanager
    async def _answer(
        self, task: Task, limit: float, body: Sequence[bytes] = ()
    ) -> AsyncIterator[tuple[Held, Made]]:
        asked = [TASK.dump_json(task) + b"\n", *body]
        try:
            async with AsyncExitStack() as until:
                self._waiting += 1
                try:
                    held = await until.enter_async_context(self._workers.hold(asked, limit))
                finally:
                    self._waiting -= 1
                made = MADE.validate_json(held.line)
                if made.error:
                    raise _fault(made)
                held.expect(made.length)
                yield held, made
        except (WorkerCrashed, WorkerTooSlow) as error:
            raise DecoderFailed("its decoder has crashed, or took too long") from error
        except WorkerGone as error:
            raise DependencyUnavailable("a worker was gone") from error


async def _each(held: Held, made: Made) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
    """Yield what was made, line by line."""
    while True:
        if made.more:
            held.expect(1)  # else it seems to be free while it makes the next one
        yield made.length, held.read(made.length)
        if not made.more:
            return
        made = MADE.validate_json(await held.follow())
        held.expect(made.length - 1)
        if made.error:
            raise _fault(made)


async def _joined(bodies: AsyncIterator[tuple[int, AsyncIterator[bytes]]]) -> AsyncIterator[bytes]:
    async for _, body in bodies:
        async for chunk in body:
            yield chunk


def _place(one: StoredInstance) -> Place:
    return Place(one.object_key, one.transfer_syntax_uid, one.data_set_offset, one.size)


def key_of(instances: Sequence[StoredInstance], asked: Picture) -> bytes:
    """Return what tells an image from any other: of the bytes it is made of, and of how."""
    found = hashlib.sha256(_VERSION)
    for one in instances:
        found.update(one.sha256)
    found.update(orjson.dumps(asked))
    return found.digest()


def _fault(made: Made) -> Exception:
    known = {
        NO_FRAME: NoSuchFrame("there is no such frame"),
        MISSING: ObjectMissing("there is no such object"),
        STORE: StoreUnavailable("the store is away"),
    }
    return known.get(made.error) or CannotMake(made.reason)
