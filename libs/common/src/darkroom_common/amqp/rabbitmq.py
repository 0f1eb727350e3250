"""The broker that is RabbitMQ."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity

from darkroom_common.amqp.broker import (
    BatchHandler,
    BrokerUnavailable,
    Handler,
    Received,
    RequestHandler,
)
from darkroom_common.amqp.bulk import Outcome
from darkroom_common.amqp.connection import (
    LOOK_SECONDS,
    Closing,
    Link,
    broker_errors,
    close_quietly,
    heed_cancellation,
)
from darkroom_common.amqp.consumer import Consumer, Delivery
from darkroom_common.amqp.dead import DeadLetter, Keep, collect_session
from darkroom_common.amqp.publisher import Publisher, copy_for, declare_exchanges
from darkroom_common.amqp.requests import Requester, answer_session
from darkroom_common.amqp.retry import ATTEMPT, DEAD_AT, DELIVERY_COUNT, QUEUE, REASON, Dead, Retry
from darkroom_common.clock import monotonic, utc_now
from darkroom_common.errors import Unhealthy
from darkroom_common.messages.base import Exchange, Message, Reply, Request
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics
from darkroom_common.topology import (
    DEAD_EXCHANGE,
    QUORUM_ARGUMENTS,
    RETRY_TIERS,
    RequestQueue,
    WorkQueue,
    retry_arguments,
    retry_exchange,
)

log = get_logger(__name__)
WATCH_SECONDS: Final = 15.0
RECONNECT_LAST: Final = 10.0


async def declare(channel: AbstractChannel, queue: WorkQueue) -> AbstractQueue:
    """Declare a work queue, its dead-letter queue, its bindings and the tiers it waits in."""
    await declare_exchanges(channel)
    for tier in queue.tiers:
        name = retry_exchange(tier)
        waiting = await channel.declare_queue(name, durable=True, arguments=retry_arguments(tier))
        await waiting.bind(name, routing_key="")
    dead = await channel.declare_queue(queue.dead, durable=True, arguments=dict(QUORUM_ARGUMENTS))
    await dead.bind(DEAD_EXCHANGE, routing_key=queue.dead)
    declared = await channel.declare_queue(
        queue.name, durable=True, arguments=dict(queue.arguments)
    )
    for earlier in queue.unbinds:
        await declared.unbind(Exchange.EVENTS.value, routing_key=earlier)
    await bind(declared, queue)
    return declared


async def bind(declared: AbstractQueue, queue: WorkQueue) -> None:
    """Bind a queue to what it wants; again whenever the watchdog looks, if someone took it away."""
    for message in queue.binds:
        await declared.bind(message.EXCHANGE.value, routing_key=message.TYPE)


@dataclass
class RabbitSource:
    """One session with one queue: a channel to take from, the publisher to put copies."""

    channel: AbstractChannel
    declared: AbstractQueue
    queue: WorkQueue
    publisher: Publisher
    delays: Mapping[str, timedelta]

    def __post_init__(self) -> None:
        """Remember what is unsettled by delivery tag."""
        self._incoming: dict[int, AbstractIncomingMessage] = {}
        self._complete = 0  # all tags up to this one have been delivered

    def _take(self, message: AbstractIncomingMessage) -> Delivery:
        tag = message.delivery_tag or 0
        self._incoming[tag] = message
        if tag == self._complete + 1:
            self._complete = tag
        return Delivery(
            tag=tag,
            type=message.type,
            message_id=message.message_id or "",
            body=message.body,
            headers=message.headers,
        )

    async def get(self) -> Delivery | None:
        """Return the first message, or None when the queue is empty."""
        with broker_errors():
            message = await self.declared.get(no_ack=False, fail=False, timeout=10)
        heed_cancellation()
        return None if message is None else self._take(message)

    @asynccontextmanager
    async def subscription(
        self, prefetch: int, deliver: Callable[[Delivery], None]
    ) -> AsyncIterator[None]:
        """Have messages delivered; leaving the block leaves what is unsettled to the broker."""

        async def on_message(message: AbstractIncomingMessage) -> None:
            deliver(self._take(message))

        with broker_errors():
            await self.channel.set_qos(prefetch_count=prefetch)
            await self.declared.consume(on_message, no_ack=False, timeout=10)
        heed_cancellation()
        yield

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge, in one frame where no unsettled message lies between them."""
        tags = {delivery.tag for delivery in deliveries}
        with broker_errors():
            while tags:
                last = self._last_of_first(tags)
                settled = [tag for tag in self._incoming if tag <= last] if last else [min(tags)]
                incoming = self._incoming[settled[-1]]
                await incoming.ack(multiple=len(settled) > 1)
                for tag in settled:
                    del self._incoming[tag]
                tags.difference_update(settled)

    def _last_of_first(self, tags: set[int]) -> int:
        """Return the last of those tags before which nothing else is unsettled, or 0."""
        last = 0
        for tag in self._incoming:
            if tag not in tags or tag > self._complete:
                break
            last = tag
        return last

    async def defer(self, delivery: Delivery, retry: Retry) -> None:
        """Publish a copy to the tier; its routing key brings it back to this very queue."""
        copy = copy_for(
            delivery.body,
            message_id=delivery.message_id,
            message_type=delivery.type,
            headers=_kept(delivery.headers) | {ATTEMPT: retry.attempt},
            expiration=self.delays[retry.tier],
        )
        await self.publisher.send(
            copy, exchange=retry_exchange(retry.tier), routing_key=self.queue.name
        )

    async def scatter(self, delivery: Delivery, messages: Sequence[Message]) -> None:
        """Publish each message to this very queue."""
        for message in messages:
            copy = copy_for(
                message.to_body(),
                message_id=message.id,
                message_type=message.TYPE,
                headers=_kept(delivery.headers),
            )
            await self.publisher.send(copy, exchange="", routing_key=self.queue.name)

    async def bury(self, delivery: Delivery, dead: Dead) -> None:
        """Publish a copy to the dead-letter queue with the reason."""
        told = {REASON: dead.reason, QUEUE: self.queue.name, DEAD_AT: utc_now().isoformat()}
        copy = copy_for(
            delivery.body,
            message_id=delivery.message_id,
            message_type=delivery.type,
            headers=_kept(delivery.headers) | told,
        )
        await self.publisher.send(copy, exchange=DEAD_EXCHANGE, routing_key=self.queue.dead)


