"""Migrations, roles, inbox and outbox on a real PostgreSQL."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from pathlib import Path

import asyncpg
import pytest

from darkroom_common.amqp.broker import BrokerUnavailable
from darkroom_common.errors import ConfigurationError, DependencyUnavailable
from darkroom_common.messages.base import Message
from darkroom_common.messages.events import LicenceChecked
from darkroom_common.postgres import at_hand
from darkroom_common.postgres import migrate as migrate_module
from darkroom_common.postgres.bootstrap import ROLES, bootstrap
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.migrate import (
    IncompatibleSchema,
    Migration,
    load_migrations,
    migrate,
    require_compatible,
)
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Database, connections_at_most, open_database
from tests.support.database import Prepared
from tests.support.services import ROLE_PASSWORD, WITH_SCHEMA
from tests.support.waiting import LIMIT, until


@pytest.fixture
async def prepared(superuser_url: str) -> Prepared:
    return await Prepared.make(superuser_url, *WITH_SCHEMA)


@pytest.mark.req("MET-08")
async def test_migrating_again_and_at_once_applies_each_file_once(superuser_url: str) -> None:
    await bootstrap(superuser_url, dict.fromkeys(ROLES, ROLE_PASSWORD))
    await bootstrap(superuser_url, dict.fromkeys(ROLES, ROLE_PASSWORD))
    url = Prepared(superuser_url).url("migrate")
    done = await asyncio.gather(
        *(migrate(url, schema="index", package="darkroom_metadata") for _ in range(4))
    )
    names = [migration.name for migration in load_migrations("darkroom_metadata")]
    assert sorted(name for files in done for name in files) == sorted(names)


@pytest.mark.req("MET-08")
async def test_a_schema_that_does_not_suit_is_refused(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = load_migrations("darkroom_metadata")
    async with prepared.login("metadata") as database:

        async def check(migrations: list[Migration]) -> None:
            monkeypatch.setattr(migrate_module, "load_migrations", lambda _: migrations)
            await require_compatible(database, schema="index", package="darkroom_metadata")

        await check(known)
        later = Migration(len(known) + 1, "pre", "0099_pre_later.sql", "SELECT 1")
        with pytest.raises(IncompatibleSchema, match="run the migration first"):
            await check([*known, later])
        changed = Migration(known[0].version, known[0].phase, known[0].name, "SELECT 2")
        with pytest.raises(IncompatibleSchema, match="was changed"):
            await check([changed, *known[1:]])
        await prepared.fetch(
            "INSERT INTO index.schema_migration VALUES (98, 'x', 'pre', 'y') RETURNING version"
        )
        await check(known)  # old code on a newer `pre`
        await prepared.fetch(
            "INSERT INTO index.schema_migration VALUES (99, 'x', 'post', 'y') RETURNING version"
        )
        with pytest.raises(IncompatibleSchema, match="newer Darkroom"):
            await check(known)


async def test_a_failing_migration_leaves_nothing(
    superuser_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bootstrap(superuser_url, dict.fromkeys(ROLES, ROLE_PASSWORD))
    broken = Migration(1, "pre", "0001_pre_x.sql", "CREATE TABLE a (); CREATE TABLE a ();")
    monkeypatch.setattr(migrate_module, "load_migrations", lambda _: [broken])
    prepared = Prepared(superuser_url)
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(prepared.url("migrate"), schema="index", package="any")
    assert await prepared.fetch("SELECT version FROM index.schema_migration") == []
    assert (await prepared.fetch("SELECT to_regclass('index.a')"))[0][0] is None


READERS = {"api", "transmit", "print", "ingest"}


async def test_each_role_has_the_least_it_needs(prepared: Prepared) -> None:
    for role in ("ingest", "metadata", "transmit", "print", "api", "licensing"):
        async with prepared.login(role) as database, database.acquire() as db:
            for schema in WITH_SCHEMA.values():
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await db.execute(f"CREATE TABLE {schema}.mine (x int)")
            if role != "metadata":
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await db.execute("DELETE FROM index.study")
            if role in READERS | {"metadata"}:
                await db.fetch("SELECT count(*) FROM index.study")
            else:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await db.fetch("SELECT count(*) FROM index.study")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await db.execute("CREATE TABLE public.mine (x int)")


async def test_a_login_that_may_not_make_roles_is_told(prepared: Prepared) -> None:
    with pytest.raises(ConfigurationError, match="may not create"):
        await bootstrap(prepared.url("api"), dict.fromkeys(ROLES, ROLE_PASSWORD))
    with pytest.raises(ConfigurationError, match="darkroom_api"):
        await bootstrap(prepared.superuser_url, {"darkroom_migrate": "x"})


async def test_the_inbox_knows_what_it_has_seen(prepared: Prepared) -> None:
    inbox, other = Inbox("index", "one"), Inbox("index", "two")
    async with prepared.login("metadata") as database:
        async with database.transaction() as db:
            assert await inbox.first_times(db, ["a", "b", "a"]) == {"a", "b"}
        async with database.transaction() as db:
            assert await inbox.first_times(db, ["b", "c"]) == {"c"}
            assert await other.first_time(db, "b")
            assert not await inbox.first_time(db, "a")


async def test_a_rolled_back_effect_is_not_remembered(prepared: Prepared) -> None:
    inbox = Inbox("index", "one")
    async with prepared.login("metadata") as database:
        with pytest.raises(RuntimeError):
            async with database.transaction() as db:
                assert await inbox.first_time(db, "a")
                raise RuntimeError("after the inbox")
        async with database.transaction() as db:
            assert await inbox.first_time(db, "a")


class Recorder:
    """A publisher that fails when it is told to."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.headers: list[Mapping[str, str]] = []
        self.fail: set[str] = set()

    async def publish_all(
        self, messages: Sequence[tuple[Message, Mapping[str, str]]]
    ) -> list[BrokerUnavailable | None]:
        await asyncio.sleep(0)
        outcomes: list[BrokerUnavailable | None] = []
        for message, headers in messages:
            failed = message.id in self.fail
            outcomes.append(BrokerUnavailable("away") if failed else None)
            if not failed:
                self.got.append(message)
                self.headers.append(headers)
        return outcomes


