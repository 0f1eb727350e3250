"""Reading the audit log: which rows, in which order, and what is shown of them."""

import datetime as dt
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import asyncpg
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import USER_AGENT, first_id_at
from darkroom_api.audit.links import stored
from darkroom_api.http.lists import ListQuery
from darkroom_common.postgres.listing import COUNT_CAP, estimate
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.seal import Seal

_DAY: Final = 10
"""Characters of a date without a time."""
_INSTANT: Final = dt.timedelta(microseconds=1)
_COUNT: Final = "SELECT count(*) FROM (SELECT FROM api.audit_log WHERE {} LIMIT {}) AS counted"
_EVERY: Final = "SELECT FROM api.audit_log WHERE {}"
_PAGE: Final = """
    SELECT r.* FROM (SELECT log_id FROM api.audit_log WHERE {wanted}
        ORDER BY log_id {direction} LIMIT {limit}) AS page
    JOIN api.audit_log AS r USING (log_id) ORDER BY log_id {direction}
"""
"""The page is found in an index alone; only its rows are read."""
_HOP: Final = "SELECT log_id FROM api.audit_log WHERE {} ORDER BY log_id {} LIMIT 1 OFFSET {}"
_SUMMARY: Final = """
    SELECT action, user_id, count(*) AS count,
        count(*) FILTER (WHERE outcome = 'failure') AS failures
    FROM api.audit_log WHERE log_id >= $1 AND log_id < $2 GROUP BY action, user_id
"""
_SUMMED_AT_ONCE: Final = dt.timedelta(days=3)
_AT_ONCE: Final = 1000
_PASSED_AT_ONCE: Final = 50_000
"""Rows before a page that is asked for by its number, in one statement."""


