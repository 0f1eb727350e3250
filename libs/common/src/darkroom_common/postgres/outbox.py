"""The outbox: messages written in the transaction of the effect, published after the commit.

A schema that emits has the table `outbox (id, message_id, type, body, headers)`. The drainer holds
its rows locked while it publishes and deletes them when the broker has confirmed; a crash between
the two publishes again with the same message id, which every inbox knows.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from darkroom_common.errors import DependencyUnavailable, TransientError
from darkroom_common.lull import Lull
from darkroom_common.messages.base import Message
from darkroom_common.messages.registry import decode
from darkroom_common.postgres.pool import Connection, Database, after_commit
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics

log = get_logger(__name__)
BATCH: Final = 100
"""Rows; those that tell of many objects have a quarter of a megabyte."""


class Publisher(Protocol):
    """Whoever can publish: the broker, or its twin in memory."""

    async def publish_all(
        self, messages: Sequence[tuple[Message, Mapping[str, str]]]
    ) -> Sequence[TransientError | None]:
        """Publish and return, when all is settled, what kept each from being confirmed."""
        ...


@dataclass
class Outbox:
    """The outbox of one schema."""

    schema: str
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _after: int = 0  # rows up to here would not go out: those behind them are not kept waiting

    async def put(self, db: Connection, *messages: Message) -> None:
        """Add messages in the caller's transaction, with the trace of the caller."""
        await self.put_traced(db, [(message, traces.inject()) for message in messages])

    async def put_traced(
        self, db: Connection, messages: Sequence[tuple[Message, dict[str, str]]]
    ) -> None:
        """Add messages in the caller's transaction, each with its own trace headers."""
        if not messages:
            return
        await db.execute(
            f"INSERT INTO {self.schema}.outbox (message_id, type, body, headers)"  # noqa: S608 - our own name
            " SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[])",
            [message.id for message, _ in messages],
            [message.TYPE for message, _ in messages],
            [message.to_body() for message, _ in messages],
            [json.dumps(headers) for _, headers in messages],
        )
        after_commit(db, self.wake)

    def wake(self) -> None:
        """Tell the drainer of this process that something was committed."""
        self._wake.set()

    async def run(self, database: Database, publisher: Publisher) -> None:
        """Publish what is there, for ever; cancel to stop."""
        delay = 0.5
        lull = Lull()
        while True:
            self._wake.clear()
            try:
                published = await self.drain(database, publisher)
            except TransientError as error:
                log.warning("outbox.waits", schema=self.schema, reason=str(error))
                await asyncio.sleep(delay)
                delay = min(delay * 2, 15.0)
                continue
            delay = 0.5
            if published:
                lull.over()
            if published < BATCH:
                try:
                    async with asyncio.timeout(lull.pause()):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def drain(self, database: Database, publisher: Publisher) -> int:
        """Publish one batch and return how many went out.

        Raises:
            DependencyUnavailable: the database or the broker is away; nothing is lost.
        """
        async with database.transaction() as db:
            rows = await db.fetch(
                # primary key order; rows of other drainers are passed over
                f"SELECT id, type, body, headers FROM {self.schema}.outbox"  # noqa: S608 - our own name
                " WHERE id > $2 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
                BATCH,
                self._after,
            )
            self._after = 0
            if not rows:
                metrics.OUTBOX_PENDING.set(0)
                return 0
            metrics.OUTBOX_PENDING.set(len(rows))
            outcomes = await publisher.publish_all(
                [(decode(row["type"], row["body"]), json.loads(row["headers"])) for row in rows]
            )
            done = [row["id"] for row, failed in zip(rows, outcomes, strict=True) if failed is None]
            await db.execute(
                f"DELETE FROM {self.schema}.outbox WHERE id = ANY($1::bigint[])",  # noqa: S608 - our own name
                done,
            )
        failures = [failed for failed in outcomes if failed is not None]
        if failures:
            self._after = rows[-1]["id"] if len(rows) == BATCH else 0
            first = failures[0]
            raise DependencyUnavailable(
                f"outbox: {len(failures)} not published: {first}"
            ) from first
        return len(done)