def _kept(headers: Mapping[str, object]) -> dict[str, Any]:
    return {k: v for k, v in headers.items() if k not in (DELIVERY_COUNT, "x-death")}


async def _ready(channel: AbstractChannel, name: str) -> int:
    state = await channel.declare_queue(name, passive=True)
    return state.declaration_result.message_count or 0


class RabbitBroker:
    """RabbitMQ behind the `Broker` interface."""

    def __init__(
        self, url: str, *, service: str, delays: Mapping[str, timedelta] | None = None
    ) -> None:
        self._publishing = Link(url, service=service, purpose="publish")
        self._consuming = Link(url, service=service, purpose="consume")
        self._publisher = Publisher(self._publishing, app_id=f"darkroom-{service}")
        self._requester = Requester(self._publishing, app_id=f"darkroom-{service}")
        self._delays = RETRY_TIERS if delays is None else delays
        self._in_session: dict[str, bool] = {}

    async def publish(self, message: Message, *, headers: dict[str, str] | None = None) -> None:
        """Publish; see `Broker.publish`."""
        await self._publisher.publish(message, headers=headers)

    async def publish_all(
        self, messages: Sequence[tuple[Message, Mapping[str, str]]]
    ) -> list[Outcome]:
        """Publish many; see `Broker.publish_all`."""
        return await self._publisher.publish_all(messages)

    async def consume(self, queue: WorkQueue, handler: Handler, *, concurrency: int = 16) -> None:
        """Consume one by one; see `Broker.consume`."""

        async def one(received: Sequence[Received]) -> None:
            await handler(received[0].message)

        await self._consume(Consumer(queue, one, concurrency=min(concurrency, queue.prefetch)))

    async def consume_batches(
        self, queue: WorkQueue, handler: BatchHandler, *, size: int, linger: float
    ) -> None:
        """Consume in batches; see `Broker.consume_batches`."""
        await self._consume(Consumer(queue, handler, size=size, linger=linger))

    async def request(self, message: Request, *, limit: float) -> Reply:
        """Ask; see `Broker.request`."""
        return await self._requester.request(message, limit=limit)

    async def answer(
        self, queue: RequestQueue, handler: RequestHandler, *, concurrency: int = 8
    ) -> None:
        """Answer; see `Broker.answer`."""
        free = asyncio.Semaphore(concurrency)

        async def bounded(message: Request) -> Reply:
            async with free:
                return await handler(message)

        async def session() -> None:
            self._in_session[queue.name] = False
            channel = await self._consuming.channel()
            try:
                await answer_session(
                    channel, queue, bounded, lambda: self._in_session.update({queue.name: True})
                )
            finally:
                self._in_session[queue.name] = False
                await close_quietly(channel, seconds=2)

        await self._again_and_again(queue.name, session)

    async def collect_dead(self, queues: Sequence[WorkQueue], keep: Keep) -> None:
        """Hand the dead letters of these queues to `keep`, for ever; see `collect_session`."""

        async def session() -> None:
            channel = await self._consuming.channel()
            try:
                await collect_session(channel, queues, keep)
            finally:
                await close_quietly(channel, seconds=2)

        await self._again_and_again("dead letters", session)

    async def put_back(self, letter: DeadLetter) -> None:
        """Put a dead letter into its work queue, with all its attempts before it.

        Raises:
            BrokerUnavailable: it may or may not have arrived; put it back again with the same id.
            Unroutable: its queue is not there.
        """
        copy = copy_for(
            letter.body,
            message_id=letter.message_id or None,
            message_type=letter.type or None,
            headers=dict(letter.trace),
        )
        await self._publisher.send(copy, exchange="", routing_key=letter.queue)

    async def _consume(self, consumer: Consumer) -> None:
        await self._again_and_again(consumer.queue.name, lambda: self._session(consumer))

    @staticmethod
    async def _again_and_again(name: str, session: Callable[[], Awaitable[None]]) -> None:
        delay = 0.2
        while True:
            began = monotonic()
            try:
                await session()
            except BrokerUnavailable as error:
                if monotonic() - began > RECONNECT_LAST:
                    delay = 0.2
                log.warning("consumer.waits", queue=name, reason=str(error))
                await asyncio.sleep(delay)
                delay = min(delay * 2, RECONNECT_LAST)

    async def _session(self, consumer: Consumer) -> None:
        self._in_session[consumer.queue.name] = False
        channel = await self._consuming.channel()
        lost: ExceptionGroup[BrokerUnavailable] | None = None
        try:
            with broker_errors():
                declared = await declare(channel, consumer.queue)
            heed_cancellation()
            self._in_session[consumer.queue.name] = True
            source = RabbitSource(channel, declared, consumer.queue, self._publisher, self._delays)
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._watch(consumer, channel, declared))
                await consumer.run(source)
                watch.cancel()
        except* BrokerUnavailable as group:
            lost = group  # raised below: until Python 3.11.4 this would raise it in a group
        finally:
            self._in_session[consumer.queue.name] = False
            await close_quietly(channel, seconds=2)
        if lost is not None:
            raise BrokerUnavailable(str(lost.exceptions[0])) from lost

    async def _watch(
        self, consumer: Consumer, channel: AbstractChannel, declared: AbstractQueue
    ) -> None:
        """End the session when the channel closes or when messages wait and none comes."""
        closing = Closing(channel)
        looked = consumer.last_delivery = monotonic()
        while True:
            closed = await closing.within(LOOK_SECONDS)
            heed_cancellation()
            if closed:
                raise BrokerUnavailable("RabbitMQ: the channel was closed")
            if monotonic() - looked < WATCH_SECONDS:
                continue
            looked = monotonic()
            with broker_errors():
                async with asyncio.timeout(10):
                    await bind(declared, consumer.queue)
                    depth = await _ready(channel, consumer.queue.name)
            metrics.QUEUE_DEPTH.labels(consumer.queue.name).set(depth)
            silent = monotonic() - consumer.last_delivery
            if depth and consumer.idle and silent > WATCH_SECONDS:
                metrics.CONSUMER_REBUILT.labels(consumer.queue.name).inc()
                raise BrokerUnavailable("RabbitMQ: messages wait but none is delivered")

    async def depths(self, names: Sequence[str]) -> dict[str, int]:
        """Return how many messages are ready in each of some queues that are there.

        Raises:
            BrokerUnavailable: they cannot be asked for now.
        """
        found: dict[str, int] = {}
        channel = await self._consuming.channel()
        try:
            for name in names:
                if channel.is_closed:  # by the broker, about a queue that is not there
                    channel = await self._consuming.channel()
                with broker_errors(), suppress(ChannelNotFoundEntity):
                    async with asyncio.timeout(10):
                        found[name] = await _ready(channel, name)
                heed_cancellation()
        finally:
            await close_quietly(channel, seconds=2)
        return found

    async def check(self) -> None:
        """Raise `Unhealthy` when no channel can be opened now, or a queue is not consumed."""
        for queue, consumed in self._in_session.items():
            if not consumed:
                raise Unhealthy(f"{queue} is not consumed")
        try:
            channel = await self._publishing.channel()
        except BrokerUnavailable as error:
            raise Unhealthy(str(error)) from error
        await close_quietly(channel, seconds=2)

    async def close(self) -> None:
        """Close both connections; what is unsettled goes back to the broker."""
        await self._publishing.close()
        await self._consuming.close()


@asynccontextmanager
async def open_broker(url: str, *, service: str) -> AsyncIterator[RabbitBroker]:
    """Open a `RabbitBroker` for the length of a block; it connects when first needed."""
    broker = RabbitBroker(url, service=service)
    try:
        yield broker
    finally:
        await broker.close()