def _moment(value: object) -> object:
    """Return a day or an instant; without an offset it is in UTC."""
    if not isinstance(value, str):
        return value
    try:
        if len(value) == _DAY:
            return dt.date.fromisoformat(value)
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("it is no date and no date with a time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


Moment = Annotated[
    dt.datetime | dt.date,
    BeforeValidator(_moment),
    WithJsonSchema({"anyOf": [{"type": "string", "format": f} for f in ("date", "date-time")]}),
]


class AuditSearch(ListQuery):
    """Which rows."""

    page_size: int = Field(default=50, ge=1, le=200)
    sort: Literal["-timestamp", "timestamp"] = "-timestamp"
    user_id: str | None = Field(default=None, max_length=50)
    action: Action | None = None
    resource_type: str | None = Field(default=None, max_length=100)
    resource_id: str | None = Field(default=None, max_length=128)
    start_date: Moment | None = Field(default=None, description="inclusive, in UTC")
    end_date: Moment | None = Field(default=None, description="inclusive: a day to its end")


class AuditItem(BaseModel):
    """A row of the audit log."""

    log_id: str
    user_id: str | None
    username: str | None
    action: str
    resource_type: str | None
    resource_id: str | None
    ip_address: str | None
    user_agent: str = Field(
        description="known products alone; all of it for those who may also read studies"
    )
    timestamp: dt.datetime
    privileged: bool = Field(description="an act of an administrator or operator")
    outcome: str = Field(
        description="success, failure, or asked: another service was to do it, and what came of it"
        " is in a later row with the same `act`"
    )
    details: Any = Field(
        description="JSON; what identifies a patient is in it for those who may also read studies"
    )


def shown(row: asyncpg.Record, seal: Seal | None) -> AuditItem:
    """Return a row as people see it; with a seal also what identifies a patient."""
    details: Any = json.loads(row["details"])
    agent = row["user_agent"]
    if seal is not None and row["phi"]:
        opened = stored(row, seal)
        more = json.loads(opened.row.phi) if opened.readable else {"unreadable": True}
        agent = more.pop(USER_AGENT, agent)
        details = {**details, **more} if isinstance(details, dict) else [details, more]
    return AuditItem(
        log_id=str(row["log_id"]),
        user_id=row["user_id"] or None,
        username=row["username"] or None,
        action=row["action"],
        resource_type=row["resource_type"] or None,
        resource_id=row["resource_id"] or None,
        ip_address=None if row["ip_address"] is None else str(row["ip_address"]),
        user_agent=agent,
        timestamp=row["recorded_at"],
        privileged=row["privileged"],
        outcome=row["outcome"],
        details=details,
    )


@dataclass(frozen=True)
class Found:
    """A page of rows; `last` is where the next one goes on, None after the last page."""

    rows: list[asyncpg.Record]
    total: int
    is_estimate: bool
    last: uuid.UUID | None


class Wanted:
    """The condition of a search, with its values."""

    def __init__(self, asked: AuditSearch) -> None:
        self.values: list[object] = []
        self._words: list[str] = []
        self.is_descending = asked.sort.startswith("-")
        for column in ("user_id", "action", "resource_type", "resource_id"):
            value = getattr(asked, column)
            if value is not None:
                self.add(f"{column} = {{}}::text", str(value))
        if asked.start_date is not None:
            self.add("log_id >= {}::uuid", first_id_at(_from(asked.start_date)))
        if asked.end_date is not None:
            self.add("log_id < {}::uuid", first_id_at(_until(asked.end_date)))

    def add(self, condition: str, value: object) -> None:
        """Narrow it by a condition on one value."""
        self.values.append(value)
        self._words.append(condition.format(f"${len(self.values)}"))

    def after(self, log_id: uuid.UUID) -> None:
        """Narrow it to what follows a row."""
        self.add(f"log_id {'<' if self.is_descending else '>'} {{}}::uuid", log_id)

    @property
    def sql(self) -> str:
        """The condition."""
        return " AND ".join(self._words) or "true"

    async def page(self, db: Connection, limit: int) -> list[asyncpg.Record]:
        """Return some rows in order."""
        sql = _PAGE.format(
            wanted=self.sql, direction="DESC" if self.is_descending else "ASC", limit=int(limit)
        )
        return await db.fetch(sql, *self.values)

    async def passed(self, db: Connection, offset: int) -> bool:
        """Narrow it to what follows so many rows; return whether there are as many.

        Each statement goes on where the one before has ended.
        """
        direction = "DESC" if self.is_descending else "ASC"
        while offset > 0:
            step = min(offset, _PASSED_AT_ONCE)
            sql = _HOP.format(self.sql, direction, step - 1)
            last = await db.fetchval(sql, *self.values)
            if last is None:
                return False
            self.after(last)
            offset -= step
        return True


async def search(db: Connection, asked: AuditSearch, after: uuid.UUID | None) -> Found:
    """Return a page of the audit log."""
    wanted = Wanted(asked)
    total: int = await db.fetchval(_COUNT.format(wanted.sql, COUNT_CAP + 1), *wanted.values)
    is_estimate = total > COUNT_CAP
    if is_estimate:
        total = max(total, await estimate(db, _EVERY.format(wanted.sql), wanted.values))
    if after is not None:
        wanted.after(after)
    there = after is not None or await wanted.passed(db, asked.offset)
    rows = await wanted.page(db, asked.page_size + 1) if there else []
    there_is_more = len(rows) > asked.page_size
    rows = rows[: asked.page_size]
    return Found(rows, total, is_estimate, rows[-1]["log_id"] if there_is_more else None)


async def every(database: Database, asked: AuditSearch) -> AsyncIterator[list[asyncpg.Record]]:
    """Return all rows of a search, some at a time, each from a statement of its own.

    Raises:
        DependencyUnavailable: the database is away.
    """
    last: uuid.UUID | None = None
    while True:
        wanted = Wanted(asked)
        if last is not None:
            wanted.after(last)
        async with database.acquire() as db:
            rows = await wanted.page(db, _AT_ONCE)
        if rows:
            yield rows
        if len(rows) < _AT_ONCE:
            return
        last = rows[-1]["log_id"]


@dataclass(frozen=True)
class Summed:
    """How often an action was done, in vain, and by how many users."""

    action: str
    count: int
    failures: int
    unique_users: int


async def summary(db: Connection, since: dt.datetime, until: dt.datetime) -> list[Summed]:
    """Return how often each action was done, the most frequent first (002 appendix C)."""
    counts: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    users: defaultdict[str, set[str]] = defaultdict(set)
    while since < until:
        end = min(since + _SUMMED_AT_ONCE, until)
        for row in await db.fetch(_SUMMARY, first_id_at(since), first_id_at(end)):
            counts[row["action"]] += row["count"]
            failures[row["action"]] += row["failures"]
            users[row["action"]].add(row["user_id"])
        since = end
    return [
        Summed(action, count, failures[action], len(users[action]))
        for action, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    ]


def _from(moment: dt.date) -> dt.datetime:
    if isinstance(moment, dt.datetime):
        return moment
    return dt.datetime.combine(moment, dt.time(), dt.UTC)


def _until(moment: dt.date) -> dt.datetime:
    """Return the first instant that is too late."""
    step = _INSTANT if isinstance(moment, dt.datetime) else dt.timedelta(days=1)
    try:
        return _from(moment) + step
    except OverflowError:
        return dt.datetime.max.replace(tzinfo=dt.UTC)
