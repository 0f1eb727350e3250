"""Micro-batches: as many as are there, or as many as come within a short time."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def batches(queue: asyncio.Queue[T], *, size: int, linger: float) -> AsyncIterator[list[T]]:
    """Yield lists of 1 to `size` items, for ever.

    The first item starts the clock; after `linger` seconds the batch goes out as it is. What is
    in the queue already never waits for more than that.
    """
    while True:
        batch = [await queue.get()]
        deadline = asyncio.get_running_loop().time() + linger
        while len(batch) < size:
            try:
                batch.append(queue.get_nowait())
                continue
            except asyncio.QueueEmpty:
                pass
            try:
                async with asyncio.timeout_at(deadline):
                    batch.append(await queue.get())
            except TimeoutError:
                break
        yield batch
