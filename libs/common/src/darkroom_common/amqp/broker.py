"""What services see of the broker. RabbitMQ and its twin in memory both are one."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from darkroom_common.errors import DependencyUnavailable, TransientError
from darkroom_common.messages.base import Message, Reply, Request
from darkroom_common.messages.batch import Batch
from darkroom_common.topology import RequestQueue, WorkQueue


class BrokerUnavailable(DependencyUnavailable):
    """The broker is away, blocks, or refused the message; whether it has it is not known."""


class Unroutable(TransientError):
    """No queue is bound for the message: its consumer has not declared it yet, or lost it."""


class NoReply(TransientError):
    """Nobody has answered a request in time; it may have been done, or be done yet."""


@dataclass(frozen=True)
class Received:
    """A message as a batch handler gets it."""

    message: Message
    trace: dict[str, str]
    """W3C trace headers of whoever published it."""
    attempt: int
    """How many attempts have failed before."""

    @property
    def traces(self) -> list[dict[str, str]]:
        """The distinct traces of what the message tells of."""
        of_items = self.message.traces if isinstance(self.message, Batch) else []
        return of_items or ([self.trace] if self.trace else [])


Handler = Callable[[Message], Awaitable[None]]
BatchHandler = Callable[[Sequence[Received]], Awaitable[None]]
RequestHandler = Callable[[Request], Awaitable[Reply]]


class Broker(Protocol):
    """Publish and consume."""

    async def publish(self, message: Message, *, headers: dict[str, str] | None = None) -> None:
        """Return when the broker has the message on disk.

        Args:
            message: its class names the exchange, its `TYPE` is the routing key.
            headers: trace headers; None takes the current span's.

        Raises:
            BrokerUnavailable: it may or may not have arrived; publish it again with the same id.
            Unroutable: nobody would have received it.
        """
        ...

    async def publish_all(
        self, messages: Sequence[tuple[Message, Mapping[str, str]]]
    ) -> list[BrokerUnavailable | Unroutable | None]:
        """Publish many, each with its trace headers; return what kept each from the broker's disk.

        None stands for a message that the broker has. No two may have the same id.
        """
        ...

    async def consume(self, queue: WorkQueue, handler: Handler, *, concurrency: int = 16) -> None:
        """Hand messages to `handler` one by one, `concurrency` at a time, until cancelled.

        What the handler raises decides: `PermanentError` dead-letters, `DependencyUnavailable`
        holds the message and pauses, anything else retries in the queue's tiers, then
        dead-letters. Cancelling leaves messages with the broker.
        """
        ...

    async def consume_batches(
        self, queue: WorkQueue, handler: BatchHandler, *, size: int, linger: float
    ) -> None:
        """Hand up to `size` messages at once, waiting `linger` seconds for more, until cancelled.

        A batch that fails is handed out again one by one, so that a bad message fails alone.
        """
        ...

    async def request(self, message: Request, *, limit: float) -> Reply:
        """Ask the service that owns the work, and return its answer.

        Args:
            message: what is asked.
            limit: seconds for all of it; a request that has waited so long is not done any more.

        Raises:
            NoReply: no answer in time.
            BrokerUnavailable: the broker is away; the request may have been done.
            Unroutable: the service has never run.
        """
        ...

    async def answer(
        self, queue: RequestQueue, handler: RequestHandler, *, concurrency: int = 8
    ) -> None:
        """Answer requests with what `handler` returns, `concurrency` at a time, until cancelled.

        What it raises becomes a reply: `DependencyUnavailable` is `unavailable`, `PermanentError`
        is `invalid` with its text, anything else is logged and `failed`.
        """
        ...

    async def check(self) -> None:
        """Raise `Unhealthy` when nothing could be published now."""
        ...
