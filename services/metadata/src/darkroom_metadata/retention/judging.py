"""Judges studies by the rules, a slice at a time, and keeps what they say in `index.retention`.

Only what has changed since is judged anew: the study, its work status, or the rules. What is read
of a study is no more than the rules ask for.
"""

from dataclasses import dataclass
from typing import Final

from darkroom_common.index.retention.judged import columns, dated
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection, the_row
from darkroom_common.specs.retention import Retention

AT_ONCE: Final = 250
"""Studies that are judged at once: what these take, whoever else is served waits for."""
SLICE: Final = 5_000
"""Studies that are looked through for stale ones at once."""
_SLICE: Final = (  # study_pkey, study_beside_pkey
    "SELECT max(id) AS last FROM"
    " (SELECT id FROM index.study WHERE id > $1 ORDER BY id LIMIT $2) AS slice"
)
_STALE: Final = (  # study_pkey, study_beside_pkey, retention_pkey, listing_pkey
    "SELECT * FROM (SELECT s.id, s.version, {}, r.study_version AS of, r.rules,"
    " r.exam_status AS status_then FROM index.study s"
    " LEFT JOIN index.retention r ON r.study_id = s.id"
    " WHERE s.id > $2 AND s.id <= $3 AND s.status <> 'deleted') AS j"
    " WHERE (j.of, j.rules, j.status_then) IS DISTINCT FROM (j.version, $4::text, j.exam_status)"
    " ORDER BY id LIMIT $5"
)
_KEEP: Final = (
    "INSERT INTO index.retention AS r (study_id, study_version, exam_status, rules, keep_until,"
    " rule) SELECT id, version, status, $4::text, until, rule FROM unnest($1::bigint[],"
    " $2::bigint[], $3::text[], $5::date[], $6::integer[]) AS j (id, version, status, until, rule)"
    " ON CONFLICT (study_id) DO UPDATE SET study_version = excluded.study_version,"
    " exam_status = excluded.exam_status, rules = excluded.rules,"
    " keep_until = excluded.keep_until, rule = excluded.rule"
)
_FORGET: Final = (  # of what is deleted, or is no more
    "DELETE FROM index.retention r WHERE r.study_id > $1 AND r.study_id <= $2 AND NOT EXISTS"
    " (SELECT FROM index.study s WHERE s.id = r.study_id AND s.status <> 'deleted')"
)


@dataclass(frozen=True)
class Judging:
    """Judges by these rules."""

    keys: PhiKeys
    retention: Retention

    async def step(self, db: Connection, after: int) -> tuple[int, int] | None:
        """Judge the next stale studies behind a row; return up to where, and how many.

        None: there are no more.
        """
        last: int | None = the_row(await db.fetchrow(_SLICE, after, SLICE))["last"]
        if last is None:
            return None
        digest = self.retention.digest
        sql = _STALE.format(columns(self.retention))
        rows = await db.fetch(sql, self.keys.by_id(), after, last, digest, AT_ONCE)
        if len(rows) == AT_ONCE:
            last = int(rows[-1]["id"])
        if rows:
            kept = [self.retention.kept([dated(row)]) for row in rows]
            await db.execute(
                _KEEP,
                [row["id"] for row in rows],
                [row["version"] for row in rows],
                [row["exam_status"] for row in rows],
                digest,
                [one.until for one in kept],
                [one.rule for one in kept],
            )
        await db.execute(_FORGET, after, last)
        return last, len(rows)
