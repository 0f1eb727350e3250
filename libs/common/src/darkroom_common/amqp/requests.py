"""Request and reply by RabbitMQ's direct reply-to: no queue for replies is declared anywhere."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import PublishError
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from darkroom_common.amqp.broker import BrokerUnavailable, NoReply, RequestHandler, Unroutable
from darkroom_common.amqp.connection import (
    LOOK_SECONDS,
    Closing,
    Link,
    broker_errors,
    close_quietly,
    heed_cancellation,
)
from darkroom_common.amqp.publisher import declare_exchanges
from darkroom_common.amqp.retry import TRACE_HEADERS
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.messages.base import InvalidMessage, Reply, Request
from darkroom_common.messages.registry import decode
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics
from darkroom_common.topology import RequestQueue

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
REPLY_TO: Final = "amq.rabbitmq.reply-to"


async def answered(handler: RequestHandler, type_: str | None, body: bytes) -> Reply:
    """Return what a handler answers to a request as it came; its errors become replies."""
    try:
        message = decode(type_, body)
        if not isinstance(message, Request):
            return Reply(outcome="invalid", reason=f"{message.TYPE} is not a request")
        return await _in_time(handler, message)
    except InvalidMessage as error:
        return Reply(outcome="invalid", reason=str(error))
    except DependencyUnavailable as error:
        log.warning("request.unavailable", type=type_, reason=str(error))
        return Reply(outcome="unavailable", reason=str(error))
    except PermanentError as error:
        return Reply(outcome="invalid", reason=str(error))
    except Exception as error:
        log.exception("request.failed", type=type_, error=type(error).__name__)
        return Reply(outcome="failed", reason=type(error).__name__)


async def _in_time(handler: RequestHandler, message: Request) -> Reply:
    """Return the answer to a request, unless its deadline has passed or passes meanwhile."""
    left = message.seconds_left
    if left is None or left > 0:
        try:
            async with asyncio.timeout(left) as limit:
                return await handler(message)
        except TimeoutError:
            if not limit.expired():
                raise
    metrics.REQUESTS_LATE.labels(message.TYPE).inc()
    log.warning("request.late", type=message.TYPE, message=message.id, left=left)
    return Reply(outcome="unavailable", reason="not before its deadline: it was dropped")


class Requester:
    """Asks, and hands each reply to whoever waits for it."""

    def __init__(self, link: Link, *, app_id: str) -> None:
        self._link = link
        self._app_id = app_id
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        self._waiting: dict[str, asyncio.Future[bytes]] = {}

    async def request(self, message: Request, *, limit: float) -> Reply:
        """Ask; see `Broker.request`."""
        message = message.until(limit)
        with traces.span(tracer, f"{message.TYPE} request", kind=SpanKind.CLIENT):
            reply = asyncio.get_running_loop().create_future()
            self._waiting[message.id] = reply
            try:
                async with asyncio.timeout(limit):
                    await self._send(message, limit)
                    body = await reply
            except TimeoutError as error:
                raise NoReply(f"{message.TYPE}: no reply in {limit:g} s") from error
            finally:
                del self._waiting[message.id]
        try:
            return Reply.model_validate_json(body)
        except ValidationError as error:
            raise BrokerUnavailable(f"{message.TYPE}: an unreadable reply") from error

    async def _send(self, message: Request, limit: float) -> None:
        outgoing = aio_pika.Message(
            message.to_body(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.NOT_PERSISTENT,
            message_id=message.id,
            correlation_id=message.id,
            reply_to=REPLY_TO,
            expiration=timedelta(seconds=limit),
            type=message.TYPE,
            app_id=self._app_id,
            headers=dict(traces.inject()),
        )
        channel: AbstractChannel | None = None
        try:
            with broker_errors():
                channel = await self._open()
                exchange = await channel.get_exchange(message.EXCHANGE.value, ensure=False)
                try:
                    await exchange.publish(outgoing, message.TYPE, mandatory=True)
                except PublishError as error:
                    raise Unroutable(f"no queue takes {message.TYPE}") from error
        except (BrokerUnavailable, asyncio.CancelledError):
            # A reply comes to the channel that has asked: what waits on it waits in vain.
            await self._drop(channel)
            raise

    async def _open(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                channel = await self._link.channel()
                await declare_exchanges(channel)
                replies = await channel.get_queue(REPLY_TO, ensure=False)
                await replies.consume(self._take, no_ack=True, timeout=10)
                channel.close_callbacks.add(self._closed)
                self._channel = channel
            return self._channel

    async def _take(self, message: AbstractIncomingMessage) -> None:
        waiting = self._waiting.get(message.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(message.body)

    def _closed(self, *_: object) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(BrokerUnavailable("RabbitMQ: the channel was closed"))

    async def _drop(self, channel: AbstractChannel | None) -> None:
        if channel is None or channel is not self._channel:
            return
        self._channel = None
        await close_quietly(channel, seconds=1)


async def answer_session(
    channel: AbstractChannel,
    queue: RequestQueue,
    handler: RequestHandler,
    answering: Callable[[], None],
) -> None:
    """Answer requests on a channel until it is closed; `answering` is called when that begins.

    Raises:
        BrokerUnavailable: it was closed; what was in hand may be asked again.
    """

    async def on_message(message: AbstractIncomingMessage) -> None:
        carried: dict[str, str] = {
            k: str(message.headers[k]) for k in TRACE_HEADERS if k in message.headers
        }
        with (
            metrics.HANDLE_SECONDS.labels(queue.name).time(),
            traces.span(
                tracer, f"{queue.name} answer", kind=SpanKind.SERVER, parent=traces.extract(carried)
            ),
        ):
            reply = await answered(handler, message.type, message.body)
        try:
            with broker_errors():
                if message.reply_to:
                    await channel.default_exchange.publish(
                        aio_pika.Message(
                            reply.model_dump_json().encode(),
                            content_type="application/json",
                            correlation_id=message.correlation_id,
                        ),
                        message.reply_to,
                        mandatory=False,  # whoever asked may have gone
                    )
                await message.ack()
        except BrokerUnavailable as error:
            log.warning("reply.lost", queue=queue.name, reason=str(error))
            return
        metrics.CONSUMED.labels(queue.name, "done").inc()

    with broker_errors():
        await declare_exchanges(channel)
        declared = await channel.declare_queue(
            queue.name, durable=True, arguments=dict(queue.arguments)
        )
        for message in queue.binds:
            await declared.bind(message.EXCHANGE.value, routing_key=message.TYPE)
        await channel.set_qos(prefetch_count=queue.prefetch)
        await declared.consume(on_message, no_ack=False, timeout=10)
    heed_cancellation()
    answering()
    closing = Closing(channel)
    while not await closing.within(LOOK_SECONDS):
        pass
    raise BrokerUnavailable("RabbitMQ: the channel was closed")
