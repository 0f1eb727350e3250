"""What another site has told and is not done here yet, as rows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from darkroom_common.postgres.pool import Connection
from darkroom_common.seal import Seal

TOLD: Final = "replication told"
"""Purpose of what is sealed."""
_LOCK: Final = 0x74616B65  # "take"
_TAKEN: Final = (
    "INSERT INTO index.replication_peer (name) VALUES ($1)"
    " ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING taken"
)
_SET_TAKEN: Final = (
    "UPDATE index.replication_peer SET taken = $2, at = clock_timestamp() WHERE name = $1"
)
_REASON: Final = (
    "UPDATE index.replication_peer SET reason = $2, at = clock_timestamp() WHERE name = $1"
)
_HEARD: Final = "UPDATE index.replication_site SET heard = $1 WHERE heard < $1"
_ADD: Final = (
    "INSERT INTO index.replication_told (site, number, part, kind, study_instance_uid, at, sealed)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
)
# replication_told_study: an object waits for changes of its study, a change for all of it, and all
# of them for what was done to all studies of a patient. One pass over what is open, in its order.
_READY: Final = (
    "WITH open AS (SELECT t.site, t.number, t.part, t.kind, t.study_instance_uid AS uid,"
    "  t.state = 'waiting' AND t.next_at <= clock_timestamp() AS is_due,"
    "  row_number() OVER every AS place, row_number() OVER study AS turn,"
    "  count(*) FILTER (WHERE t.kind <> 'object') OVER study AS changes,"
    "  count(*) FILTER (WHERE t.study_instance_uid IS NULL) OVER every AS patients"
    "  FROM index.replication_told t WHERE t.state IN ('waiting', 'working') WINDOW"
    "  every AS (PARTITION BY t.site ORDER BY t.number, t.part),"
    "  study AS (PARTITION BY t.site, t.study_instance_uid ORDER BY t.number, t.part))"
    " SELECT t.site, t.number, t.part, t.kind, t.study_instance_uid, t.at, t.sealed, t.job,"
    " t.reason FROM open o JOIN index.replication_told t USING (site, number, part)"
    " WHERE o.is_due AND CASE WHEN o.uid IS NULL THEN o.place = 1"
    "  WHEN o.kind = 'object' THEN o.patients + o.changes = 0"
    "  ELSE o.patients = 0 AND o.turn = 1 END ORDER BY o.number, o.part LIMIT $1"
)
_LAG: Final = (
    "SELECT count(*) AS changes, coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)"
    "::double precision AS seconds FROM index.replication_told"
    " WHERE state IN ('waiting', 'working')"
)
_WORKING: Final = (
    "UPDATE index.replication_told SET state = 'working', job = $4, reason = $5,"
    " next_at = clock_timestamp() WHERE site = $1 AND number = $2 AND part = $3"
)
_AGAIN: Final = (
    "UPDATE index.replication_told SET state = 'waiting', job = '', reason = $5,"
    " next_at = clock_timestamp() + $4::interval WHERE site = $1 AND number = $2 AND part = $3"
)
_ENDED: Final = (  # replication_told_site_number_part_key
    "DELETE FROM index.replication_told t USING"
    " unnest($1::text[], $2::bigint[], $3::integer[]) AS o (site, number, part)"
    " WHERE (t.site, t.number, t.part) = (o.site, o.number, o.part)"
)
_KEPT: Final = (
    "UPDATE index.replication_told SET state = $4, reason = $5, ended_at = clock_timestamp()"
    " WHERE site = $1 AND number = $2 AND part = $3"
)
_MERGE: Final = (  # replication_vector_pkey
    "INSERT INTO index.replication_vector AS v SELECT $1, $2::text::jsonb"
    " ON CONFLICT (study_instance_uid) DO UPDATE SET counts = (SELECT"
    "  jsonb_object_agg(site, count) FROM (SELECT site, max(count) AS count FROM ("
    "   SELECT key AS site, value::bigint AS count FROM jsonb_each_text(v.counts) UNION ALL"
    "   SELECT key, value::bigint FROM jsonb_each_text(excluded.counts)) AS every"
    "  GROUP BY site) AS most)"
)


@dataclass(frozen=True)
class Told:
    """One change of another site."""

    site: str
    number: int
    part: int
    kind: str
    study: str | None
    at: datetime
    job: str
    reason: str
    change: dict[str, Any]

    @classmethod
    def of(cls, row: asyncpg.Record, seal: Seal) -> "Told":
        """Read a row."""
        return cls(
            row["site"],
            row["number"],
            row["part"],
            row["kind"],
            row["study_instance_uid"],
            row["at"],
            row["job"],
            row["reason"],
            seal.open(row["sealed"], purpose=TOLD),
        )

    @property
    def key(self) -> tuple[str, int, int]:
        """Which one it is."""
        return self.site, self.number, self.part

    @property
    def vector(self) -> dict[str, int]:
        """How many changes of each site it knew of."""
        return {site: int(count) for site, count in (self.change.get("vector") or {}).items()}

    @property
    def done(self) -> datetime:
        """When it was done at the other site."""
        return datetime.fromisoformat(self.change.get("done") or self.change["at"])

    def id(self, what: str = "") -> str:
        """Return the id of a job for it, always the same."""
        name = f"{self.site}\x1f{self.number}\x1f{self.part}\x1f{what}"
        return hashlib.sha256(name.encode()).hexdigest()[:32]


async def lock(db: Connection) -> bool:
    """Take the lock of whoever takes, for the session, unless another one has it."""
    taken: bool = await db.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK)
    return taken


async def taken(db: Connection, site: str) -> int:
    """Return the number of the last file that was read of a site."""
    number: int = await db.fetchval(_TAKEN, site)
    return number


async def add(
    db: Connection, seal: Seal, site: str, number: int, changes: Sequence[dict[str, Any]]
) -> None:
    """Keep what a file says, and that it is read."""
    rows = [
        (
            *(site, number, part, one["kind"], one["study"]),
            datetime.fromisoformat(one["at"]),
            seal.seal(one, purpose=TOLD),
        )
        for part, one in enumerate(changes)
    ]
    async with db.transaction():
        await db.executemany(_ADD, rows)
        await db.execute(_SET_TAKEN, site, number)


async def set_taken(db: Connection, site: str, number: int) -> None:
    """Keep the number of the last file that was read of a site, or that will not be."""
    await db.execute(_SET_TAKEN, site, number)


async def peer_reason(db: Connection, site: str, reason: str) -> None:
    """Keep why nothing more is read of a site; empty: it is."""
    await db.execute(_REASON, site, reason[:500])


async def heard_by_peer(db: Connection, number: int) -> None:
    """Keep how far the other site has read what this one tells."""
    await db.execute(_HEARD, number)


async def ready(db: Connection, seal: Seal, limit: int) -> list[Told]:
    """Return what nothing else has to come before."""
    return [Told.of(row, seal) for row in await db.fetch(_READY, limit)]


async def lag(db: Connection) -> tuple[int, float]:
    """Return how many changes are not done, and for how many seconds the first has waited."""
    row = await db.fetchrow(_LAG)
    return (row["changes"], row["seconds"]) if row else (0, 0.0)


async def working(db: Connection, one: Told, job: str, reason: str = "") -> None:
    """Keep that a job carries it out."""
    await db.execute(_WORKING, *one.key, job, reason)


async def again(db: Connection, one: Told, wait: timedelta, reason: str = "") -> None:
    """Have it tried again after a while; what comes later of the study waits."""
    await db.execute(_AGAIN, *one.key, wait, reason)


async def ended(db: Connection, *told: Told) -> None:
    """Forget changes: they are done."""
    if told:
        sites, numbers, parts = zip(*(one.key for one in told), strict=True)
        await db.execute(_ENDED, list(sites), list(numbers), list(parts))


async def told_of(db: Connection, one: Told, state: str, reason: str) -> None:
    """Keep why it was not done, or not all of it, for people to see."""
    await db.execute(_KEPT, *one.key, state, reason[:500])


async def merge(db: Connection, study: str, vector: str) -> None:
    """Let a study have heard of all changes that a vector (JSON) counts."""
    await db.execute(_MERGE, study, vector)
