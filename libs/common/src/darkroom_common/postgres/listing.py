"""One page of a list, by its number or after the row that the page before ended with.

A page by number shifts while rows arrive; one after a row does not, since it asks for what
follows that row in the order of the list.
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from darkroom_common.postgres.pool import Connection

COUNT_CAP: Final = 10_000
"""Rows are counted up to here; beyond it a total is the planner's estimate."""
Key = str | int | dt.datetime | dt.date
HOP: Final = 20_000
"""Rows before a page that is asked for by its number, passed over by one statement."""
_COUNT: Final = "SELECT count(*) FROM ({} LIMIT {}) AS counted"
_KINDS: Final[Mapping[type[Key], str]] = {
    str: "text",
    int: "bigint",
    dt.datetime: "timestamptz",
    dt.date: "date",
}


@dataclass(frozen=True)
class Order:
    """What a list is sorted by: columns that no two rows have in common, all in one direction."""

    columns: Mapping[str, type[Key]]
    descending: bool = False


@dataclass(frozen=True)
class Window:
    """Which rows of a list are wanted: those after `after`, else all but the first `offset`."""

    order: Order
    size: int
    offset: int = 0
    after: tuple[Key, ...] | None = None


@dataclass(frozen=True)
class Rows:
    """A page; `last` is where the next one goes on, None after the last page."""

    rows: list[asyncpg.Record]
    total: int
    is_estimate: bool
    last: tuple[Key, ...] | None


NEWEST_JOBS: Final = Order({"created_at": dt.datetime, "job_id": str}, descending=True)
OLDEST_JOBS: Final = Order(NEWEST_JOBS.columns)


async def page(
    db: Connection,
    source: str,
    window: Window,
    equal: Mapping[str, object] | None = None,
    bound: Sequence[object] = (),
) -> Rows:
    """Return the rows of a window.

    Args:
        db: where.
        source: a SELECT of our own words with the columns of the order. Values are in `equal`.
        window: which rows.
        equal: column to value; None restricts nothing.
        bound: what the source refers to as $1 and so on.
    """
    values: list[object] = list(bound)

    def bind(value: object, kind: str) -> str:
        values.append(value)
        return f"${len(values)}::{kind}"

    wanted = [
        f"{column} = {bind(value, 'text')}"
        for column, value in (equal or {}).items()
        if value is not None
    ]
    all_of = f"FROM ({source}) AS listed WHERE {' AND '.join(wanted) or 'true'}"
    total, is_estimate = await _total(db, all_of, values)
    order, columns = window.order, window.order.columns
    sort = ", ".join(f"{column}{' DESC' if order.descending else ''}" for column in columns)
    after, offset = window.after, window.offset

    def follows() -> tuple[str, list[object]]:
        if after is None:
            return "", values
        marks = (
            f"${len(values) + place}::{_KINDS[kind]}"
            for place, kind in enumerate(columns.values(), 1)
        )
        sign = "<" if order.descending else ">"
        return f" AND ({', '.join(columns)}) {sign} ({', '.join(marks)})", [*values, *after]

    while offset > HOP:
        condition, given = follows()
        passed = await db.fetchrow(
            f"SELECT {', '.join(columns)} {all_of}{condition} ORDER BY {sort}"
            f" LIMIT 1 OFFSET {HOP - 1}",
            *given,
        )
        if passed is None:
            break
        after, offset = tuple(passed), offset - HOP
    condition, given = follows()
    size = len(given)
    found = await db.fetch(
        f"SELECT * {all_of}{condition} ORDER BY {sort} LIMIT ${size + 1}::bigint"
        f" OFFSET ${size + 2}::bigint",
        *given,
        window.size + 1,
        offset,
    )
    rows = found[: window.size]
    more = len(found) > window.size
    return Rows(
        rows, total, is_estimate, tuple(rows[-1][name] for name in columns) if more else None
    )


async def _total(db: Connection, all_of: str, values: Sequence[object]) -> tuple[int, bool]:
    """Return how many rows there are, and whether that is an estimate."""
    every = f"SELECT 1 {all_of}"
    counted: int = await db.fetchval(_COUNT.format(every, COUNT_CAP + 1), *values)
    if counted <= COUNT_CAP:
        return counted, False
    return max(counted, await estimate(db, every, values)), True


async def estimate(
    db: Connection, sql: str, values: Sequence[Any], *, seconds: float | None = None
) -> int:
    """Return how many rows the planner expects of a SELECT; it waits for locks as that does.

    Raises:
        TimeoutError: it has taken more than `seconds`; None is the limit of the connection.
    """
    explained = f"EXPLAIN (FORMAT JSON) {sql}"
    plan = json.loads(await db.fetchval(explained, *values, timeout=seconds))
    return int(plan[0]["Plan"]["Plan Rows"])
