"""`python -m darkroom_api database`: slow statements, table sizes, connections (OBS-09).

It reads what PostgreSQL shows to the role of the api: with `pg_read_all_stats`, which the bootstrap
grants where it may, that is all of it. Exit code 0: done; 2: it could not be done.
"""

import argparse
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import asyncpg
from pydantic_core import to_json

from darkroom_api.settings import ApiSettings
from darkroom_common.errors import DarkroomError
from darkroom_common.output import say
from darkroom_common.postgres.pool import Connection, open_database

_TEXT_LENGTH: Final = 200
_STATEMENTS: Final = """
    SELECT round(s.mean_exec_time::numeric, 2) AS mean_ms,
        round(s.max_exec_time::numeric, 2) AS max_ms, s.calls,
        round((s.total_exec_time / 1000)::numeric, 1) AS total_s, s.rows,
        pg_get_userbyid(s.userid) AS role, regexp_replace(s.query, '\\s+', ' ', 'g') AS statement
    FROM public.pg_stat_statements AS s JOIN pg_database AS d ON d.oid = s.dbid
    WHERE d.datname = current_database() AND s.max_exec_time >= $1 AND s.calls > 0
        AND s.query !~* '^\\s*(alter|create)\\s+(role|user)'
    ORDER BY s.mean_exec_time DESC LIMIT $2
"""
"""The text has placeholders for values, but where a role is made: that may hold a password."""
_RUNNING: Final = """
    SELECT round(extract(epoch FROM clock_timestamp() - query_start)::numeric * 1000) AS running_ms,
        application_name, usename AS role, coalesce(wait_event_type, '') AS waits_for,
        regexp_replace(coalesce(query, ''), '\\s+', ' ', 'g') AS statement
    FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
        AND clock_timestamp() - query_start >= make_interval(secs => $1::float8 / 1000)
    ORDER BY query_start LIMIT $2
"""
_TABLES: Final = """
    SELECT n.nspname || '.' || c.relname AS "table",
        pg_total_relation_size(c.oid) AS bytes, pg_relation_size(c.oid) AS table_bytes,
        pg_indexes_size(c.oid) AS index_bytes, greatest(c.reltuples, 0)::bigint AS rows_about,
        coalesce(s.n_dead_tup, 0) AS dead_rows, s.last_autovacuum, s.last_autoanalyze
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        LEFT JOIN pg_stat_user_tables AS s ON s.relid = c.oid
    WHERE c.relkind IN ('r', 'm', 'p')
        AND n.nspname IN ('api', 'index', 'ingest', 'transmit', 'print', 'licensing')
    ORDER BY bytes DESC LIMIT $1
"""
_CONNECTIONS: Final = """
    SELECT usename AS role, application_name, coalesce(state, 'not shown') AS state,
        count(*) AS connections,
        round(max(extract(epoch FROM clock_timestamp() - state_change))::numeric) AS longest_s,
        count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting_for_locks
    FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'
    GROUP BY 1, 2, 3 ORDER BY connections DESC, 1, 2, 3
"""
_MOST: Final = "SELECT current_setting('max_connections')::integer"
_ABSENT: Final = (
    asyncpg.UndefinedTableError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InsufficientPrivilegeError,
)


class NotShown(DarkroomError):
    """PostgreSQL does not show it; the text says what to do."""


async def database(settings: ApiSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be done.
        SystemExit: with code 2, after a usage line.
    """
    given = _parser().parse_args(arguments or ["tables"])
    act: Callable[[Connection, argparse.Namespace], Awaitable[None]] = given.act
    url = settings.postgres_url.get_secret_value()
    async with open_database(url, service="api-database", size=1) as opened, opened.acquire() as db:
        await act(db, given)
    return 0


async def slow(db: Connection, given: argparse.Namespace) -> None:
    """Tell the statements that take longest, of all that have run, or of those that run now."""
    if given.now:
        rows = await db.fetch(_RUNNING, given.milliseconds, given.limit)
    else:
        try:
            rows = await db.fetch(_STATEMENTS, float(given.milliseconds), given.limit)
        except _ABSENT as error:
            raise NotShown(
                "PostgreSQL keeps no statistics of statements: load pg_stat_statements"
                " (docs/operations.md says how), or ask for those that run now with --now"
            ) from error
    tell(rows, as_json=given.json)


async def tables(db: Connection, given: argparse.Namespace) -> None:
    """Tell the tables, the largest first."""
    tell(await db.fetch(_TABLES, given.limit), as_json=given.json)


async def connections(db: Connection, given: argparse.Namespace) -> None:
    """Tell how many connections are in which state, by role and program."""
    rows = await db.fetch(_CONNECTIONS)
    tell(rows, as_json=given.json)
    if not given.json:
        total = sum(row["connections"] for row in rows)
        say(f"{total} of {await db.fetchval(_MOST)} connections")


def tell(rows: Iterable[Any], *, as_json: bool) -> None:
    """Say rows of the same columns: as a table, or as a JSON object each."""
    found = [dict(row) for row in rows]
    if as_json:
        for row in found:
            say(to_json(row).decode())
        return
    if not found:
        say("nothing")
        return
    lines = [[*found[0]], *([_cell(value) for value in row.values()] for row in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        say("  ".join(cells).rstrip())


def _cell(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= _TEXT_LENGTH else f"{text[: _TEXT_LENGTH - 3]}..."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom database", description="What PostgreSQL is busy with."
    )
    words = parser.add_subparsers(required=True, metavar="WORD")
    slowest = words.add_parser("slow", help="the statements that take longest")
    slowest.add_argument("--milliseconds", type=int, default=100, metavar="N", help="at least")
    slowest.add_argument("--now", action="store_true", help="of those that run at the moment")
    slowest.set_defaults(act=slow)
    largest = words.add_parser("tables", help="the largest tables, with indexes and dead rows")
    largest.set_defaults(act=tables)
    counted = words.add_parser("connections", help="by role, program and state")
    counted.set_defaults(act=connections)
    for one in (slowest, largest, counted):
        one.add_argument("--limit", type=int, default=20, metavar="N")
        one.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser
