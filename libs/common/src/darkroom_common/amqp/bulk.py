"""Many messages in one write, and their confirms counted instead of awaited one by one.

It works beside `basic_publish` on the same channel, under the same lock and the same books of
delivery tags, so that either sees the confirms of its own messages only.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, cast

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import PublishError
from pamqp.commands import Basic

from darkroom_common.amqp.broker import BrokerUnavailable, Unroutable
from darkroom_common.amqp.frames import Outgoing, encode

Outcome = BrokerUnavailable | Unroutable | None
_REFUSED: Final = "RabbitMQ: refused (queue full or not available)"


class _Waiting:
    """What came back for a batch. `settled` is done when everything has."""

    def __init__(self, count: int, settled: asyncio.Future[None]) -> None:
        self.outcomes: list[Outcome] = [None] * count
        self._left = count
        self._settled = settled

    def settle(self, index: int, outcome: Outcome) -> None:
        self.outcomes[index] = outcome
        self._left -= 1
        if not self._left and not self._settled.done():
            self._settled.set_result(None)


class _Confirmation:
    """What a channel sees of one message: the part of a future that it calls."""

    def __init__(self, waiting: _Waiting, index: int, outgoing: Outgoing) -> None:
        self._waiting = waiting
        self._index = index
        self._outgoing = outgoing
        self._done = False

    def done(self) -> bool:
        return self._done

    def cancelled(self) -> bool:
        return False

    def set_result(self, frame: object) -> None:
        refused = None if isinstance(frame, Basic.Ack) else BrokerUnavailable(_REFUSED)
        self._settle(refused)

    def set_exception(self, error: Exception) -> None:
        if isinstance(error, PublishError):
            outgoing = self._outgoing
            where = f"{outgoing.routing_key} from {outgoing.exchange}"
            self._settle(Unroutable(f"no queue takes {where}"))
        else:
            self._settle(BrokerUnavailable(_REFUSED))

    def _settle(self, outcome: Outcome) -> None:
        if not self._done:
            self._done = True
            self._waiting.settle(self._index, outcome)


async def publish_bulk(
    channel: Channel, messages: Sequence[Outgoing], *, app_id: str
) -> list[Outcome]:
    """Publish on a channel with confirms; return what became of each message, in their order.

    Args:
        channel: where unroutable messages raise.
        messages: with ids of which none is in flight on this channel.
        app_id: who publishes.

    Raises:
        Exception: the channel or its connection is lost: nothing is known of any of them. The
            same holds after a cancellation, and then the channel is to be dropped.
    """
    if not messages:
        return []
    frame_max = channel.connection.connection_tune.frame_max
    settled: asyncio.Future[None] = channel.create_future()  # rejected when the channel closes
    waiting = _Waiting(len(messages), settled)
    async with channel.lock:
        payload = b"".join(
            encode(m, channel=channel.number, app_id=app_id, frame_max=frame_max) for m in messages
        )
        for index, message in enumerate(messages):
            channel.delivery_tag += 1
            confirmation = cast("asyncio.Future[object]", _Confirmation(waiting, index, message))
            channel.confirmations[channel.delivery_tag] = confirmation
            channel.message_id_delivery_tag[message.message_id] = channel.delivery_tag
        await channel.write_queue.put(ChannelFrame(payload=payload, should_close=False))
    try:
        await settled
    finally:
        for message in messages:
            channel.message_id_delivery_tag.pop(message.message_id, None)
    return waiting.outcomes
