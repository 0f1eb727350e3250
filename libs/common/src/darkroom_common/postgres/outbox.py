"""The outbox: messages written in the transaction of the effect, published after the commit.

A schema that emits has the table `outbox (id, message_id, type, body, headers)`. The drainer holds
its rows locked while it publishes and deletes them when the broker has confirmed; a crash between
the two publishes again with the same message id, which every inbox knows.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from darkroom_common.errors import DependencyUnavailable, TransientError
from darkroom_common.messages.base import Message
from darkroom_common.messages.registry import decode
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry import metrics, traces
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
BATCH: Final = 500
POLL_SECONDS: Final = 1.0


class Publisher(Protocol):
    """Whoever can publish: the broker, or its twin in memory."""

    async def publish(self, message: Message, *, headers: dict[str, str] | None = None) -> None:
        """Publish and return when it is confirmed."""
        ...


@dataclass
class Outbox:
    """The outbox of one schema."""

    schema: str
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

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

    def wake(self) -> None:
        """Tell the drainer of this process that something was committed."""
        self._wake.set()

    async def run(self, database: Database, publisher: Publisher) -> None:
        """Publish what is there, for ever; cancel to stop."""
        delay = 0.5
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
            if published < BATCH:
                try:
                    async with asyncio.timeout(POLL_SECONDS):
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
                " ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
                BATCH,
            )
            if not rows:
                metrics.OUTBOX_PENDING.set(0)
                return 0
            metrics.OUTBOX_PENDING.set(len(rows))
            results = await asyncio.gather(
                *(
                    publisher.publish(
                        decode(row["type"], row["body"]), headers=json.loads(row["headers"])
                    )
                    for row in rows
                ),
                return_exceptions=True,
            )
            failed = [result for result in results if isinstance(result, BaseException)]
            done = [
                row["id"]
                for row, result in zip(rows, results, strict=True)
                if not isinstance(result, BaseException)
            ]
            await db.execute(
                f"DELETE FROM {self.schema}.outbox WHERE id = ANY($1::bigint[])",  # noqa: S608 - our own name
                done,
            )
        if failed:
            first = failed[0]
            if not isinstance(first, Exception):
                raise first
            raise DependencyUnavailable(f"outbox: {len(failed)} not published: {first}") from first
        return len(done)
