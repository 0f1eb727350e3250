"""Publish and know that the broker has it: confirms, mandatory, a time limit on the whole."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError, PublishError
from aiormq.channel import Channel
from pamqp.commands import Basic

from darkroom_common.amqp.broker import BrokerUnavailable, Unroutable
from darkroom_common.amqp.bulk import Outcome, publish_bulk
from darkroom_common.amqp.connection import Link, broker_errors, close_quietly
from darkroom_common.amqp.frames import Outgoing
from darkroom_common.clock import monotonic
from darkroom_common.messages.base import Message
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.metrics import common as metrics
from darkroom_common.topology import BOUND, EXCHANGES

PUBLISH_LIMIT: Final = 10.0  # seconds, from the call to the confirm


class Publisher:
    """Publishes on one channel, many in flight at once: confirms are shared.

    On a time-out the channel is dropped, because its confirms can no longer be matched.
    """

    def __init__(self, link: Link, *, app_id: str, limit: float = PUBLISH_LIMIT) -> None:
        self._link = link
        self._app_id = app_id
        self._limit = limit
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()

    async def publish(self, message: Message, *, headers: dict[str, str] | None = None) -> None:
        """Publish a typed message; see `Broker.publish`."""
        began = monotonic()
        carried: dict[str, Any] = dict(traces.inject() if headers is None else headers)
        properties = aio_pika.Message(
            message.to_body(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=message.id,
            type=message.TYPE,
            timestamp=message.occurred_at,
            app_id=self._app_id,
            headers=carried,
        )
        try:
            await self.send(
                properties,
                exchange=message.EXCHANGE.value,
                routing_key=message.TYPE,
                mandatory=message.TYPE in BOUND,
            )
        except (BrokerUnavailable, Unroutable) as error:
            metrics.PUBLISH_FAILED.labels(message.TYPE, type(error).__name__).inc()
            raise
        metrics.PUBLISHED.labels(message.TYPE).inc()
        metrics.PUBLISH_SECONDS.labels(message.TYPE).observe(monotonic() - began)

    async def publish_all(
        self, messages: Sequence[tuple[Message, Mapping[str, str]]]
    ) -> list[Outcome]:
        """Publish many in one write; see `Broker.publish_all`."""
        began = monotonic()
        outgoing = [
            Outgoing(
                message_id=message.id,
                type=message.TYPE,
                exchange=message.EXCHANGE.value,
                routing_key=message.TYPE,
                mandatory=message.TYPE in BOUND,
                timestamp=int(message.occurred_at.timestamp()),
                headers=headers,
                body=message.to_body(),
            )
            for message, headers in messages
        ]
        try:
            outcomes = await self._bulk(outgoing)
        except BrokerUnavailable as error:
            outcomes = [error] * len(outgoing)
        took = monotonic() - began
        for one, outcome in zip(outgoing, outcomes, strict=True):
            if outcome is None:
                metrics.PUBLISHED.labels(one.type).inc()
                metrics.PUBLISH_SECONDS.labels(one.type).observe(took)
            else:
                metrics.PUBLISH_FAILED.labels(one.type, type(outcome).__name__).inc()
        return outcomes

    async def _bulk(self, outgoing: Sequence[Outgoing]) -> list[Outcome]:
        channel: AbstractChannel | None = None
        try:
            with broker_errors():
                async with asyncio.timeout(self._limit):
                    channel = await self._open()
                    underlay = await channel.get_underlay_channel()
                    if not isinstance(underlay, Channel):
                        raise TypeError(type(underlay).__name__)
                    return await publish_bulk(underlay, outgoing, app_id=self._app_id)
        except (BrokerUnavailable, asyncio.CancelledError):
            await self._drop(channel)  # what is in flight can no longer be told apart
            raise

    async def send(
        self, message: aio_pika.Message, *, exchange: str, routing_key: str, mandatory: bool = True
    ) -> None:
        """Publish a message as it is.

        Raises:
            BrokerUnavailable: no confirm within the limit, or the broker refused it.
            Unroutable: no queue took it.
        """
        channel: AbstractChannel | None = None
        try:
            with broker_errors():
                async with asyncio.timeout(self._limit):
                    channel = await self._open()
                    result = await self._confirmed(
                        channel, message, exchange, routing_key, mandatory=mandatory
                    )
        except BrokerUnavailable:
            await self._drop(channel)
            raise
        if not isinstance(result, Basic.Ack):
            raise BrokerUnavailable("RabbitMQ: refused (queue full or not available)")

    @staticmethod
    async def _confirmed(
        channel: AbstractChannel,
        message: aio_pika.Message,
        exchange: str,
        routing_key: str,
        *,
        mandatory: bool,
    ) -> object:
        target = await channel.get_exchange(exchange, ensure=False)
        try:
            return await target.publish(message, routing_key, mandatory=mandatory)
        except PublishError as error:
            raise Unroutable(f"no queue takes {routing_key} from {exchange}") from error
        except DeliveryError as error:  # the channel is well: others in flight go on
            return error.frame

    async def _open(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                channel = await self._link.channel()
                await declare_exchanges(channel)
                self._channel = channel
            return self._channel

    async def _drop(self, channel: AbstractChannel | None) -> None:
        if channel is None or channel is not self._channel:
            return
        self._channel = None
        await close_quietly(channel, seconds=1)


async def declare_exchanges(channel: AbstractChannel) -> None:
    """Declare every exchange: whoever publishes first must find them."""
    for name, kind in EXCHANGES.items():
        await channel.declare_exchange(name, aio_pika.ExchangeType(kind), durable=True)


def copy_for(
    body: bytes,
    *,
    message_id: str | None,
    message_type: str | None,
    headers: dict[str, Any],
    expiration: timedelta | None = None,
) -> aio_pika.Message:
    """Return a delivery as a message to publish again."""
    return aio_pika.Message(
        body,
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=message_id,
        type=message_type,
        headers=headers,
        expiration=expiration,
    )
