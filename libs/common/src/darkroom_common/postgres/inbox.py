"""The inbox: a message takes effect once, however often it is delivered.

The row is written in the transaction of the effect, so both are there or neither is. A schema
that consumes has the table `inbox (consumer text, message_id text, received_at timestamptz)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from darkroom_common.postgres.pool import Connection
from darkroom_common.postgres.statement import statement

_REMEMBER: Final = (
    "INSERT INTO {schema}.inbox (consumer, message_id)"
    " SELECT $1, id FROM unnest($2::text[]) AS given (id) ORDER BY id"
    " ON CONFLICT DO NOTHING RETURNING message_id"
)
_FORGET: Final = (
    "DELETE FROM {schema}.inbox WHERE consumer = $1 AND received_at < now() - $2::interval"
)


@dataclass(frozen=True)
class Inbox:
    """The inbox of one consumer in one schema."""

    schema: str
    consumer: str

    async def first_time(self, db: Connection, message_id: str) -> bool:
        """Return whether this message is new, and remember it."""
        return message_id in await self.first_times(db, [message_id])

    async def first_times(self, db: Connection, message_ids: Sequence[str]) -> set[str]:
        """Return which of these messages are new, and remember them."""
        rows = await db.fetch(
            statement(_REMEMBER, schema=self.schema), self.consumer, sorted(set(message_ids))
        )
        return {row["message_id"] for row in rows}

    async def forget(self, db: Connection, *, older_than: timedelta) -> None:
        """Drop rows that no redelivery can reach any more."""
        await db.execute(statement(_FORGET, schema=self.schema), self.consumer, older_than)
