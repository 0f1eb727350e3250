"""Settling, in one place: acknowledge, retry, dead-letter, hold.

A `Consumer` works on a `Source`, which is a RabbitMQ channel or its twin in memory. It begins with
care: while the first message in the queue has been lost to several dying consumers, messages are
taken one at a time, so that a message that kills its consumer ends in the dead-letter queue alone.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from opentelemetry.trace import SpanKind

from darkroom_common.amqp.batch import batches
from darkroom_common.amqp.broker import BatchHandler, BrokerUnavailable, Received
from darkroom_common.amqp.gate import Gate
from darkroom_common.amqp.retry import (
    TRACE_HEADERS,
    Dead,
    Retry,
    attempts_in,
    crashed_too_often,
    crashes_in,
    decide,
    reason_of,
)
from darkroom_common.clock import monotonic
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.messages.base import InvalidMessage, Message
from darkroom_common.messages.batch import Batch
from darkroom_common.messages.registry import decode
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics
from darkroom_common.topology import WorkQueue

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
CAREFUL_FROM: Final = 3  # crashes of the first message
HOLD_LIMIT: Final = 20 * 60.0  # seconds; the broker takes messages back after 30 minutes


@dataclass(frozen=True, eq=False)
class Delivery:
    """One message in the hands of a consumer."""

    tag: int
    type: str | None
    message_id: str
    body: bytes
    headers: Mapping[str, object]

    @property
    def trace(self) -> dict[str, str]:
        """The trace headers it carries."""
        return {k: str(self.headers[k]) for k in TRACE_HEADERS if k in self.headers}


class Source(Protocol):
    """One session with a queue. Every method may raise `BrokerUnavailable`, which ends it."""

    async def get(self) -> Delivery | None:
        """Return the first message, or None when the queue is empty."""
        ...

    def subscription(
        self, prefetch: int, deliver: Callable[[Delivery], None]
    ) -> AbstractAsyncContextManager[None]:
        """Have messages delivered for the length of a block."""
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the broker that the messages are done."""
        ...

    async def defer(self, delivery: Delivery, retry: Retry) -> None:
        """Put a copy into a tier; return when it is confirmed."""
        ...

    async def scatter(self, delivery: Delivery, messages: Sequence[Message]) -> None:
        """Put the parts of a message into the queue itself; return when they are confirmed."""
        ...

    async def bury(self, delivery: Delivery, dead: Dead) -> None:
        """Put a copy into the dead-letter queue; return when it is confirmed."""
        ...


