"""Fixtures of all tests: real engines, started once a run, and fresh databases and vhosts.

`postgres_server` and `rabbitmq_server` are one engine each for the whole run, whatever the number
of pytest-xdist workers; they start when the first test asks and end with the run. A test gets an
empty database by `superuser_url` and an empty virtual host by `amqp_url`. A test that stops, kills
or restarts an engine takes `own_postgres` or `own_rabbitmq`, which nobody else uses.

Roles belong to the whole PostgreSQL server: tests that make them must agree on their passwords.
"""

import asyncio
import concurrent.futures
import gc
import logging
import os
import shutil
import ssl
import sys
import tempfile
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import asyncpg
import certifi
import hypothesis
import pytest
import structlog

from darkroom_local.engines.ports import LOOPBACK
from darkroom_local.engines.postgres import PrivatePostgres
from darkroom_local.engines.rabbitmq import PrivateRabbitMQ, RabbitPorts
from tests.support.management import Management
from tests.support.shared_engine import home_of_engines, new_base, shared_engine, wait_until_gone
from tests.support.templates import BY_FILES
from tests.support.vhosts import Vhosts

_ENGINES = "DARKROOM_TEST_ENGINES"
_KEPT = "DARKROOM_TEST_ENGINES_KEPT"
_FIRST: Final = (
    *("integration/upgrade/test_before_one_house", "integration/console/test_screens"),
    *("e2e/test_upgrade", "e2e/test_killed", "e2e/test_operators", "e2e/test_first_image"),
    *("integration/local/test_points_in_time", "integration/transmit/test_killed_at_points"),
    *("integration/ingest/test_killed_at_points", "integration/api/test_accepted"),
    *("e2e/test_openapi", "e2e/test_day", "e2e/test_encrypted", "integration/console/test_tasks"),
    *("integration/api/accounts/test_every_route", "integration/transmit/test_retrieve"),
)
"""Files that take longest, some of them for one test: the end of a run is not to wait for them."""
_SHOWN, _LONG = 15, 10.0
"""Files in the summary at most, and seconds that each has taken at least."""


# How fast examples come is a matter of the machine and of what else it does.
hypothesis.settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared machine")


@dataclass(frozen=True)
class PostgresServer:
    """The PostgreSQL of this test run."""

    maintenance_url: str  # of the superuser, database "postgres"
    port: int

    def url(self, role: str, password: str, database: str) -> str:
        """Return the connection URL of a role."""
        secret = quote(password, safe="")
        return f"postgresql://{quote(role, safe='')}:{secret}@{LOOPBACK}:{self.port}/{database}"

    def superuser_url(self, database: str) -> str:
        """Return the superuser's URL of a database."""
        return urlsplit(self.maintenance_url)._replace(path=f"/{database}").geturl()


@dataclass(frozen=True)
class RabbitServer:
    """The RabbitMQ of this test run, with its management API."""

    port: int
    user: str
    password: str
    management_url: str

    def url(self, vhost: str) -> str:
        """Return the connection URL of a virtual host."""
        secret = quote(self.password, safe="")
        return f"amqp://{self.user}:{secret}@{LOOPBACK}:{self.port}/{quote(vhost, safe='')}"

    def management(self) -> Management:
        """Return a client of the management API, to be used in a `with` block."""
        return Management(self.management_url, self.user, self.password)


_context: Final = ssl.create_default_context


@cache
def _authorities(file: str) -> ssl.SSLContext:
    return _context(cafile=file)


def _shared_context(*arguments: Any, **named: Any) -> ssl.SSLContext:
    """Be `ssl.create_default_context`; the one of a client that says nothing of TLS is shared.

    httpx reads all authorities for each client, which takes 40 ms, also where TLS is not spoken.
    """
    file = os.environ.get("SSL_CERT_FILE") or certifi.where()
    if not arguments and named == {"cafile": file}:
        return _authorities(file)
    return _context(*arguments, **named)


ssl.create_default_context = _shared_context


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Undo what a test has made of the process's logs: those that come after it read them, too."""
    before, level = structlog.get_config(), logging.getLogger().level
    yield
    if structlog.get_config() != before:
        structlog.configure(**before)
        logging.getLogger().setLevel(level)


def pytest_configure(config: pytest.Config) -> None:
    """Choose where this run's engines live; workers inherit the choice.

    Services that tests start keep what they compile, whatever the environment says: compiling it
    anew takes each of them longer than all else of its start.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if not _uses_anothers(config):
        os.environ[_ENGINES] = str(new_base("tests"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the longest files come first; the rest stays as it is."""
    ranks = {f"tests/{name}.py": rank for rank, name in enumerate(_FIRST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what was imported and collected out of every search for garbage: it stays.

    There are so many tests that a full search is half a second, and what is tested asks for some.
    """
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the run only when its engines have ended."""
    if not _uses_anothers(config):
        base = Path(os.environ[_ENGINES])
        if not wait_until_gone(base):
            raise RuntimeError(f"the engines in {base} did not end")


def _uses_anothers(config: pytest.Config) -> bool:
    """Whether the engines are those of a whole run, or kept for many (`tests/mutants`)."""
    return hasattr(config, "workerinput") or _KEPT in os.environ


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the files that took longest: each is the work of one process of the run."""
    spent: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                spent[report.nodeid.partition("::")[0]] += report.duration
    longest = sorted(spent.items(), key=itemgetter(1), reverse=True)[:_SHOWN]
    slow = [(file, seconds) for file, seconds in longest if seconds >= _LONG]
    if slow:
        terminalreporter.section("slowest files")
    for file, seconds in slow:
        terminalreporter.write_line(f"{seconds:6.0f} s  {file}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL, shared by all workers; fsync is off."""
    with shared_engine("postgres", Path(os.environ[_ENGINES])) as address:
        yield PostgresServer(address["superuser_url"], address["port"])


@pytest.fixture
def superuser_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The superuser's URL of a new, empty database, which is dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    in_thread(_execute(postgres_server.maintenance_url, f'CREATE DATABASE "{name}" {BY_FILES}'))
    yield postgres_server.superuser_url(name)
    drop = f'DROP DATABASE "{name}" WITH (FORCE)'
    in_thread(_execute(postgres_server.maintenance_url, drop))


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitServer]:
    """A running RabbitMQ with the management plugin, shared by all workers."""
    with shared_engine("rabbitmq", Path(os.environ[_ENGINES])) as address:
        yield RabbitServer(**address)


@pytest.fixture(scope="session")
def vhosts(rabbitmq_server: RabbitServer) -> Iterator[Vhosts]:
    """The virtual hosts of this process."""
    made = Vhosts(rabbitmq_server)
    yield made
    made.close()


@pytest.fixture
def begins_with() -> tuple[str, ...]:
    """What the queues are called that the test begins with (`api.`); none without a name.

    A folder whose tests begin with the same services says so: they share what has nothing in it.
    """
    return ()


@pytest.fixture
def amqp_url(vhosts: Vhosts, begins_with: tuple[str, ...]) -> Iterator[str]:
    """The URL of a virtual host with our policies that is the test's own while it runs."""
    with vhosts.of(begins_with) if begins_with else vhosts.new() as url:
        yield url


@pytest.fixture
def engine_directory() -> Iterator[Path]:
    """An empty directory that the users of the engines can reach; pytest's own they cannot."""
    directory = Path(tempfile.mkdtemp(prefix="darkroom-test-", dir=home_of_engines()))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
async def own_postgres(engine_directory: Path) -> AsyncIterator[PrivatePostgres]:
    """A PostgreSQL of the test's own, to stop, kill and restart."""
    async with PrivatePostgres(engine_directory / "postgres", fsync=False).running() as server:
        yield server


@pytest.fixture
async def own_rabbitmq(engine_directory: Path) -> AsyncIterator[PrivateRabbitMQ]:
    """A RabbitMQ of the test's own, to stop, kill and restart."""
    ports = RabbitPorts.free(management=True)
    node = PrivateRabbitMQ(engine_directory / "rabbitmq", ports=ports)
    await node.start()
    try:
        yield node
    finally:
        await node.kill()


def in_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end in a loop of its own, whether or not this thread has one."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result(timeout=60)


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
