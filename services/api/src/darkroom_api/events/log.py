"""The log of events in PostgreSQL: written once each, numbered in the order of commits, bounded.

Whoever adds events holds a lock from before their numbers are given until they can be read: who has
read up to a number has missed none below it. What is removed is remembered by its highest number,
so that nobody takes a gap for silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from darkroom_api.events.catalogue import Told
from darkroom_common.postgres.pool import Connection

MOST: Final = 500_000
"""Events that are kept, but for those that are still to be delivered."""
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtext('darkroom.events'))"
_ADD: Final = (
    "INSERT INTO api.event (id, type, at, data, traceparent, callback_id)"
    " SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[],"
    "  $6::text[])"
    " ON CONFLICT (id) DO NOTHING"
    " RETURNING number, id, type, traceparent, callback_id"
)
_REMOVE: Final = (  # event_recorded, event_pkey, callback_delivery_event
    "WITH gone AS (DELETE FROM api.event WHERE number IN ("
    "   SELECT number FROM api.event e"
    "   WHERE (recorded_at < now() - $1::interval"
    "    OR number <= (SELECT max(number) FROM api.event) - $3)"
    "   AND NOT EXISTS (SELECT FROM api.callback_delivery d WHERE d.event = e.number"
    "    AND d.state IN ('PENDING', 'DELIVERING', 'RETRYING'))"
    "   ORDER BY number LIMIT $2)"
    "  RETURNING number),"
    " undelivered AS (DELETE FROM api.callback_delivery WHERE event IN (SELECT number FROM gone)),"
    " told AS (UPDATE api.event_log"
    "  SET removed_to = greatest(removed_to, (SELECT max(number) FROM gone))"
    "  WHERE EXISTS (SELECT FROM gone))"
    " SELECT count(*) FROM gone"
)
_AT_ONCE: Final = 1000
PAGE: Final = 200
"""Events that are read at once."""
_NEXT: Final = (  # event_pkey; the log's own row tells what is not there any more
    "SELECT number, id, type, at, data FROM api.event WHERE number > $1 AND callback_id = ''"
    " ORDER BY number LIMIT $2"
)
_ENDS: Final = (
    "SELECT removed_to, greatest(removed_to, (SELECT max(number) FROM api.event)) AS newest"
    " FROM api.event_log"
)


@dataclass(frozen=True)
class Entry:
    """An event of the log. `at` is RFC 3339, `data` JSON."""

    number: int
    id: str
    type: str
    at: str
    data: str


@dataclass(frozen=True)
class Ends:
    """Of the log: the highest number that was removed, and the highest that there is."""

    removed_to: int
    newest: int


async def alone(db: Connection) -> None:
    """Let nobody else add events until the transaction has ended.

    It goes before every lock of a callback's row.
    """
    await db.execute(_ONE_AT_A_TIME)


async def add(db: Connection, events: Sequence[Told]) -> list[Any]:
    """Keep events that are not there yet; return their rows.

    Args:
        db: within a transaction, which has called `alone`.
        events: in their order.
    """
    return await db.fetch(
        _ADD,
        [one.id for one in events],
        [one.type for one in events],
        [one.at for one in events],
        [one.data for one in events],
        [one.traceparent for one in events],
        [one.callback_id for one in events],
    )


async def remove(db: Connection, older_than: timedelta) -> int:
    """Remove some of what is too old or too much, with its deliveries; return how many events.

    What is still to be delivered stays.
    """
    await alone(db)
    gone: int = await db.fetchval(_REMOVE, older_than, _AT_ONCE, MOST)
    return gone


async def ends(db: Connection) -> Ends:
    """Return where the log begins and ends."""
    row = await db.fetchrow(_ENDS)
    return Ends(0, 0) if row is None else Ends(row["removed_to"], row["newest"])


async def page(db: Connection, number: int) -> list[Entry]:
    """Return the events after a number that are for all, at most `PAGE` of them."""
    rows = await db.fetch(_NEXT, number, PAGE)
    return [
        Entry(
            row["number"],
            row["id"],
            row["type"],
            row["at"].isoformat().replace("+00:00", "Z"),
            row["data"],
        )
        for row in rows
    ]
