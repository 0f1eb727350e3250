"""A worklist that takes orders, on a database of its own."""

from dataclasses import dataclass
from typing import Any

import orjson

from darkroom_common.messages.base import Event
from darkroom_common.messages.procedure_steps import WorklistChanged
from darkroom_common.postgres.pool import Database
from darkroom_common.specs.worklist.entries import WorklistEntry
from darkroom_ingest.orders.orders import Orders
from darkroom_ingest.worklist.entries import Entries


@dataclass
class House:
    """A worklist that takes orders."""

    database: Database
    entries: Entries
    orders: Orders

    async def rows(self) -> list[Any]:
        async with self.database.acquire() as db:
            return await db.fetch("SELECT * FROM ingest.worklist ORDER BY scheduled_at, id")

    async def told(self, kind: type[Event] = WorklistChanged) -> list[dict[str, Any]]:
        async with self.database.acquire() as db:
            found = await db.fetch(
                "SELECT body FROM ingest.outbox WHERE type = $1 ORDER BY id", kind.TYPE
            )
        return [orjson.loads(row["body"]) for row in found]

    async def only(self) -> tuple[str, WorklistEntry]:
        (row,) = await self.rows()
        return row["state"], self.entries.opened(row)
