"""A pool of connections whose errors are ours.

Whatever says "the database is away" becomes `DependencyUnavailable`, and "never this value" becomes
`Unstorable`. What says "this statement is wrong" passes through as asyncpg raised it, since that is
a defect and not a state of the world.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg

from darkroom_common.errors import DependencyUnavailable, PermanentError, Unhealthy
from darkroom_common.postgres.at_hand import AtHand, Lent, is_lost
from darkroom_common.telemetry.metrics import common as metrics

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
STATEMENT_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 10.0
_RELEASE_SECONDS: Final = 1.5
_CLOSE_SECONDS: Final = 5.0
_WORK: Final = "work"
_PLANNED: Final = "planned"
_ASIDE: Final = "aside"
_UNFLUSHED: Final = "unflushed"
_SETTINGS: Final = {
    # Its statements are few and small: to plan one takes longer than to do it.
    _UNFLUSHED: {"synchronous_commit": "off", "plan_cache_mode": "force_generic_plan"},
    # What is rare and what is common is found in ways of its own, and nobody takes all processors.
    # An index's entry costs more against a page in memory than PostgreSQL takes it to: with its own
    # guess the 240,000 studies of two years are looked up beside a name that has 3,000.
    _PLANNED: {
        "plan_cache_mode": "force_custom_plan",
        "max_parallel_workers_per_gather": "0",
        "cpu_index_tuple_cost": "0.02",
    },
}
CLASHES: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
CLASH_ATTEMPTS: Final = 5


class Unstorable(PermanentError):
    """A value cannot be kept: NUL in a text, a number out of range. Trying again cannot help."""


def after_commit(db: Connection, effect: Callable[[], object]) -> None:
    """Have a function called when the work with a connection of a `Database` has been committed.

    It is for what must not be said of a transaction that is rolled back: a count, a wake-up call.
    """
    _EFFECTS[id(db)].append(effect)


def connections_at_most(
    size: int, *, planned: bool = False, checked: bool = True, unflushed: bool = False
) -> int:
    """Return how many connections a `Database` of `size` opens at most, by what it is used for."""
    return size + planned * max(1, size // 2) + checked + unflushed


class Database:
    """Connections to one database, opened when they are first needed.

    Opening does not connect: a service starts and stays alive while the database is away, and its
    `/readyz` says so.

    Args:
        url: of the database.
        service: names the connections to whoever looks after the database.
        size: connections at a time, and half as many for `planned`. One more is kept for `check`,
            so that no amount of work makes a service look as if the database were away, and one
            for `unflushed` where that is used.
        seconds: for a statement, and to wait for a connection.
    """

    def __init__(
        self, url: str, *, service: str, size: int = 10, seconds: float = STATEMENT_SECONDS
    ) -> None:
        self._url = url
        self._service = service
        self._seconds = seconds
        self._sizes = {_WORK: size, _PLANNED: max(1, size // 2), _ASIDE: 1, _UNFLUSHED: 1}
        self._pools: dict[str, asyncpg.Pool[asyncpg.Record]] = {}
        self._at_hand = {name: AtHand() for name in self._sizes}
        self._opening = asyncio.Lock()
        for name, limit in self._sizes.items():
            metrics.POOL_LIMIT.labels(name).set(limit)

    async def _ready(self, name: str) -> "asyncpg.Pool[asyncpg.Record]":
        if (opened := self._pools.get(name)) is not None:
            return opened
        async with self._opening:
            if name not in self._pools:
                self._pools[name] = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._sizes[name],
                    timeout=min(_CONNECT_SECONDS, self._seconds),
                    command_timeout=self._seconds,
                    max_inactive_connection_lifetime=300,
                    connection_class=Lent,
                    server_settings={
                        "application_name": f"darkroom-{self._service}",
                        "jit": "off",  # compiling costs more than any of our statements
                        "tcp_keepalives_idle": "30",
                        "tcp_keepalives_interval": "10",
                        "tcp_keepalives_count": "3",
                        "idle_in_transaction_session_timeout": "120000",
                        # What nobody waits for any more does not go on for ever.
                        "statement_timeout": str(int(self._seconds * 1000)),
                        **_SETTINGS.get(name, {}),
                    },
                )
                self._measured(name, self._pools[name])
        return self._pools[name]

    def _measured(self, name: str, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        """Have the metrics ask how many there are, when they are asked."""
        at_hand = self._at_hand[name]

        def idle() -> float:
            return float(pool.get_idle_size() + len(at_hand))

        metrics.POOL_SIZE.labels(name, "idle").set_function(idle)
        metrics.POOL_SIZE.labels(name, "used").set_function(lambda: pool.get_size() - idle())

    def acquire(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection for statements, none of which changes anything of the session.

        Raises:
            DependencyUnavailable: the database is away, refuses the login, is full or read-only.
            Unstorable: it will never take a value.
        """
        return self._lent(_WORK)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """Lend a connection that listens, holds locks beyond a transaction, or has other settings.

        That ends when it is given back.

        Raises:
            DependencyUnavailable, Unstorable: as `acquire`.
        """
        async with self._lent(_WORK) as connection:
            _change(connection)
            yield connection

    def planned(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection whose statements are planned each time, for their values.

        Raises:
            DependencyUnavailable, Unstorable: as `acquire`.
        """
        return self._lent(_PLANNED)

    def unflushed(self) -> AbstractAsyncContextManager[Connection]:
        """Lend the connection whose commits wait for no disk: a crash may undo the last of them.

        A later commit on any other connection makes them durable.

        Raises:
            DependencyUnavailable, Unstorable: as `acquire`.
        """
        return self._lent(_UNFLUSHED)

    def aside(self) -> AbstractAsyncContextManager[Connection]:
        """Lend the connection that is kept for checks, whatever else is in use.

        Raises:
            DependencyUnavailable: as `acquire`.
        """
        return self._lent(_ASIDE)

    @asynccontextmanager
    async def _lent(self, name: str) -> AsyncIterator[Connection]:
        try:
            pool, at_hand = await self._ready(name), self._at_hand[name]
            while (connection := at_hand.take()) is not None and is_lost(connection):
                await _give_back(pool, connection)
            if connection is None:
                connection = await self._of_pool(pool, at_hand)
            effects = _EFFECTS[id(connection)] = []
            is_well = False
            try:
                yield connection
                is_well = True
            finally:
                del _EFFECTS[id(connection)]
                if not (is_well and self._pools.get(name) is pool and at_hand.keep(connection)):
                    await _give_back(pool, connection)
                elif (idle := at_hand.idle()) is not None:
                    await _give_back(pool, idle)
            for effect in effects:
                effect()
        except _UNSTORABLE as error:
            raise Unstorable(f"PostgreSQL: {type(error).__name__}") from error
        except _AWAY as error:
            if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
                raise Unstorable("a value is not of the type of its column") from error
            raise DependencyUnavailable(f"PostgreSQL: {type(error).__name__}") from error

    async def _of_pool(self, pool: "asyncpg.Pool[asyncpg.Record]", at_hand: AtHand) -> Connection:
        at_hand.waiting += 1
        try:
            return await pool.acquire(timeout=min(_CONNECT_SECONDS, self._seconds))
        finally:
            at_hand.waiting -= 1

    @asynccontextmanager
    async def transaction(self, *, readonly: bool = False) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction: all of the block, or nothing of it.

        Raises:
            DependencyUnavailable: as `acquire`.
            Unstorable: as `acquire`.
        """
        async with self.acquire() as connection:
            transaction = connection.transaction(readonly=readonly)
            await transaction.start()
            try:
                yield connection
            except (TimeoutError, asyncio.CancelledError):
                # Whoever has given up waits for no answer to a ROLLBACK, either; the server rolls
                # back what it has no connection for.
                connection.terminate()
                raise
            except BaseException:
                await transaction.rollback()
                raise
            await transaction.commit()

    async def check(self) -> None:
        """Ask for one row.

        Raises:
            Unhealthy: the database is away.
        """
        try:
            async with self.aside() as connection:
                await connection.fetchval("SELECT 1")
        except DependencyUnavailable as error:
            raise Unhealthy(str(error)) from error

    async def close(self) -> None:
        """Wait up to 5 s for lent connections, then close all of them."""
        pools, self._pools = self._pools, {}
        for name, pool in pools.items():
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    while (connection := self._at_hand[name].take()) is not None:
                        await _give_back(pool, connection)
                    await pool.close()
            except TimeoutError:
                pool.terminate()


@asynccontextmanager
async def open_database(
    url: str, *, service: str, size: int = 10, seconds: float = STATEMENT_SECONDS
) -> AsyncIterator[Database]:
    """Open a `Database` for the length of a block."""
    database = Database(url, service=service, size=size, seconds=seconds)
    try:
        yield database
    finally:
        await database.close()


async def _give_back(pool: "asyncpg.Pool[asyncpg.Record]", connection: Any) -> None:
    """Give a connection back to its pool.

    A statement that was given up is cancelled, unless the server does not even do that in time:
    then the connection is dropped.
    """
    with suppress(TimeoutError):
        await pool.release(connection, timeout=_RELEASE_SECONDS)


def _change(connection: Any) -> None:
    connection.change()


def the_row(row: asyncpg.Record | None) -> asyncpg.Record:
    """Return the row of a statement that always has one, such as an aggregate."""
    if row is None:
        raise RuntimeError("a statement that always has a row has had none")
    return row


def is_clash(error: Exception) -> bool:
    """Tell whether the transaction lost against another one and may simply run again."""
    return isinstance(error, CLASHES)
