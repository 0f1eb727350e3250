"""Bytes that are made ahead of a client, who takes them at a pace of its own.

A worker is free as soon as it has made what it was asked for, however slow the client is; of what
does not fit into the room that there is, the rest is made as the client takes it. While others wait
for a worker, nobody keeps one for the sake of a slow client.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Final

from darkroom_common.errors import DarkroomError

PIECES: Final = 128
"""Of 64 KiB at most that wait for a client: 8 MiB."""
CLIENTS: Final = 8
"""With so much room at a time, in an API; those beyond have room for one piece."""
PATIENCE: Final = 10.0
"""Seconds in all that a worker waits for a client while others wait for the worker."""
_CHECK: Final = 0.5
"""Seconds after which a line that does not move looks who waits."""


class TooSlow(DarkroomError):
    """The client has kept a worker for longer than others can wait."""


class Ahead:
    """Lets clients take what is made for them.

    Args:
        patience: see `PATIENCE`.
        pieces: that wait for a client at most.
    """

    def __init__(self, *, patience: float = PATIENCE, pieces: int = PIECES) -> None:
        self._patience = patience
        self._pieces = pieces
        self._clients = 0

    async def of(
        self, chunks: AsyncGenerator[bytes, None], is_wanted: Callable[[], bool]
    ) -> AsyncGenerator[bytes, None]:
        """Yield what is made by a task of its own, which ends with this.

        Args:
            chunks: make it, and hold a worker until their end.
            is_wanted: tells whether somebody waits for that worker.

        Raises:
            TooSlow: see there. What `chunks` raise passes.
        """
        roomy = self._clients < CLIENTS
        self._clients += roomy
        line = _Line(self._pieces if roomy else 1, self._patience, is_wanted)
        task = asyncio.create_task(line.fill(chunks))
        try:
            async for chunk in line.taken():
                yield chunk
            await task
        finally:
            self._clients -= roomy
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


class _Line:
    """Pieces that wait for a client."""

    def __init__(self, most: int, patience: float, is_wanted: Callable[[], bool]) -> None:
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(most)
        self._patience = patience
        self._is_wanted = is_wanted

    async def fill(self, chunks: AsyncGenerator[bytes, None]) -> None:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    await self._wait_for_room()
                    self._waiting.put_nowait(chunk)
        finally:
            self._waiting.put_nowait(None)

    async def _wait_for_room(self) -> None:
        """Wait until the client has taken something.

        Raises:
            TooSlow: see there.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + self._patience
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK):
                    await self._room.acquire()
                    break
            if clock() >= until and self._is_wanted():
                raise TooSlow("its client takes too long, and others wait")
        self._patience = until - clock()

    async def taken(self) -> AsyncIterator[bytes]:
        while (chunk := await self._waiting.get()) is not None:
            self._room.release()
            yield chunk
