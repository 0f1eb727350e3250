"""What a migration leaves, and who is told what, on a real PostgreSQL with few small files."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from darkroom_common.errors import ConfigurationError, DependencyUnavailable
from darkroom_common.postgres import migrate as module
from darkroom_common.postgres.bootstrap import ROLES, bootstrap
from darkroom_common.postgres.migrate import (
    IncompatibleSchema,
    load_migrations,
    migrate,
    require_compatible,
    wait_until_compatible,
)
from darkroom_common.postgres.pool import open_database
from tests.support.commands import run_command
from tests.support.database import Prepared
from tests.support.deployed import SERVICES
from tests.support.services import ROLE_PASSWORD
from tests.support.waiting import until

FILES = {
    "0001_pre_table.sql": "CREATE TABLE a (x int); GRANT USAGE ON SCHEMA index TO PUBLIC;",
    "0002_post_column.sql": "ALTER TABLE a ADD y int;",
    "0003_pre_more.sql": "CREATE TABLE b (x int DEFAULT length(public.digest('a', 'sha1')));",
}


class House:
    """An empty database, and a package with migrations that a test writes."""

    def __init__(self, prepared: Prepared, directory: Path) -> None:
        self.prepared, self.directory = prepared, directory
        self.url = prepared.url("migrate")

    def write(self, **files: str) -> None:
        for name, sql in files.items():
            (self.directory / name).write_text(sql)

    async def migrate(self, phase: str = "all") -> list[str]:
        return await migrate(self.url, schema="index", package="any", phase=phase)

    async def check(self) -> None:
        async with self.prepared.login("metadata") as database:
            await require_compatible(database, schema="index", package="any")


@pytest.fixture
async def house(superuser_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    await bootstrap(superuser_url, dict.fromkeys(ROLES, ROLE_PASSWORD))
    (tmp_path / "migrations").mkdir()
    monkeypatch.setattr(module, "files", lambda _: tmp_path)
    made = House(Prepared(superuser_url), tmp_path / "migrations")
    made.write(**FILES, **{"readme.txt": "not one"})
    return made


async def test_each_file_is_applied_once_in_its_order_and_remembered(house: House) -> None:
    assert await house.migrate() == sorted(FILES)
    assert await house.migrate() == []
    rows = await house.prepared.fetch(
        "SELECT version, name, phase, checksum FROM index.schema_migration ORDER BY version"
    )
    known = {one.name: one for one in load_migrations("any")}
    assert [row["name"] for row in rows] == sorted(FILES)
    for row in rows:
        one = known[row["name"]]
        assert (row["version"], row["phase"]) == (one.version, one.phase)
        assert row["checksum"] == one.checksum
        assert len(one.checksum) == 64
    assert [one.phase for one in known.values()] == ["pre", "post", "pre"]
    tables = await house.prepared.fetch(
        "SELECT schemaname, tablename FROM pg_tables WHERE tablename IN ('a', 'b') ORDER BY 2"
    )
    assert [tuple(row) for row in tables] == [("index", "a"), ("index", "b")]
    await house.check()


async def test_each_phase_has_its_files_and_no_others(house: House) -> None:
    assert await house.migrate("pre") == ["0001_pre_table.sql", "0003_pre_more.sql"]
    await house.check()  # a `post` may wait
    assert await house.migrate("pre") == []
    assert await house.migrate("post") == ["0002_post_column.sql"]
    assert await house.migrate() == []


async def test_a_schema_that_does_not_suit_is_told_by_who_asks(house: House) -> None:
    with pytest.raises(IncompatibleSchema, match="lacks 0001_pre_table"):
        await house.check()
    await house.migrate()
    house.write(**{"0004_pre_new.sql": "SELECT 1"})
    with pytest.raises(IncompatibleSchema, match="lacks 0004_pre_new"):
        await house.check()
    house.write(**{"0001_pre_table.sql": "SELECT 2"})
    with pytest.raises(IncompatibleSchema, match="was changed"):
        await house.migrate()
    with pytest.raises(IncompatibleSchema, match="was changed"):
        await house.check()
    applied = await house.prepared.fetch("SELECT max(version) FROM index.schema_migration")
    assert applied[0][0] == 3, "nothing is applied to a schema that does not suit"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("4_pre_x.sql", "is not NNNN"),
        ("0004_mid_x.sql", "is not NNNN"),
        ("0003_pre_x.sql", "twice"),
    ],
)
async def test_files_that_are_not_named_as_they_must_are_an_error(
    house: House, name: str, what: str
) -> None:
    house.write(**{name: "SELECT 1"})
    with pytest.raises(ConfigurationError, match=what):
        await house.migrate()


async def test_what_is_no_schema_is_never_put_into_a_statement(house: House) -> None:
    for name in ("index; DROP TABLE a", "Index", "", "a.b"):
        with pytest.raises(ConfigurationError, match="not a schema name"):
            await migrate(house.url, schema=name, package="any")
        async with house.prepared.login("metadata") as database:
            with pytest.raises(ConfigurationError, match="not a schema name"):
                await require_compatible(database, schema=name, package="any")


async def test_one_migrates_at_a_time_and_lets_go(house: House) -> None:
    """While another one has the lock nothing is applied; no connection stays."""
    holder = await asyncpg.connect(house.prepared.superuser_url)
    await holder.execute("SELECT pg_advisory_lock($1)", module._LOCK)
    migrating = asyncio.create_task(house.migrate())
    waits = (
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'darkroom_migrate'"
        " AND datname = current_database() AND query LIKE 'SELECT pg_try_advisory_lock%'"
    )
    await until(lambda: holder.fetchval(waits), "asks for the lock")
    assert await holder.fetchval("SELECT to_regclass('index.a')") is None
    assert not migrating.done()
    await holder.execute("SELECT pg_advisory_unlock($1)", module._LOCK)
    assert await migrating == sorted(FILES)
    left = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE usename = 'darkroom_migrate' AND datname = current_database()"
    )

    async def gone() -> bool:
        return not await holder.fetchval(left)

    await until(gone)
    await holder.close()


async def test_a_failing_file_leaves_those_before_it_and_no_connection(house: House) -> None:
    house.write(**{"0003_pre_more.sql": "CREATE TABLE c (); SELECT nonsense;"})
    with pytest.raises(asyncpg.UndefinedColumnError):
        await house.migrate()
    rows = await house.prepared.fetch("SELECT name FROM index.schema_migration ORDER BY version")
    assert [row["name"] for row in rows] == ["0001_pre_table.sql", "0002_post_column.sql"]
    assert (await house.prepared.fetch("SELECT to_regclass('index.c')"))[0][0] is None


async def test_a_database_that_is_away_is_told_and_waited_for(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DependencyUnavailable):
        await migrate("postgresql://a:b@127.0.0.1:1/c", schema="index", package="any")
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    stopping, tries = asyncio.Event(), 0
    check = require_compatible

    async def away(*given: object, **named: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise DependencyUnavailable("away")
        await check(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "require_compatible", away)
    async with open_database(house.prepared.url("metadata"), service="metadata") as database:
        with pytest.raises(IncompatibleSchema):
            await wait_until_compatible(database, schema="index", package="any", stopping=stopping)
        assert tries == 3
        await house.migrate()
        await wait_until_compatible(database, schema="index", package="any", stopping=stopping)
        assert tries == 4
        stopping.set()
        await wait_until_compatible(database, schema="index", package="any", stopping=stopping)
        assert tries == 4


async def test_an_index_is_built_beside_open_transactions_and_after_an_interrupted_run(
    house: House, superuser_url: str
) -> None:
    await house.migrate()
    old, watcher = await asyncpg.connect(superuser_url), await asyncpg.connect(superuser_url)
    try:
        writing = old.transaction()
        await writing.start()
        await old.execute("INSERT INTO index.a (x) VALUES (1)")
        house.write(
            **{"0004_pre_index.sql": "-- of a\nCREATE UNIQUE INDEX CONCURRENTLY a_x ON a (x);"}
        )
        # Two of them, as two pods do: the one that waits must not be what the other waits for.
        runs = [asyncio.create_task(house.migrate()) for _ in range(2)]
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE UNIQUE INDEX C%'"
        await until(lambda: watcher.fetchval(waiting), "built")
        await old.execute("INSERT INTO index.a (x) VALUES (1)")  # nobody is kept from writing
        await writing.commit()
        with pytest.raises(ExceptionGroup) as told:
            done = await asyncio.gather(*runs, return_exceptions=True)
            raise ExceptionGroup("", [one for one in done if isinstance(one, Exception)])
        assert all(isinstance(one, asyncpg.UniqueViolationError) for one in told.value.exceptions)
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'index.a_x'::regclass"
        assert await old.fetchval(valid) is False  # what an interrupted run leaves
        await old.execute("DELETE FROM index.a")
        assert await house.migrate() == ["0004_pre_index.sql"]
        assert await old.fetchval(valid) is True
    finally:
        await old.close()
        await watcher.close()


async def test_beside_an_index_that_is_built_there_is_nothing_else_in_a_file(house: House) -> None:
    house.write(
        **{"0004_pre_index.sql": "CREATE INDEX CONCURRENTLY a_x ON a (x); ALTER TABLE a ADD z int;"}
    )
    with pytest.raises(ConfigurationError, match=r"0004_pre_index\.sql"):
        await house.migrate()


async def test_each_service_migrates_its_schema_with_a_login_and_nothing_else(
    superuser_url: str,
) -> None:
    """As the jobs of the chart and compose do."""
    await bootstrap(superuser_url, dict.fromkeys(ROLES, ROLE_PASSWORD))
    environment = {"DARKROOM_MIGRATION_URL": Prepared(superuser_url).url("migrate")}
    for phase in ("pre", "post"):
        for name in SERVICES:
            code, said, errors = await run_command(name, "migrate", phase, environment=environment)
            assert (code, errors) == (0, ""), name
            assert "migration.finished" in said
    # A service whose schema is as it needs it says that there is nothing to do.
    code, said, errors = await run_command("transmit", "migrate", environment=environment)
    assert (code, errors) == (0, ""), errors
    assert '"applied":0' in said
