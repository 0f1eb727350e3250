"""A broker in memory with RabbitMQ's semantics as far as Darkroom uses them.

It routes by `topology.py`, counts deliveries as a quorum queue does, keeps tiers with their delays
and dead letters with their reasons. It passes the conformance suite that RabbitMQ passes.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from darkroom_common.amqp.broker import (
    BatchHandler,
    BrokerUnavailable,
    Handler,
    NoReply,
    Received,
    RequestHandler,
    Unroutable,
)
from darkroom_common.amqp.consumer import Consumer, Delivery
from darkroom_common.amqp.requests import answered
from darkroom_common.amqp.retry import ATTEMPT, DELIVERY_COUNT, QUEUE, REASON, Dead, Retry
from darkroom_common.errors import Unhealthy
from darkroom_common.messages.base import Message, Reply, Request
from darkroom_common.telemetry import traces
from darkroom_common.topology import BOUND, RETRY_TIERS, RequestQueue, WorkQueue

_TAGS = itertools.count(1)


@dataclass
class MemoryQueue:
    """The messages of one queue and the session that takes them."""

    definition: WorkQueue
    ready: deque[Delivery] = field(default_factory=deque)
    unsettled: dict[int, Delivery] = field(default_factory=dict)
    dead: list[Delivery] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, delivery: Delivery) -> None:
        """Add at the end."""
        self.ready.append(delivery)
        self.arrived.set()

    def give_back(self) -> None:
        """Return what is unsettled to the front, counted as delivered once more."""
        for delivery in sorted(self.unsettled.values(), key=lambda d: d.tag, reverse=True):
            count = delivery.headers.get(DELIVERY_COUNT, 0)
            more = {
                **delivery.headers,
                DELIVERY_COUNT: (count if isinstance(count, int) else 0) + 1,
            }
            self.ready.appendleft(replace(delivery, headers=more))
        self.unsettled.clear()
        self.arrived.set()


class MemoryBroker:
    """The `Broker` interface without a broker. `outage` makes everything unavailable."""

    def __init__(self, *, delays: Mapping[str, timedelta] | None = None) -> None:
        self.queues: dict[str, MemoryQueue] = {}
        self.published: list[Message] = []
        self.outage = False
        self._delays = RETRY_TIERS if delays is None else delays
        self._tags = _TAGS
        self._asked: dict[RequestQueue, asyncio.Queue[tuple[Request, asyncio.Future[Reply]]]] = {}

    def declare(self, queue: WorkQueue) -> MemoryQueue:
        """Make a queue with its bindings."""
        return self.queues.setdefault(queue.name, MemoryQueue(queue))

    def _require(self) -> None:
        if self.outage:
            raise BrokerUnavailable("memory broker: outage")

    async def publish(self, message: Message, *, headers: dict[str, str] | None = None) -> None:
        """Publish; see `Broker.publish`."""
        await asyncio.sleep(0)
        self._require()
        carried = traces.inject() if headers is None else headers
        targets = [q for q in self.queues.values() if type(message) in q.definition.binds]
        if not targets and message.TYPE in BOUND:
            raise Unroutable(f"no queue takes {message.TYPE} from {message.EXCHANGE.value}")
        self.published.append(message)
        for queue in targets:
            queue.put(
                Delivery(next(self._tags), message.TYPE, message.id, message.to_body(), carried)
            )

    async def publish_all(
        self, messages: Sequence[tuple[Message, Mapping[str, str]]]
    ) -> list[BrokerUnavailable | Unroutable | None]:
        """Publish many; see `Broker.publish_all`."""
        outcomes: list[BrokerUnavailable | Unroutable | None] = []
        for message, headers in messages:
            try:
                await self.publish(message, headers=dict(headers))
            except (BrokerUnavailable, Unroutable) as error:
                outcomes.append(error)
            else:
                outcomes.append(None)
        return outcomes

    def put_raw(
        self, queue: WorkQueue, *, type_: str, body: bytes, message_id: str = "raw"
    ) -> None:
        """Put a message as it is into a queue: for what no publisher of ours would send."""
        self.declare(queue).put(Delivery(next(self._tags), type_, message_id, body, {}))

    def dead_letters(self, queue: WorkQueue) -> list[tuple[str, str]]:
        """Return (message id, reason) of the dead letters of a queue."""
        return [
            (delivery.message_id, str(delivery.headers[REASON]))
            for delivery in self.declare(queue).dead
        ]

    async def consume(self, queue: WorkQueue, handler: Handler, *, concurrency: int = 16) -> None:
        """Consume one by one; see `Broker.consume`."""

        async def one(received: Sequence[Received]) -> None:
            await handler(received[0].message)

        await self._consume(Consumer(queue, one, concurrency=concurrency))

    async def consume_batches(
        self, queue: WorkQueue, handler: BatchHandler, *, size: int, linger: float
    ) -> None:
        """Consume in batches; see `Broker.consume_batches`."""
        await self._consume(Consumer(queue, handler, size=size, linger=linger))

    async def _consume(self, consumer: Consumer) -> None:
        while True:
            held = self.declare(consumer.queue)
            source = MemorySource(held, self._delays)
            try:
                self._require()
                await consumer.run(source)
            except BrokerUnavailable:
                await asyncio.sleep(0.01)
            finally:
                held.give_back()

    async def request(self, message: Request, *, limit: float) -> Reply:
        """Ask; see `Broker.request`."""
        await asyncio.sleep(0)
        self._require()
        message = message.until(limit)
        for queue, waiting in self._asked.items():
            if type(message) in queue.binds:
                reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
                waiting.put_nowait((message, reply))
                try:
                    async with asyncio.timeout(limit):
                        return await reply
                except TimeoutError as error:
                    raise NoReply(f"{queue.name}: no reply in time") from error
        raise Unroutable(f"no queue takes {message.TYPE} from {message.EXCHANGE.value}")

    async def answer(
        self, queue: RequestQueue, handler: RequestHandler, *, concurrency: int = 8
    ) -> None:
        """Answer; see `Broker.answer`."""
        waiting = self._asked.setdefault(queue, asyncio.Queue())

        async def work() -> None:
            while True:
                message, reply = await waiting.get()
                if reply.done():  # whoever asked has given up
                    continue
                told = await answered(handler, message.TYPE, message.to_body())
                if not reply.done():
                    reply.set_result(told)

        async with asyncio.TaskGroup() as workers:
            for _ in range(concurrency):
                workers.create_task(work())

    async def check(self) -> None:
        """Raise `Unhealthy` during an outage."""
        if self.outage:
            raise Unhealthy("memory broker: outage")

    async def close(self) -> None:
        """Do nothing: there is no connection."""


class MemorySource:
    """One session with a queue in memory."""

    def __init__(self, queue: MemoryQueue, delays: Mapping[str, timedelta]) -> None:
        self._queue = queue
        self._delays = delays

    def _take(self) -> Delivery | None:
        if not self._queue.ready:
            return None
        delivery = self._queue.ready.popleft()
        self._queue.unsettled[delivery.tag] = delivery
        return delivery

    async def get(self) -> Delivery | None:
        """Return the first message, or None when the queue is empty."""
        await asyncio.sleep(0)
        return self._take()

    @asynccontextmanager
    async def subscription(
        self, prefetch: int, deliver: Callable[[Delivery], None]
    ) -> AsyncIterator[None]:
        """Have messages delivered, at most `prefetch` unsettled."""

        async def feed() -> None:
            while True:
                self._queue.arrived.clear()
                while len(self._queue.unsettled) < prefetch and (taken := self._take()):
                    deliver(taken)
                await self._queue.arrived.wait()

        feeder = asyncio.create_task(feed())
        try:
            yield
        finally:
            feeder.cancel()

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Forget the messages."""
        await asyncio.sleep(0)
        for delivery in deliveries:
            self._queue.unsettled.pop(delivery.tag)
        self._queue.arrived.set()

    async def defer(self, delivery: Delivery, retry: Retry) -> None:
        """Bring a copy back after the tier's delay."""
        headers: dict[str, Any] = {**delivery.headers, ATTEMPT: retry.attempt}
        headers.pop(DELIVERY_COUNT, None)
        delay = self._delays[retry.tier].total_seconds()
        copy = replace(delivery, headers=headers)
        asyncio.get_running_loop().call_later(delay, self._queue.put, copy)

    async def scatter(self, delivery: Delivery, messages: Sequence[Message]) -> None:
        """Put each message at the end of this very queue."""
        headers = {k: v for k, v in delivery.headers.items() if k != DELIVERY_COUNT}
        for message in messages:
            body = message.to_body()
            self._queue.put(Delivery(next(_TAGS), message.TYPE, message.id, body, headers))

    async def bury(self, delivery: Delivery, dead: Dead) -> None:
        """Keep a copy with the reason."""
        headers = {**delivery.headers, REASON: dead.reason, QUEUE: self._queue.definition.name}
        self._queue.dead.append(replace(delivery, headers=headers))
