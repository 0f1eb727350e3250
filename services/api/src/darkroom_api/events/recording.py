"""Takes the messages of the services into the log of events, and has callbacks told of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from darkroom_api.callbacks.repository import Deliveries
from darkroom_api.events.catalogue import told
from darkroom_common.amqp.broker import Broker, Received
from darkroom_common.postgres.pool import Database
from darkroom_common.topology import API_EVENTS

_SIZE: Final = 100
_LINGER: Final = 0.05


@dataclass(frozen=True)
class Recording:
    """Keeps events and what is to be delivered of them in one transaction."""

    database: Database
    deliveries: Deliveries

    async def run(self, broker: Broker) -> None:
        """Take what the queue `api.events` holds, until cancelled."""
        await broker.consume_batches(API_EVENTS, self.take, size=_SIZE, linger=_LINGER)

    async def take(self, batch: Sequence[Received]) -> None:
        """Keep what some messages tell of: once, however often they come."""
        events = [one for each in batch for one in told(each.message, each.trace)]
        async with self.database.transaction() as db:
            await self.deliveries.tell(db, events)
