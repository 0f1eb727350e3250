"""Dead letters: taken from their queues into somebody's keeping, and put back to be worked on."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from darkroom_common.amqp.broker import BrokerUnavailable
from darkroom_common.amqp.connection import broker_errors, heed_cancellation
from darkroom_common.amqp.retry import DEAD_AT, REASON, TRACE_HEADERS, attempts_in
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.topology import DEAD_EXCHANGE, QUORUM_ARGUMENTS, WorkQueue

log = get_logger(__name__)
PREFETCH: Final = 50
HOLD_SECONDS: Final = 2.0


@dataclass(frozen=True)
class DeadLetter:
    """A message that was given up.

    Attributes:
        queue: the work queue that it died in, and goes back to.
        message_id: empty without.
        type: empty without.
        body: as it came.
        reason: why it was given up.
        attempts: that have failed before it was.
        died_at: as whoever gave it up says, RFC 3339; empty when the broker did.
        trace: W3C trace headers.
        came_before: whether the broker has delivered it before.
    """

    queue: str
    message_id: str
    type: str
    body: bytes
    reason: str
    attempts: int
    died_at: str
    trace: Mapping[str, str]
    came_before: bool = False

    @classmethod
    def of(cls, queue: str, message: AbstractIncomingMessage) -> "DeadLetter":
        """Return a delivery from the dead-letter queue of a work queue."""
        headers = message.headers
        return cls(
            queue=queue,
            message_id=message.message_id or "",
            type=message.type or "",
            body=message.body,
            reason=str(headers[REASON]) if REASON in headers else _by_broker(headers),
            attempts=attempts_in(headers),
            died_at=str(headers.get(DEAD_AT, "")),
            trace={name: str(headers[name]) for name in TRACE_HEADERS if name in headers},
            came_before=bool(message.redelivered),
        )


Keep = Callable[[Sequence[DeadLetter]], Awaitable[None]]


def _by_broker(headers: Mapping[str, Any]) -> str:
    deaths = headers.get("x-death")
    first = deaths[0] if isinstance(deaths, list) and deaths else {}
    word = first.get("reason") if isinstance(first, Mapping) else None
    return f"given up by RabbitMQ: {word}" if word else "given up by RabbitMQ"


async def collect_session(
    channel: AbstractChannel, queues: Sequence[WorkQueue], keep: Keep
) -> None:
    """Hand dead letters to `keep` until the channel is closed; each is removed once it returns.

    While what keeps them is away they are held, not given back: a broker counts what is given back,
    and drops a message after so many times.

    Raises:
        BrokerUnavailable: the channel was closed; what was not removed comes again.
    """
    came: asyncio.Queue[tuple[DeadLetter, AbstractIncomingMessage]] = asyncio.Queue()

    async def take(queue: str, message: AbstractIncomingMessage) -> None:
        came.put_nowait((DeadLetter.of(queue, message), message))

    with broker_errors():
        await channel.set_qos(prefetch_count=PREFETCH)
        for queue in queues:
            declared = await channel.declare_queue(
                queue.dead, durable=True, arguments=dict(QUORUM_ARGUMENTS)
            )
            await declared.bind(DEAD_EXCHANGE, routing_key=queue.dead)
            await declared.consume(_taker(take, queue.name), no_ack=False, timeout=10)
    heed_cancellation()
    closed = asyncio.Event()
    channel.close_callbacks.add(lambda *_: closed.set())
    ended = asyncio.create_task(closed.wait())
    try:
        while not channel.is_closed:
            first = asyncio.create_task(came.get())
            await asyncio.wait({first, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                first.cancel()
                break
            batch = [first.result(), *(came.get_nowait() for _ in range(came.qsize()))]
            await _kept(keep, [letter for letter, _ in batch])
            with broker_errors():
                for _, message in batch:
                    await message.ack()
    finally:
        ended.cancel()
    raise BrokerUnavailable("RabbitMQ: the channel was closed")


def _taker(
    take: Callable[[str, AbstractIncomingMessage], Awaitable[None]], queue: str
) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
    async def taken(message: AbstractIncomingMessage) -> None:
        await take(queue, message)

    return taken


async def _kept(keep: Keep, letters: Sequence[DeadLetter]) -> None:
    while True:
        try:
            await keep(letters)
        except DependencyUnavailable as error:
            log.warning("dead_letters.held", count=len(letters), reason=str(error))
            await asyncio.sleep(HOLD_SECONDS)
        else:
            return
