"""Virtual hosts that are kept for a test that begins with the same services: most of what such a
test costs RabbitMQ is to make and to remove a dozen quorum queues.

One is kept as long as it is as the services have declared it: no queue but theirs, in
none of them a message, and nobody who takes from them. Else it is removed, as any other is.
"""

import asyncio
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import aio_pika
from aio_pika.exceptions import AMQPError

from darkroom_common.topology import RETRY_TIERS, render_policies, retry_exchange
from tests.support.management import Management
from tests.support.waiting import POLL, lasting

WAITING: Final = frozenset(map(retry_exchange, RETRY_TIERS))
_OF_A_CONNECTION: Final = "amq."
_GONE_SECONDS: Final = 2.0
"""In which the queues of those who were killed have gone, and what they had taken is back."""


def _is_of(queue: str, services: tuple[str, ...]) -> bool:
    """Say whether services declare a queue; the api does so with all that hold dead letters."""
    return queue in WAITING or queue.startswith(services) or queue.endswith(".dead")


class Server(Protocol):
    """A RabbitMQ with its management interface."""

    def management(self) -> Management:
        """Return a client, to be used in a `with` block."""
        ...

    def url(self, vhost: str) -> str:
        """Return the connection URL of a virtual host."""
        ...


@dataclass
class Vhosts:
    """Those of one process of a run."""

    server: Server
    _kept: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    @contextmanager
    def of(self, services: tuple[str, ...]) -> Iterator[str]:
        """Hold the URL of a virtual host that has the queues of services, or none yet.

        Args:
            services: what the names of their queues begin with, such as `api.`.
        """
        kept = self._kept.setdefault(services, [])
        name = kept.pop() if kept else self._make()
        yield self.server.url(name)
        if self._is_as_declared(name, services):
            kept.append(name)
        else:
            self._remove(name)

    @contextmanager
    def new(self) -> Iterator[str]:
        """Hold the URL of a virtual host that nobody has used, and nobody will."""
        name = self._make()
        yield self.server.url(name)
        self._remove(name)

    def close(self) -> None:
        """Remove those that are kept."""
        for names in self._kept.values():
            while names:
                self._remove(names.pop())

    def _make(self) -> str:
        name = f"test-{uuid.uuid4().hex[:16]}"
        with self.server.management() as management:
            management.create_vhost(name, render_policies(name))
        return name

    def _remove(self, name: str) -> None:
        with self.server.management() as management:
            management.delete_vhost(name)

    def _is_as_declared(self, name: str, services: tuple[str, ...]) -> bool:
        with ThreadPoolExecutor(1) as pool:  # whether or not this thread has a loop
            return pool.submit(asyncio.run, self._settles(name, services)).result()

    async def _settles(self, name: str, services: tuple[str, ...]) -> bool:
        deadline = time.monotonic() + _GONE_SECONDS
        with self.server.management() as management:
            while (found := await self._looked_at(name, services, management)) is None:
                if time.monotonic() > deadline:
                    return False
                await lasting(POLL)
        return found

    async def _looked_at(
        self, name: str, services: tuple[str, ...], management: Management
    ) -> bool | None:
        """Say whether it is as declared; None: those who were killed are not all gone yet."""
        queues = management.names_of_queues(name)
        others = {one for one in queues if not _is_of(one, services)}
        if others:
            return None if all(one.startswith(_OF_A_CONNECTION) for one in others) else False
        try:
            async with await aio_pika.connect(self.server.url(name)) as connection:
                channel = await connection.channel()
                for queue in queues:
                    told = (await channel.declare_queue(queue, passive=True)).declaration_result
                    if told.consumer_count:
                        return None
                    if told.message_count:
                        return False
        except AMQPError:  # one has gone meanwhile
            return None
        return True