class Consumer:
    """Feeds one handler from one queue."""

    def __init__(
        self,
        queue: WorkQueue,
        handler: BatchHandler,
        *,
        size: int = 1,
        linger: float = 0.0,
        concurrency: int = 1,
    ) -> None:
        self.queue = queue
        self._handler = handler
        self._size = size
        self._linger = linger
        self._concurrency = concurrency
        self._gate = Gate(queue.name)
        self._buffer: asyncio.Queue[Delivery] = asyncio.Queue()
        self.last_delivery = monotonic()
        self.in_flight = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is in hand."""
        return self.in_flight == 0 and self._buffer.empty()

    async def run(self, source: Source) -> None:
        """Consume until cancelled or until the session is lost.

        Raises:
            BrokerUnavailable: the session is lost; what was in hand is delivered again.
        """
        self._buffer = asyncio.Queue()
        self.in_flight = 0
        await self._begin_with_care(source)
        lost: ExceptionGroup[BrokerUnavailable] | None = None
        try:
            async with (
                source.subscription(self.queue.prefetch, self._deliver),
                asyncio.TaskGroup() as workers,
            ):
                for _ in range(self._concurrency):
                    workers.create_task(self._work(source))
        except* BrokerUnavailable as group:
            lost = group  # raised below: until Python 3.11.4 this would raise it in a group
        if lost is not None:
            raise BrokerUnavailable(f"consumer of {self.queue.name} lost its session") from lost

    def _deliver(self, delivery: Delivery) -> None:
        self.last_delivery = monotonic()
        self._buffer.put_nowait(delivery)

    async def _begin_with_care(self, source: Source) -> None:
        while (delivery := await source.get()) is not None:
            crashes = crashes_in(delivery.headers)
            if crashes >= CAREFUL_FROM:
                log.warning(
                    "consumer.careful",
                    queue=self.queue.name,
                    message=delivery.message_id,
                    crashes=crashes,
                )
                if await self._scattered(source, delivery):
                    continue
            await self._handle(source, [delivery])
            if crashes < CAREFUL_FROM:
                return

    async def _work(self, source: Source) -> None:
        async for batch in batches(self._buffer, size=self._size, linger=self._linger):
            await self._handle(source, batch)

    async def _handle(self, source: Source, batch: Sequence[Delivery]) -> None:
        self.in_flight += len(batch)
        metrics.IN_FLIGHT.labels(self.queue.name).inc(len(batch))
        try:
            await self._attempt(source, batch)
        finally:
            self.in_flight -= len(batch)
            metrics.IN_FLIGHT.labels(self.queue.name).dec(len(batch))

    async def _attempt(self, source: Source, batch: Sequence[Delivery]) -> None:
        good: list[Delivery] = []
        received: list[Received] = []
        async for delivery, item in self._readable(source, batch):
            good.append(delivery)
            received.append(item)
        if not good:
            return
        error = await self._call_until_settled(received)
        if error is None:
            self._gate.succeeded()
            await source.ack(good)
            metrics.CONSUMED.labels(self.queue.name, "done").inc(len(good))
        elif len(good) > 1:
            for delivery in good:
                await self._attempt(source, [delivery])
        else:
            await self._settle_alone(source, good[0], received[0], error)
            await source.ack(good)

    async def _settle_alone(
        self, source: Source, delivery: Delivery, received: Received, error: Exception
    ) -> None:
        """Retry or bury one message; of a batch those items alone that fail.

        An item goes on as a message with attempts of its own. The halves that are well again take
        effect here: whoever handles them knows each item that was handled before.
        """
        message = received.message
        if not isinstance(message, Batch) or len(message.items) == 1:
            self._gate.failed()
            await self._settle_failure(source, delivery, error)
            return
        for half in message.halves():
            part = replace(received, message=half)
            copy = replace(delivery, type=half.TYPE, message_id=half.id, body=half.to_body())
            failed = await self._call_until_settled([part])
            if failed is None:
                self._gate.succeeded()
            else:
                await self._settle_alone(source, copy, part, failed)

    async def _call_until_settled(self, received: Sequence[Received]) -> Exception | None:
        """Call the handler until it says something about the messages; return its error, if any.

        A dependency that is away says nothing about them: they are held, and the gate probes.
        """
        began = monotonic()
        while True:
            await self._gate.enter()
            try:
                await self._call(received)
            except DependencyUnavailable as error:
                self._gate.close(reason=reason_of(error))
                if monotonic() - began > HOLD_LIMIT:
                    raise BrokerUnavailable("held too long: given back to the broker") from error
            except Exception as error:  # noqa: BLE001 - this is the place that decides
                return error
            else:
                return None

    async def _readable(
        self, source: Source, batch: Sequence[Delivery]
    ) -> AsyncIterator[tuple[Delivery, Received]]:
        for delivery in batch:
            dead = crashed_too_often(crashes_in(delivery.headers))
            if dead is not None:
                if not await self._scattered(source, delivery):
                    await self._bury(source, delivery, dead)
                    await source.ack([delivery])
                continue
            try:
                message = decode(delivery.type, delivery.body)
            except InvalidMessage as error:
                await self._bury(source, delivery, Dead(reason_of(error)))
                await source.ack([delivery])
                continue
            yield delivery, Received(message, delivery.trace, attempts_in(delivery.headers))

    async def _scattered(self, source: Source, delivery: Delivery) -> bool:
        """Put the items of a batch that consumers die on into the queue one by one, if it has some.

        Each is counted for itself from then on, and the one that kills ends alone.
        """
        try:
            message = decode(delivery.type, delivery.body)
        except InvalidMessage:
            return False
        if not isinstance(message, Batch) or len(message.items) == 1:
            return False
        log.warning("message.split", queue=self.queue.name, message=delivery.message_id)
        await source.scatter(delivery, message.singles())
        await source.ack([delivery])
        return True

    async def _call(self, received: Sequence[Received]) -> None:
        distinct = {trace.get("traceparent"): trace for each in received for trace in each.traces}
        came = list(distinct.values())
        one = came[0] if len(came) == 1 else None
        with (
            metrics.HANDLE_SECONDS.labels(self.queue.name).time(),
            traces.span(
                tracer,
                f"{self.queue.name} process",
                kind=SpanKind.CONSUMER,
                parent=None if one is None else traces.extract(one),
                links=[] if one else [link for trace in came for link in traces.link_to(trace)],
                messaging__system="rabbitmq",
                messaging__destination__name=self.queue.name,
                messaging__batch__message_count=len(received),
            ),
        ):
            await self._handler(received)

    async def _settle_failure(self, source: Source, delivery: Delivery, error: Exception) -> None:
        failed_before = attempts_in(delivery.headers)
        match decide(self.queue, failed_before=failed_before, error=error):
            case Dead() as dead:
                await self._bury(source, delivery, dead)
            case Retry() as retry:
                log.warning(
                    "message.retried",
                    queue=self.queue.name,
                    message=delivery.message_id,
                    type=delivery.type,
                    attempt=retry.attempt,
                    tier=retry.tier,
                    reason=reason_of(error),
                )
                await source.defer(delivery, retry)
                metrics.CONSUMED.labels(self.queue.name, "retry").inc()

    async def _bury(self, source: Source, delivery: Delivery, dead: Dead) -> None:
        log.error(
            "message.dead",
            queue=self.queue.name,
            message=delivery.message_id,
            type=delivery.type,
            reason=dead.reason,
        )
        await source.bury(delivery, dead)
        metrics.CONSUMED.labels(self.queue.name, "dead").inc()
