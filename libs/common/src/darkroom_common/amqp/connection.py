"""One connection to RabbitMQ, opened when it is needed and again when it was lost.

aio-pika's robust connection is not used: it may leave a consumer silently gone. A lost connection
ends the sessions on it, and whoever runs a session starts another one.
"""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError

from darkroom_common.amqp.address import BrokerTls
from darkroom_common.amqp.broker import BrokerUnavailable
from darkroom_common.dimse.tls import BadCertificate
from darkroom_common.errors import DarkroomError
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics

log = get_logger(__name__)
CONNECT_LIMIT: Final = 10.0  # seconds
LOOK_SECONDS: Final = 5.0
"""Between two looks whether a channel is closed, should nothing have said so."""
AWAY: Final = (AMQPError, ConnectionError, OSError, TimeoutError, RuntimeError)
"""What aio-pika and aiormq raise when a connection or channel is not usable."""


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn what aio-pika raises into `BrokerUnavailable`.

    When a connection breaks, aiormq may cancel the calls that wait on it: a cancellation that
    nobody has asked this task for is a lost connection, not the end of the task. Its callers may
    also see whatever its inner state raises at that moment; the kinds are not documented.
    """
    try:
        yield
    except DarkroomError:
        raise
    except AWAY as error:
        raise BrokerUnavailable(f"RabbitMQ: {type(error).__name__}") from error
    except Exception as error:
        log.warning("broker.unexpected", error=type(error).__name__, exc_info=True)
        raise BrokerUnavailable(f"RabbitMQ: {type(error).__name__}") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerUnavailable("RabbitMQ: connection lost") from error


def heed_cancellation() -> None:
    """Raise the cancellation of this task that a call to the broker may have forgotten.

    `asyncio.wait_for` of Python 3.11, by which aiormq waits, forgets one that comes at the moment
    of the answer. Who goes on to wait for ever would never end: nobody cancels twice.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class Closing:
    """Whether a channel has been closed, by whatever side; make one for its whole life."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self._told = asyncio.Event()
        channel.close_callbacks.add(lambda *_: self._told.set())

    async def within(self, seconds: float) -> bool:
        """Wait so long at most; return whether it is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told.wait()
        return self._told.is_set() or self._channel.is_closed


async def close_quietly(closable: AbstractConnection | AbstractChannel, *, seconds: float) -> None:
    """Close what may be gone already, which is as good."""
    with suppress(BrokerUnavailable), broker_errors():
        async with asyncio.timeout(seconds):
            await closable.close()


class Link:
    """A connection for one purpose: an alarm blocks publishing, so consuming has its own."""

    def __init__(self, url: str, *, service: str, purpose: str) -> None:
        self._url = url
        self._tls = BrokerTls(url)
        self._name = f"darkroom-{service}-{purpose}"
        self._purpose = purpose
        self._connection: AbstractConnection | None = None
        self._opening = asyncio.Lock()

    async def connection(self) -> AbstractConnection:
        """Return the open connection.

        Raises:
            BrokerUnavailable: it cannot be opened now.
        """
        async with self._opening:
            # `is_closed` knows only of closing from this side; `connected` of the other, too.
            if self._connection is None or not self._connection.connected.is_set():
                metrics.BROKER_CONNECTED.labels(self._purpose).set(0)
                self._connection = None
                context = self._context()
                with broker_errors():
                    async with asyncio.timeout(CONNECT_LIMIT):
                        self._connection = await aio_pika.connect(
                            self._url,
                            ssl_context=context,
                            client_properties={"connection_name": self._name},
                            heartbeat=20,
                        )
                metrics.BROKER_CONNECTED.labels(self._purpose).set(1)
            return self._connection

    def _context(self) -> ssl.SSLContext | None:
        try:
            return self._tls.context()
        except BadCertificate as error:
            raise BrokerUnavailable(f"RabbitMQ: {error}") from error

    async def channel(self) -> AbstractChannel:
        """Return a new channel with confirms, on which an unroutable message is an error.

        Raises:
            BrokerUnavailable: it cannot be opened now.
        """
        connection = await self.connection()
        try:
            with broker_errors():
                return await self._open_channel(connection)
        except BrokerUnavailable:
            # A connection that the broker has closed may go on saying that it is open.
            await self._drop(connection)
            raise

    @staticmethod
    async def _open_channel(connection: AbstractConnection) -> AbstractChannel:
        async with asyncio.timeout(CONNECT_LIMIT):
            channel = connection.channel(publisher_confirms=True, on_return_raises=True)
            await channel.initialize()
        return channel

    async def close(self) -> None:
        """Close; what is unsettled goes back to the broker."""
        if self._connection is not None:
            await self._drop(self._connection)

    async def _drop(self, connection: AbstractConnection) -> None:
        if connection is self._connection:
            self._connection = None
            metrics.BROKER_CONNECTED.labels(self._purpose).set(0)
        if not connection.is_closed:
            await close_quietly(connection, seconds=3)