async def put(database: Database, outbox: Outbox, *messages: Message) -> None:
    async with database.transaction() as db:
        await outbox.put_traced(db, [(m, {"traceparent": m.id}) for m in messages])


async def test_the_outbox_publishes_what_was_committed_and_nothing_else(prepared: Prepared) -> None:
    outbox, recorder = Outbox("index"), Recorder()
    messages = [LicenceChecked(state="valid") for _ in range(3)]
    async with prepared.login("metadata") as database:
        with pytest.raises(RuntimeError):
            async with database.transaction() as db:
                await outbox.put(db, LicenceChecked(state="valid"))
                raise RuntimeError("rolled back")
        assert not outbox._wake.is_set()
        await put(database, outbox, *messages)
        assert outbox._wake.is_set()
        assert await outbox.drain(database, recorder) == 3
        assert await outbox.drain(database, recorder) == 0
    assert recorder.got == messages
    assert recorder.headers == [{"traceparent": m.id} for m in messages]


async def test_what_was_not_confirmed_stays_and_the_rest_goes(prepared: Prepared) -> None:
    outbox, recorder = Outbox("index"), Recorder()
    messages = [LicenceChecked(state="valid") for _ in range(4)]
    recorder.fail = {messages[1].id}
    async with prepared.login("metadata") as database:
        await put(database, outbox, *messages)
        with pytest.raises(DependencyUnavailable):
            await outbox.drain(database, recorder)
        recorder.fail = set()
        assert await outbox.drain(database, recorder) == 1
    assert [m.id for m in recorder.got] == [messages[i].id for i in (0, 2, 3, 1)]


async def test_two_drainers_share_the_work(prepared: Prepared) -> None:
    outbox, recorder = Outbox("index"), Recorder()
    messages = [LicenceChecked(state="valid") for _ in range(50)]
    async with prepared.login("metadata") as one, prepared.login("metadata") as two:
        await put(one, outbox, *messages)
        await asyncio.gather(outbox.drain(one, recorder), outbox.drain(two, recorder))
    assert sorted(m.id for m in recorder.got) == sorted(m.id for m in messages)


