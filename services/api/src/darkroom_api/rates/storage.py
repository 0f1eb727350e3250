"""Counts that all replicas share: a storage of the library `limits` in PostgreSQL.

A take is one statement on one row, decided by the database's clock, whatever the clocks of the
replicas say. The table is not logged: no take waits for a disk, and a crash of PostgreSQL or a
failover begins all counts anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from limits.aio.storage import Storage
from limits.aio.storage.base import SlidingWindowCounterSupport

from darkroom_api.rates.window import Window
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.pool import Database, the_row

# Of a statement on its own `now()` is when it began. It may have waited for the row while a period
# ended for others: a row of a later period than its own is taken as it is.
_NUMBER: Final = "floor(extract(epoch FROM now())::float8 / $3::float8)"
_ELAPSED: Final = f"(extract(epoch FROM now())::float8 / $3::float8 - {_NUMBER})"
_TIME: Final = {"number": _NUMBER, "elapsed": _ELAPSED}
_COUNT: Final = """
    INSERT INTO api.rate_limit AS r (key, number, previous, current, taken, ends)
    SELECT key, {number}, 0, CASE WHEN taken THEN amount ELSE 0 END, taken,
        to_timestamp(({number} + 1) * $3::float8)
    FROM (
        SELECT key, amount, $5 OR amount <= $4 AS taken
        FROM unnest($1::text[], $2::bigint[]) AS one (key, amount) ORDER BY key
    ) AS one
    ON CONFLICT (key) DO UPDATE SET (number, previous, current, taken, ends) = (
        SELECT greatest(r.number, excluded.number), was.previous,
            was.current + CASE WHEN fits.taken THEN excluded.current ELSE 0 END,
            fits.taken, greatest(r.ends, excluded.ends)
        FROM (
            SELECT CASE WHEN r.number >= excluded.number THEN r.previous
                    WHEN r.number = excluded.number - 1 THEN r.current ELSE 0 END AS previous,
                CASE WHEN r.number >= excluded.number THEN r.current ELSE 0 END AS current
        ) AS was, LATERAL (
            SELECT excluded.taken AND ($5 OR was.current + excluded.current
                + floor(was.previous * (1 - {elapsed})) <= $4) AS taken
        ) AS fits
    )
    RETURNING key, taken, previous, current, {elapsed} AS elapsed
"""
"""$1 keys and $2 how many of each, $3 seconds of a period, $4 limit, $5 whether to count beyond it.

By the primary key; rows in the order of their keys, so that no two statements wait for each other.
"""
_LOOK: Final = """
    SELECT CASE WHEN number >= {number} THEN previous WHEN number = {number} - 1 THEN current
            ELSE 0 END AS previous,
        CASE WHEN number >= {number} THEN current ELSE 0 END AS current, {elapsed} AS elapsed
    FROM unnest($1::text[], $2::bigint[]) AS one (key, amount)
    LEFT JOIN api.rate_limit AS r ON r.key = one.key
"""
_CURRENT: Final = "SELECT current FROM api.rate_limit WHERE key = $1 AND ends > now()"
_ENDS: Final = "SELECT extract(epoch FROM ends)::float8 FROM api.rate_limit WHERE key = $1"
_NOW: Final = "SELECT extract(epoch FROM now())::float8"
_CLEAR: Final = "DELETE FROM api.rate_limit WHERE key = $1"
_RESET: Final = "WITH gone AS (DELETE FROM api.rate_limit RETURNING 1) SELECT count(*) FROM gone"
_FORGET_ENDED: Final = "DELETE FROM api.rate_limit WHERE ends < now() - interval '1 day'"
"""No period is longer than a day."""


@dataclass(frozen=True)
class Taken:
    """What became of a take.

    Attributes:
        fits: whether it was within the limit, and is counted.
        window: the count after it.
    """

    fits: bool
    window: Window


class PostgresStorage(Storage, SlidingWindowCounterSupport):
    """Counts in `api.rate_limit`. Periods begin at multiples of their length since 1970.

    Raises (all methods):
        DependencyUnavailable: the database is away.
    """

    STORAGE_SCHEME = None

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    async def take(self, key: str, limit: int, expiry: int, amount: int = 1) -> Taken:
        """Count `amount` if that is within the limit of a period of `expiry` seconds."""
        (taken,) = (await self._count({key: amount}, limit, expiry, beyond=False)).values()
        return taken

    async def add(self, amounts: Mapping[str, int], limit: int, expiry: int) -> dict[str, Taken]:
        """Count what has happened, also beyond the limit."""
        return await self._count(amounts, limit, expiry, beyond=True)

    async def _count(
        self, amounts: Mapping[str, int], limit: int, expiry: int, *, beyond: bool
    ) -> dict[str, Taken]:
        keys, many = list(amounts), list(amounts.values())
        async with self._database.acquire() as db:
            rows = await db.fetch(_COUNT.format(**_TIME), keys, many, expiry, limit, beyond)
        return {
            row["key"]: Taken(
                row["taken"], Window(limit, expiry, row["previous"], row["current"], row["elapsed"])
            )
            for row in rows
        }

    @property
    def base_exceptions(self) -> type[Exception]:
        """What says that the storage is away."""
        return DependencyUnavailable

    async def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        """Count if that is within the limit; tell whether it is."""
        return (await self.take(key, limit, expiry, amount)).fits

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return the last period's count and seconds that it has left to count, and this one's."""
        async with self._database.acquire() as db:
            row = the_row(await db.fetchrow(_LOOK.format(**_TIME), [key], [0], expiry))
        left = (1 - row["elapsed"]) * expiry
        return row["previous"], left, row["current"], left + expiry

    async def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002
        """Forget a count."""
        await self.clear(key)

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count, and return the count of this period."""
        (counted,) = (await self.add({key: amount}, 0, expiry)).values()
        return counted.window.current

    async def get(self, key: str) -> int:
        """Return the count of this period."""
        async with self._database.acquire() as db:
            return await db.fetchval(_CURRENT, key) or 0

    async def get_expiry(self, key: str) -> float:
        """Return when the period of a count ends, in seconds since 1970; now without a count."""
        async with self._database.acquire() as db:
            ends = await db.fetchval(_ENDS, key)
            return float(await db.fetchval(_NOW) if ends is None else ends)

    async def check(self) -> bool:
        """Tell whether the database answers."""
        try:
            async with self._database.acquire() as db:
                return bool(await db.fetchval(_NOW))
        except DependencyUnavailable:
            return False

    async def reset(self) -> int:
        """Forget all counts; return how many there were."""
        async with self._database.acquire() as db:
            return int(await db.fetchval(_RESET))

    async def clear(self, key: str) -> None:
        """Forget a count."""
        async with self._database.acquire() as db:
            await db.execute(_CLEAR, key)

    async def forget_ended(self) -> None:
        """Drop what does not count any more."""
        async with self._database.acquire() as db:
            await db.execute(_FORGET_ENDED)
