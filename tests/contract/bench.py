"""A broker to look behind, and handlers that remember: for what services may rely on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import aio_pika
import pytest

from darkroom_common.amqp.broker import Broker, Received, Unroutable
from darkroom_common.messages.base import Message, Reply, Request
from darkroom_common.messages.events import InstancesStored
from darkroom_common.messages.requests import EchoDestination
from darkroom_common.messages.resources import DELETE
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_common.testing.memory_broker import MemoryBroker
from darkroom_common.topology import RETRY_TIERS, RequestQueue, WorkQueue
from tests.support.waiting import succeeds, until

QUICK = {tier: timedelta(milliseconds=80) for tier in RETRY_TIERS}
QUEUE = WorkQueue("test.work", (InstancesStored,), prefetch=20, tiers=("5s", "30s"))
ASKED = RequestQueue("test.requests", (EchoDestination, DELETE[DESTINATIONS]))
LIMIT = 20.0


class Bench:
    """A broker, and the few things that a test must look at behind its interface."""

    def __init__(self, broker: Broker, url: str | None) -> None:
        self.broker = broker
        self._url = url

    async def dead(self) -> list[tuple[str, str]]:
        if isinstance(self.broker, MemoryBroker):
            return self.broker.dead_letters(QUEUE)
        found = []
        async with await aio_pika.connect(self._url) as connection, connection.channel() as channel:
            queue = await channel.get_queue(QUEUE.dead)
            while (message := await queue.get(no_ack=True, fail=False)) is not None:
                found.append((message.message_id or "", str(message.headers["x-darkroom-reason"])))
        return found

    async def put_raw(self, *, type_: str, body: bytes) -> None:
        if isinstance(self.broker, MemoryBroker):
            self.broker.put_raw(QUEUE, type_=type_, body=body)
            return
        async with await aio_pika.connect(self._url) as connection, connection.channel() as channel:
            message = aio_pika.Message(body, type=type_, message_id="raw")
            await channel.default_exchange.publish(message, QUEUE.name)


class Seen:
    """Remembers what a handler got, and fails as told."""

    def __init__(self, fail: Callable[[Message, int], Exception | None] | None = None) -> None:
        self.ids: list[str] = []
        self._fail = fail
        self._changed = asyncio.Condition()

    async def __call__(self, message: Message) -> None:
        self.ids.append(message.id)
        async with self._changed:
            self._changed.notify_all()
        error = self._fail(message, self.ids.count(message.id)) if self._fail else None
        if error is not None:
            raise error

    async def batch(self, received: Sequence[Received]) -> None:
        for one in received:
            await self(one.message)

    async def count(self, number: int) -> None:
        async with asyncio.timeout(LIMIT), self._changed:
            await self._changed.wait_for(lambda: len(self.ids) >= number)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def publish(broker: Broker, *messages: Message) -> None:
    """Publish when the consumer's queue is there."""
    for message in messages:
        await succeeds(partial(broker.publish, message), Unroutable, limit=LIMIT)


async def dead_of(bench: Bench, number: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    async def all_found() -> bool:
        found.extend(await bench.dead())
        return len(found) >= number

    await until(all_found, limit=LIMIT)
    return found


async def ask(broker: Broker, message: Request, *, limit: float = LIMIT) -> Reply:
    """Ask when the queue is there."""
    return await succeeds(partial(broker.request, message, limit=limit), Unroutable, limit=LIMIT)
