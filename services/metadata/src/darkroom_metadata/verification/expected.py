"""What the rows of the index expect of the object store, page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from darkroom_common.postgres.pool import Connection, the_row
from darkroom_metadata.verification.judgement import Check, Expected

_INSTANCES: Final = (
    "SELECT i.id, false AS is_conflict, i.id AS instance_id, i.object_key,"
    " encode(i.sha256, 'hex') AS sha256, i.size, i.data_set_offset, i.receipt,"
    " s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid, i.sop_class_uid,"
    " i.transfer_syntax_uid, encode(i.head_sha256, 'hex') AS head_sha256, i.in_slow"
    " FROM index.instance i JOIN index.series e ON e.id = i.series_id"
    " JOIN index.study s ON s.id = e.study_id"
)
_CONFLICTS: Final = (
    "SELECT c.id, true AS is_conflict, c.instance_id, c.object_key,"
    " encode(c.sha256, 'hex') AS sha256, c.size, c.data_set_offset, c.receipt,"
    " c.study_instance_uid, c.series_instance_uid, i.sop_instance_uid, NULL AS sop_class_uid,"
    " NULL AS transfer_syntax_uid, encode(c.head_sha256, 'hex') AS head_sha256, c.in_slow"
    " FROM index.conflict c"
    " JOIN index.instance i ON i.id = c.instance_id"
    " WHERE c.kind IN ('instance', 'correction') AND c.removed_at IS NULL"
)
"""The others name an object that its instance names as well."""


@dataclass(frozen=True)
class Run:
    """One pass, as far as it has come."""

    id: int
    check: Check
    scope: str
    started: datetime
    due: datetime
    since: datetime | None
    cursor: str
    checked: int
    bytes: int
    findings: int
    finished: bool

    @classmethod
    def of(cls, row: asyncpg.Record) -> "Run":
        """Read a row of `verification_run`."""
        return cls(
            row["id"],
            Check(row["kind"]),
            row["scope"],
            row["started"],
            row["due"],
            row["since"],
            row["cursor"],
            row["checked"],
            row["bytes"],
            row["findings"],
            row["state"] != "running",
        )


async def total(db: Connection, run: Run) -> tuple[int, int]:
    """Return (objects, bytes) that are still to be looked at, as far as rows tell."""
    by_contents = run.check in (Check.CONTENTS, Check.SLOW)
    found = await db.fetchrow(
        "SELECT count(*) AS objects, coalesce(sum(size), 0)::bigint AS bytes FROM ("
        " SELECT size, coalesce(verified_at, indexed_at) AS seen, received_at, in_slow"
        " FROM index.instance UNION ALL"
        " SELECT size, coalesce(verified_at, received_at), received_at, in_slow"
        "  FROM index.conflict"
        "  WHERE kind IN ('instance', 'correction') AND removed_at IS NULL) AS every"
        " WHERE NOT $1 OR (seen < $2 AND ($3::timestamptz IS NULL OR received_at >= $3)"
        "  AND in_slow = $4)",
        by_contents,
        run.due,
        run.since,
        run.check is Check.SLOW,
    )
    row = the_row(found)
    if by_contents:
        return row["objects"], row["bytes"]
    return max(0, row["objects"] - run.checked), 0


async def next_contents(
    db: Connection, run: Run, limit: int, *, in_slow: bool | None = None
) -> list[Expected]:
    """Return what has waited longest: instances, then conflicts.

    Args:
        db: the session with the lock.
        run: which says how long is long.
        limit: rows at most.
        in_slow: those that lie in the slow store of two, or in the fast one; None: all.
    """
    only = "" if in_slow is None else f"AND {{}}.in_slow = {in_slow}"
    rows = await db.fetch(
        # instance_verification; of two stores: instance_read_back
        f"{_INSTANCES} WHERE coalesce(i.verified_at, i.indexed_at) < $1 {only.format('i')}"
        " AND ($2::timestamptz IS NULL OR i.received_at >= $2)"
        " ORDER BY coalesce(i.verified_at, i.indexed_at), i.id LIMIT $3",
        run.due,
        run.since,
        limit,
    )
    if not rows:
        rows = await db.fetch(
            # conflict_verification; of two stores: conflict_read_back
            f"{_CONFLICTS} AND coalesce(c.verified_at, c.received_at) < $1 {only.format('c')}"
            " AND ($2::timestamptz IS NULL OR c.received_at >= $2)"
            " ORDER BY coalesce(c.verified_at, c.received_at), c.id LIMIT $3",
            run.due,
            run.since,
            limit,
        )
    return [_expected(row) for row in rows]


async def next_rows(db: Connection, run: Run, limit: int) -> list[Expected]:
    """Return the rows after the run's cursor: instances, then conflicts, by their ids."""
    table, _, last = run.cursor.partition(":")
    rows = []
    if table != "conflict":
        rows = await db.fetch(  # instance_pkey
            f"{_INSTANCES} WHERE i.id > $1 ORDER BY i.id LIMIT $2", int(last or 0), limit
        )
        if not rows:
            last = "0"
    if not rows:
        rows = await db.fetch(  # conflict_pkey
            f"{_CONFLICTS} AND c.id > $1 ORDER BY c.id LIMIT $2", int(last or 0), limit
        )
    return [_expected(row) for row in rows]


async def expected_of(db: Connection, keys: Sequence[str]) -> dict[str, Expected]:
    """Return what rows expect of objects, by their keys; those that none names are not in it."""
    # instance_object, conflict_object
    rows = await db.fetch(f"{_CONFLICTS} AND c.object_key = ANY($1::text[])", keys)
    rows += await db.fetch(f"{_INSTANCES} WHERE i.object_key = ANY($1::text[])", keys)
    return {row["object_key"]: _expected(row) for row in rows}


async def unnamed(db: Connection, keys: Sequence[str]) -> set[str]:
    """Return those of the keys that no row names."""
    rows = await db.fetch(
        # instance_object, conflict_object, removed_object_key
        "SELECT key FROM unnest($1::text[]) AS given (key)"
        " WHERE NOT EXISTS (SELECT FROM index.instance i WHERE i.object_key = key)"
        " AND NOT EXISTS (SELECT FROM index.conflict c WHERE c.object_key = key"
        "  AND c.removed_at IS NULL)"
        " AND NOT EXISTS (SELECT FROM index.removed_object r WHERE r.object_key = key)",
        keys,
    )
    return {row["key"] for row in rows}


async def has_rows(db: Connection) -> bool:
    """Tell whether the index holds any instance."""
    found: bool = await db.fetchval("SELECT EXISTS (SELECT FROM index.instance)")
    return found


def _expected(row: asyncpg.Record) -> Expected:
    return Expected(
        row_id=row["id"],
        is_conflict=row["is_conflict"],
        instance_id=row["instance_id"],
        object_key=row["object_key"],
        sha256=row["sha256"],
        size=row["size"],
        data_set_offset=row["data_set_offset"],
        receipt=row["receipt"],
        study_instance_uid=row["study_instance_uid"],
        series_instance_uid=row["series_instance_uid"],
        sop_instance_uid=row["sop_instance_uid"],
        sop_class_uid=row["sop_class_uid"],
        transfer_syntax_uid=row["transfer_syntax_uid"],
        head_sha256=row["head_sha256"],
        in_slow=row["in_slow"],
    )
