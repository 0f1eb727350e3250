"""A pool of connections whose errors are ours.

Whatever says "the database is away" becomes `DependencyUnavailable`, and "never this value" becomes
`Unstorable`. What says "this statement is wrong" passes through as asyncpg raised it, since that is
a defect and not a state of the world.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg

from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.health import Unhealthy
from darkroom_common.telemetry import metrics

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Connection: TypeAlias = Any

_AWAY: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.DiskFullError,
    asyncpg.QueryCanceledError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # asyncpg, when the server says goodbye to an idle connection
    OSError,
    TimeoutError,
)
_UNSTORABLE: Final = (
    asyncpg.DataError,
    asyncpg.CheckViolationError,
    asyncpg.NotNullViolationError,
    asyncpg.ProgramLimitExceededError,
)
_EFFECTS: Final[dict[int, list[Callable[[], object]]]] = {}
"""What is to follow the commit, by the identity of each connection that is lent."""
CLASHES: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
CLASH_ATTEMPTS: Final = 5


class Unstorable(PermanentError):
    """A value cannot be kept: NUL in a text, a number out of range. Trying again cannot help."""


def after_commit(db: Connection, effect: Callable[[], object]) -> None:
    """Have a function called when the work with a connection of a `Database` has been committed.

    It is for what must not be said of a transaction that is rolled back: a count, a wake-up call.
    """
    _EFFECTS[id(db)].append(effect)


class Database:
    """Connections to one database, opened when they are first needed.

    Opening does not connect: a service starts and stays alive while the database is away, and its
    `/readyz` says so.
    """

    def __init__(self, url: str, *, service: str, size: int = 10) -> None:
        self._url = url
        self._service = service
        self._size = size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    async def _ready(self) -> "asyncpg.Pool[asyncpg.Record]":
        if self._pool is None:
            async with self._opening:
                if self._pool is None:
                    self._pool = await asyncpg.create_pool(
                        self._url,
                        min_size=0,
                        max_size=self._size,
                        timeout=10,
                        command_timeout=60,
                        max_inactive_connection_lifetime=300,
                        server_settings={
                            "application_name": f"darkroom-{self._service}",
                            "jit": "off",  # compiling costs more than any of our statements
                            "tcp_keepalives_idle": "30",
                            "tcp_keepalives_interval": "10",
                            "tcp_keepalives_count": "3",
                            "idle_in_transaction_session_timeout": "120000",
                        },
                    )
        return self._pool

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Lend a connection.

        Raises:
            DependencyUnavailable: the database is away, refuses the login, is full or read-only.
            Unstorable: it will never take a value.
        """
        try:
            pool = await self._ready()
            async with pool.acquire(timeout=10) as connection:
                metrics.POOL_SIZE.labels("open").set(pool.get_size())
                metrics.POOL_SIZE.labels("idle").set(pool.get_idle_size())
                effects = _EFFECTS[id(connection)] = []
                try:
                    yield connection
                finally:
                    del _EFFECTS[id(connection)]
            for effect in effects:
                effect()
        except _UNSTORABLE as error:
            raise Unstorable(f"PostgreSQL: {type(error).__name__}") from error
        except _AWAY as error:
            if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
                raise Unstorable("a value is not of the type of its column") from error
            raise DependencyUnavailable(f"PostgreSQL: {type(error).__name__}") from error

    @asynccontextmanager
    async def transaction(self, *, readonly: bool = False) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction: all of the block, or nothing of it.

        Raises:
            DependencyUnavailable: as `acquire`.
        """
        async with self.acquire() as connection, connection.transaction(readonly=readonly):
            yield connection

    async def check(self) -> None:
        """Ask for one row.

        Raises:
            Unhealthy: the database is away.
        """
        try:
            async with self.acquire() as connection:
                await connection.fetchval("SELECT 1")
        except DependencyUnavailable as error:
            raise Unhealthy(str(error)) from error

    async def close(self) -> None:
        """Wait up to 5 s for lent connections, then close all of them."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except TimeoutError:
            pool.terminate()


@asynccontextmanager
async def open_database(url: str, *, service: str, size: int = 10) -> AsyncIterator[Database]:
    """Open a `Database` for the length of a block."""
    database = Database(url, service=service, size=size)
    try:
        yield database
    finally:
        await database.close()


def the_row(row: asyncpg.Record | None) -> asyncpg.Record:
    """Return the row of a statement that always has one, such as an aggregate."""
    if row is None:
        raise RuntimeError("a statement that always has a row has had none")
    return row


def is_clash(error: Exception) -> bool:
    """Tell whether the transaction lost against another one and may simply run again."""
    return isinstance(error, CLASHES)
