"""What replication has still to send, as rows; written by triggers and by the comparison here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import asyncpg
import orjson

from darkroom_common.postgres.pool import Connection

_LOCK: Final = 0x7265706C  # "repl"
_SITE: Final = (
    "INSERT INTO index.replication_site (name, is_on) VALUES ($1, true)"
    " ON CONFLICT (here) DO UPDATE SET is_on = true, name = excluded.name"
    " RETURNING sent, name"
)
_OFF: Final = "UPDATE index.replication_site SET is_on = false WHERE is_on"
_NEXT: Final = (  # replication_due_pkey
    "SELECT id, kind, study_instance_uid, subject, size, body::text AS body, created_at"
    " FROM index.replication_due WHERE next_at <= clock_timestamp() ORDER BY id LIMIT $1"
)
_DONE: Final = "DELETE FROM index.replication_due WHERE id = ANY($1::bigint[])"
_LATER: Final = (
    "UPDATE index.replication_due SET next_at = clock_timestamp() + $2::interval, reason = $3"
    " WHERE id = $1"
)
_HAS: Final = (
    "INSERT INTO index.replicated (object_key, sha256, size)"
    " SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[])"
    " ON CONFLICT (object_key) DO UPDATE SET sha256 = excluded.sha256, size = excluded.size,"
    " verified_at = clock_timestamp()"
)
_SENT: Final = "UPDATE index.replication_site SET sent = $1"
_LAG: Final = (
    "SELECT count(*) AS objects, coalesce(sum(size), 0)::bigint AS bytes, coalesce(extract("
    " epoch FROM clock_timestamp() - min(created_at)), 0)::double precision AS seconds"
    " FROM index.replication_due"
)
_SWEPT: Final = (
    "SELECT swept, swept_at IS NULL OR swept_at < clock_timestamp() - $1::interval OR swept <> ''"
    " AS is_time FROM index.replication_site"
)
_SET_SWEPT: Final = (
    "UPDATE index.replication_site SET swept = $1,"
    " swept_at = CASE WHEN $1 = '' THEN clock_timestamp() ELSE swept_at END"
)
_LACKING: Final = (
    " WHERE NOT EXISTS (SELECT FROM index.replicated r WHERE r.object_key = p.object_key)"
    " AND NOT EXISTS (SELECT FROM index.replication_taken t WHERE t.object_key = p.object_key)"
    " AND NOT EXISTS (SELECT FROM index.replication_due d WHERE d.subject = p.object_key)"
)
_INSTANCES: Final = (  # instance_pkey
    "WITH page AS (SELECT i.id, i.series_id, i.object_key, i.size FROM index.instance i"
    "  WHERE i.id > $1 ORDER BY i.id LIMIT $2), lacking AS ("
    " INSERT INTO index.replication_due (kind, study_instance_uid, subject, size)"
    " SELECT 'object', s.study_instance_uid, p.object_key, p.size FROM page p"
    "  JOIN index.series e ON e.id = p.series_id JOIN index.study s ON s.id = e.study_id"
)
_CONFLICTS: Final = (  # conflict_pkey
    "WITH page AS (SELECT c.id, c.kind, c.study_instance_uid, c.object_key, c.size"
    "  FROM index.conflict c WHERE c.id > $1 AND c.removed_at IS NULL"
    "  AND c.kind IN ('instance', 'correction') ORDER BY c.id LIMIT $2), lacking AS ("
    " INSERT INTO index.replication_due (kind, study_instance_uid, subject, size)"
    " SELECT CASE WHEN p.kind = 'instance' THEN 'object' ELSE 'copy' END,"
    "  p.study_instance_uid, p.object_key, p.size FROM page p"
)
_END: Final = " ORDER BY p.id) SELECT max(id) FROM page"
_SWEEP: Final = {
    "instance": f"{_INSTANCES}{_LACKING}{_END}",
    "conflict": f"{_CONFLICTS}{_LACKING}{_END}",
}
_SWEPT_AT_ONCE: Final = 1000


@dataclass(frozen=True)
class Due:
    """One row: an object to copy or to remove, or a change to tell."""

    id: int
    kind: str
    study: str | None
    subject: str
    size: int
    body: dict[str, Any]
    at: str

    @classmethod
    def of(cls, row: asyncpg.Record) -> "Due":
        """Read a row."""
        return cls(
            row["id"],
            row["kind"],
            row["study_instance_uid"],
            row["subject"],
            row["size"],
            orjson.loads(row["body"]),
            row["created_at"].isoformat(),
        )


@dataclass(frozen=True)
class Lag:
    """What is not sent yet."""

    objects: int
    bytes: int
    seconds: float


async def lock(db: Connection) -> bool:
    """Take the lock of whoever sends, for the session, unless another one has it."""
    taken: bool = await db.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK)
    return taken


async def switch_on(db: Connection, site: str) -> int:
    """Have every change kept from now on; return the last number that was told."""
    row = await db.fetchrow(_SITE, site)
    sent: int = row["sent"] if row else 0
    return sent


async def switch_off(db: Connection) -> None:
    """Have no changes kept any more: nobody sends them."""
    await db.execute(_OFF)


async def next_due(db: Connection, limit: int) -> list[Due]:
    """Return what has waited longest."""
    return [Due.of(row) for row in await db.fetch(_NEXT, limit)]


async def done(db: Connection, ids: Sequence[int]) -> None:
    """Forget rows that are sent."""
    await db.execute(_DONE, list(ids))


async def later(db: Connection, one: int, wait: timedelta, reason: str) -> None:
    """Try a row again after a while; the others do not wait for it."""
    await db.execute(_LATER, one, wait, reason)


async def has(db: Connection, copied: Sequence[tuple[str, bytes, int]]) -> None:
    """Keep that the second store has objects: key, SHA-256 and size of each."""
    if copied:
        keys, digests, sizes = zip(*copied, strict=True)
        await db.execute(_HAS, list(keys), list(digests), list(sizes))


async def set_sent(db: Connection, number: int) -> None:
    """Keep the last number that was told."""
    await db.execute(_SENT, number)


async def lag(db: Connection) -> Lag:
    """Return what is not sent yet."""
    row = await db.fetchrow(_LAG)
    return Lag(row["objects"], row["bytes"], row["seconds"]) if row else Lag(0, 0, 0.0)


async def sweep(db: Connection, every: timedelta) -> bool:
    """Compare some rows with what is replicated, and add what is lacking.

    It finds what was there before replication was switched on, and whatever else was missed.

    Returns:
        whether there is more to compare now.
    """
    row = await db.fetchrow(_SWEPT, every)
    if row is None or not row["is_time"]:
        return False
    table, _, last = row["swept"].partition(":")
    table = table or "instance"
    async with db.transaction():
        end = await db.fetchval(_SWEEP[table], int(last or 0), _SWEPT_AT_ONCE)
        behind = "conflict:0" if table == "instance" else ""
        place = behind if end is None else f"{table}:{end}"
        await db.execute(_SET_SWEPT, place)
    return bool(place)
