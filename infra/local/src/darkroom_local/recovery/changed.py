"""The objects that came since one looked last, by the rows that name them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

_BATCH: Final = 500
_OVERLAP: Final = 5000
"""Rows that are looked at again: a transaction may commit after one that has higher numbers."""
_SINCE: Final[dict[str, str]] = {
    "instance": "SELECT id, object_key FROM index.instance WHERE id > $1 ORDER BY id LIMIT $2",
    # A correction keeps the row as it was here, and puts another object into the instance's.
    "conflict": (
        "SELECT c.id, unnest(ARRAY[c.object_key, i.object_key]) AS object_key"
        " FROM index.conflict c LEFT JOIN index.instance i ON i.id = c.instance_id"
        " WHERE c.id > $1 AND c.removed_at IS NULL ORDER BY c.id LIMIT $2"
    ),
}


@dataclass
class Changed:
    """What was looked at.

    Attributes:
        seen: the highest number of each table.
    """

    seen: dict[str, int] = field(default_factory=dict)
    _lately: set[str] = field(default_factory=set)

    async def batches(self, db: Any) -> AsyncIterator[list[str]]:
        """Yield the keys of objects that rows name and that were not yielded lately.

        Raises:
            asyncpg.PostgresError, OSError: the database is away.
        """
        lately: set[str] = set()
        for table, sql in _SINCE.items():
            last = max(0, self.seen.get(table, 0) - _OVERLAP)
            while rows := await db.fetch(sql, last, 2 * _BATCH):
                new = _keys(rows, self._lately)
                if new:
                    yield new
                last = rows[-1]["id"]
                lately.update(_keys(rows[-2 * _OVERLAP :], set()))
                self.seen[table] = max(last, self.seen.get(table, 0))
        self._lately = lately


def _keys(rows: Sequence[asyncpg.Record], known: set[str]) -> list[str]:
    named = dict.fromkeys(row["object_key"] for row in rows if row["object_key"] is not None)
    return [key for key in named if key not in known]
