"""A message whose values no database takes is buried at once, and holds up nobody."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from darkroom_common.amqp.retry import Dead, decide
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.pool import Database, Unstorable, open_database
from darkroom_common.topology import WorkQueue
from tests.support.builders import instances_stored

LONG = "INSERT INTO words SELECT string_agg(md5(i::text), '') FROM generate_series(1, $1::int) AS i"
STATEMENTS = {
    "NUL in a text": ("SELECT $1::text", "a\0b"),
    "NUL in JSON": ("SELECT $1::jsonb", '"\\u0000"'),
    "half a surrogate pair": ("SELECT $1::text", "\ud800"),
    "a number too large": ("SELECT $1::integer", 2**40),
    "a number too large there": ("SELECT $1::bigint::integer", 2**40),
    "no number": ("SELECT $1::integer", "x"),
    "no date": ("SELECT $1::text::date", "no-day"),
    "out of range": ("SELECT $1::text::timestamptz", "999999-01-01"),
    "a check": ("INSERT INTO few VALUES ($1)", 11),
    "null": ("INSERT INTO few VALUES ($1)", None),
    "an entry of an index": (LONG, 5000),
}


@pytest.fixture
async def database(superuser_url: str) -> AsyncIterator[Database]:
    """A database with two tables."""
    connection = await asyncpg.connect(superuser_url)
    await connection.execute("CREATE TABLE few (n integer NOT NULL CHECK (n < 10))")
    await connection.execute("CREATE TABLE words (word text PRIMARY KEY)")
    await connection.close()
    async with open_database(superuser_url, service="test") as opened:
        yield opened


@pytest.mark.parametrize("what", STATEMENTS)
async def test_what_cannot_be_kept_is_no_outage(database: Database, what: str) -> None:
    sql, value = STATEMENTS[what]
    for lend in (database.acquire, database.transaction):
        with pytest.raises(Unstorable) as refused:
            async with lend() as db:
                await db.execute(sql, value)
        assert not isinstance(refused.value, DependencyUnavailable)
        assert str(value) not in str(refused.value)
    async with database.acquire() as db:
        assert await db.fetchval("SELECT 1") == 1


def test_such_a_message_is_dead_at_once() -> None:
    queue = WorkQueue("test.unstorable", (type(instances_stored()),), prefetch=10)
    verdict = decide(queue, failed_before=0, error=Unstorable("PostgreSQL: DataError"))
    assert verdict == Dead("Unstorable: PostgreSQL: DataError")