async def test_a_database_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    del tmp_path
    async with open_database("postgresql://x:y@127.0.0.1:1/none", service="test") as database:
        with pytest.raises(DependencyUnavailable):
            async with database.acquire():
                pass


@pytest.mark.req("DEP-09")
async def test_a_database_opens_as_many_connections_as_are_counted_for_it(
    prepared: Prepared,
) -> None:
    size = 3
    counted = connections_at_most(size, planned=True, unflushed=True)
    url = prepared.url("metadata")
    async with open_database(url, service="counted", size=size, seconds=2) as database:

        async def wanted(lend: Callable[[], AbstractAsyncContextManager[object]]) -> None:
            with suppress(DependencyUnavailable):  # all are in use
                await lent.enter_async_context(lend())

        async with AsyncExitStack() as lent:
            kinds = (database.acquire, database.planned, database.aside, database.unflushed)
            await asyncio.gather(*(wanted(kind) for kind in kinds for _ in range(size + 1)))
            async with prepared.login("metadata") as other, other.acquire() as db:
                opened = await db.fetchval(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE application_name = 'darkroom-counted'"
                )
    assert opened == counted


async def test_a_session_is_put_back_and_searches_are_planned_for_their_values(
    prepared: Prepared,
) -> None:
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    shown = "SELECT current_setting('plan_cache_mode'), current_setting('work_mem')"
    async with open_database(prepared.url("api"), service="test", size=1) as database:
        async with database.acquire() as db:
            before = await db.fetchrow(shown)
            process = db.get_server_pid()
        async with database.session() as db:
            assert db.get_server_pid() == process
            await db.execute("SELECT pg_advisory_lock(1); SET work_mem = '65kB'")
            assert await db.fetchval(held) == 1
        async with database.acquire() as db:
            assert db.get_server_pid() == process
            assert (await db.fetchval(held), await db.fetchrow(shown)) == (0, before)
        async with database.planned() as db:
            assert await db.fetchval(shown) == "force_custom_plan"


async def _number(database: Database) -> int:
    async with database.acquire() as db:
        return int(db.get_server_pid())


async def test_a_connection_goes_from_one_to_the_next_unless_something_is_left_in_it(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_database(prepared.url("api"), service="test", size=2) as database:
        first = await _number(database)
        assert await _number(database) == first
        async with database.acquire() as db:
            await db.execute("BEGIN")
        async with database.acquire() as db:
            assert not db.is_in_transaction()
            with pytest.raises(TimeoutError):  # and whoever asked goes on with something else
                await db.fetch("SELECT pg_sleep(60)", timeout=0.05)
        async with database.acquire() as db:
            assert await db.fetchval("SELECT 1") == 1
        monkeypatch.setattr(at_hand, "USES", 0)
        assert await _number(database) == await _number(database)
        pool = database._pools["work"]
        assert pool.get_idle_size() == pool.get_size(), "what was used for long is the pool's again"


async def test_who_waits_gets_what_is_given_back_and_idle_ones_go_to_the_pool(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_database(prepared.url("api"), service="test", size=2) as database:

        async def ask() -> None:
            async with database.acquire() as db:
                await db.fetchval("SELECT 1")

        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*(ask() for _ in range(200)))
        pool, kept = database._pools["work"], database._at_hand["work"]
        assert (pool.get_size(), kept.waiting) == (2, 0)
        monkeypatch.setattr(at_hand, "IDLE_SECONDS", -1.0)
        await ask()
        await ask()
        assert len(kept) < pool.get_size() == 2


async def test_a_connection_that_was_lost_while_nobody_had_it_is_not_lent(
    prepared: Prepared, superuser_url: str
) -> None:
    async with open_database(prepared.url("api"), service="test") as database:
        gone = await _number(database)
        superuser = await asyncpg.connect(superuser_url)
        try:
            await superuser.execute("SELECT pg_terminate_backend($1, 5000)", gone)
        finally:
            await superuser.close()
        await until(lambda: not database._at_hand["work"])
        assert await _number(database) != gone
