"""Which studies a night moves to the slow store, and by which rule."""

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import asyncpg

from darkroom_common.index.retention.judged import columns, dated
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Database
from darkroom_common.specs.retention import OTHERWISE, Retention

AT_ONCE: Final = 200
_NEXT: Final = (  # study_pkey, study_beside_pkey, tier_pkey
    "SELECT s.id, s.version, s.study_instance_uid AS uid, s.byte_count, s.status,"
    " t.version AS moved, t.keep_until, {} FROM index.study s"
    " LEFT JOIN index.tier t ON t.study_id = s.id WHERE s.id > $2 ORDER BY s.id LIMIT $3"
)
_SETTLED: Final = frozenset({"complete", "verified", "archived"})


@dataclass(frozen=True)
class Due:
    """How it stands with a study.

    Attributes:
        rule: by which it is to be moved; None: it stays where it is; `OTHERWISE`: it was recalled,
            and goes back.
    """

    row: asyncpg.Record
    rule: int | None


async def looked_at(
    database: Database, keys: PhiKeys, rules: Retention, now: dt.datetime, *, after: int = 0
) -> AsyncIterator[list[Due]]:
    """Yield all studies, some at a time, in the order of their rows.

    Args:
        database: that has the index.
        keys: of what is encrypted, which is read where a rule asks for it.
        rules: after how many years studies are moved.
        now: the night that is asked about.
        after: the row that was looked at last.
    """
    sql = _NEXT.format(columns(rules))
    while True:
        async with database.acquire() as db:
            rows = await db.fetch(sql, keys.by_id(), after, AT_ONCE)
        if not rows:
            return
        yield [Due(row, _rule_of(row, rules, now)) for row in rows]
        after = rows[-1]["id"]


def _rule_of(row: asyncpg.Record, rules: Retention, now: dt.datetime) -> int | None:
    if row["status"] not in _SETTLED:
        return None
    if row["keep_until"] is not None:
        return OTHERWISE if row["keep_until"] <= now else None
    if row["moved"] == row["version"]:
        return None
    kept = rules.kept([dated(row)])
    return kept.rule if kept.rule != OTHERWISE and kept.until <= now.date() else None
