"""Gauges that the database and the broker are asked for: people, connections, every queue.

The api asks for all queues: what a stopped service does not take is seen all the same.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.amqp.broker import BrokerUnavailable
from darkroom_common.amqp.rabbitmq import RabbitBroker
from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.pool import Database, the_row
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import api as metrics
from darkroom_common.telemetry.metrics import common
from darkroom_common.topology import REQUEST_QUEUES, RETRY_TIERS, WORK_QUEUES, retry_exchange

log = get_logger(__name__)
EVERY_SECONDS: Final = 15.0
QUEUES: Final = (
    *(name for queue in WORK_QUEUES for name in (queue.name, queue.dead)),
    *(queue.name for queue in REQUEST_QUEUES),
    *(retry_exchange(tier) for tier in RETRY_TIERS),
)
_PEOPLE: Final = """
    SELECT count(*) AS sessions,
        count(DISTINCT user_id) FILTER (WHERE last_at > now() - interval '15 minutes') AS users
    FROM api.session WHERE revoked_at IS NULL AND expires_at > now()
"""
_DISABLED: Final = "SELECT count(*) FROM api.callback WHERE disabled_at IS NOT NULL"
_DATABASE: Final = """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
        current_setting('max_connections')::integer AS most,
        pg_database_size(current_database()) AS bytes
"""


@dataclass
class Measured:
    """What the broker has said last.

    Attributes:
        depths: messages by queue; None before it was asked.
        waiting: seconds since a queue was seen empty.
    """

    depths: dict[str, int] | None = None
    waiting: dict[str, float] = field(default_factory=dict)


@dataclass
class Measures:
    """Asks again and again.

    Attributes:
        database, broker: whom it asks.
        measured: what of it others show.
    """

    database: Database
    broker: RabbitBroker
    measured: Measured = field(default_factory=Measured)
    clock: Clock = SYSTEM_CLOCK
    _empty_at: dict[str, float] = field(default_factory=dict)

    async def run(self) -> None:
        """Set the gauges, for ever; cancel to stop."""
        while True:
            try:
                await self.ask_database()
                await self.ask_broker()
            except (DependencyUnavailable, BrokerUnavailable) as error:
                log.info("measures.wait", reason=str(error))
            await asyncio.sleep(EVERY_SECONDS)

    async def ask_database(self) -> None:
        """Ask for people, callbacks and connections.

        Raises:
            DependencyUnavailable: the database is away.
        """
        async with self.database.acquire() as db:
            people = the_row(await db.fetchrow(_PEOPLE))
            connections = the_row(await db.fetchrow(_DATABASE))
            metrics.CALLBACKS_DISABLED.set(await db.fetchval(_DISABLED))
        metrics.SESSIONS.set(people["sessions"])
        metrics.USERS_ACTIVE.set(people["users"])
        metrics.DATABASE_CONNECTIONS.set(connections["used"])
        metrics.DATABASE_CONNECTIONS_LIMIT.set(connections["most"])
        metrics.DATABASE_BYTES.set(connections["bytes"])

    async def ask_broker(self) -> None:
        """Ask for the depth of every queue; one that is not there has none.

        Raises:
            BrokerUnavailable: it is away.
        """
        depths = await self.broker.depths(QUEUES)
        now = self.clock.monotonic()
        for name in QUEUES:
            depth = depths.get(name, 0)
            if not depth:
                self._empty_at[name] = now
            common.QUEUE_DEPTH.labels(name).set(depth)
            waiting = now - self._empty_at.setdefault(name, now)
            metrics.QUEUE_WAITING.labels(name).set(waiting)
            self.measured.waiting[name] = waiting
        self.measured.depths = depths
