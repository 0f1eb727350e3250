"""Schema migrations: plain SQL files, applied once, under an advisory lock.

A file is `NNNN_{pre,post}_<what>.sql` in the service's `migrations/`. `pre` runs before the new
code starts and must suit the old code as well; `post` runs once no old code is left. A service
refuses to start when a `pre` it knows is missing, when a `post` it does not know was applied (that
schema is for newer code), or when a file that was applied has been changed since.

A file is applied in one transaction, as a whole or not at all. One that has nothing but
`CREATE INDEX CONCURRENTLY` is applied statement by statement outside of any, since PostgreSQL wants
it so and nobody waits then; what an interrupted run has left of such an index is built anew.
"""

import asyncio
import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, Literal

import asyncpg

from darkroom_common.errors import ConfigurationError, DependencyUnavailable
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.postgres.statement import statement
from darkroom_common.telemetry.logs import get_logger

_APPLIED: Final = "SELECT version, phase, checksum FROM {schema}.schema_migration"
_KEEP: Final = (
    "INSERT INTO {schema}.schema_migration (version, name, phase, checksum) VALUES ($1, $2, $3, $4)"
)
log = get_logger(__name__)
_NAME: Final = re.compile(r"^(?P<version>\d{4})_(?P<phase>pre|post)_(?P<what>[a-z0-9_]+)\.sql$")
_SCHEMA: Final = re.compile(r"^[a-z_]+$")
WAIT_SECONDS: Final = 1.0
_LOCK: Final = 0x6461726B  # "dark": one migration at a time in a database
_LOCK_SECONDS: Final = 0.1
_CONCURRENT: Final = re.compile(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY (?P<name>[a-z0-9_]+) ON ")


class IncompatibleSchema(ConfigurationError):
    """The database's schema does not suit this code; the text says which way and what to do."""


@dataclass(frozen=True)
class Migration:
    """One file."""

    version: int
    phase: Literal["pre", "post"]
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the SQL."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def concurrent(self) -> list[tuple[str, str]]:
        """The names and statements of indexes that are built beside the work of others, if any.

        Raises:
            ConfigurationError: there is something else in the file, too.
        """
        bare = re.sub(r"--[^\n]*", "", self.sql)
        if "CONCURRENTLY" not in bare:
            return []
        found = []
        for one in (" ".join(part.split()) for part in bare.split(";") if part.strip()):
            match = _CONCURRENT.match(one)
            if match is None:
                raise ConfigurationError(f"{self.name}: beside CONCURRENTLY there is nothing else")
            found.append((match["name"], one))
        return found


def load_migrations(package: str) -> list[Migration]:
    """Return the migrations of a package's `migrations` folder in order.

    Raises:
        ConfigurationError: a name does not fit the pattern, or a version appears twice.
    """
    found: list[Migration] = []
    for entry in files(package).joinpath("migrations").iterdir():
        if not entry.name.endswith(".sql"):
            continue
        match = _NAME.match(entry.name)
        if match is None:
            raise ConfigurationError(f"{package}: {entry.name} is not NNNN_{{pre,post}}_<what>.sql")
        phase: Literal["pre", "post"] = "pre" if match["phase"] == "pre" else "post"
        sql = entry.read_text(encoding="utf-8")
        found.append(Migration(int(match["version"]), phase, entry.name, sql))
    found.sort(key=lambda migration: migration.version)
    versions = [migration.version for migration in found]
    if len(set(versions)) != len(versions):
        raise ConfigurationError(f"{package}: a migration version appears twice")
    return found


def decide(
    known: list[Migration], applied: dict[int, tuple[str, str]], *, schema: str
) -> str | None:
    """Return why this code must not run on this schema, or None when it may.

    Args:
        known: the code's migrations.
        applied: version to (phase, checksum) as the database has them.
        schema: for the text.
    """
    by_version = {migration.version: migration for migration in known}
    for version, (phase, checksum) in sorted(applied.items()):
        mine = by_version.get(version)
        if mine is None and phase == "post":
            return f"schema {schema} has post migration {version:04}: it is for a newer Darkroom"
        if mine is not None and mine.checksum != checksum:
            return f"schema {schema}: {mine.name} was changed after it had been applied"
    for migration in known:
        if migration.phase == "pre" and migration.version not in applied:
            return f"schema {schema} lacks {migration.name}: run the migration first"
    return None


async def _applied(connection: Connection, schema: str) -> dict[int, tuple[str, str]]:
    try:
        rows = await connection.fetch(statement(_APPLIED, schema=schema))
    except (
        asyncpg.UndefinedTableError,
        asyncpg.InvalidSchemaNameError,
        asyncpg.InsufficientPrivilegeError,  # the first migration is what opens a schema to a role
    ):
        return {}
    return {row["version"]: (row["phase"], row["checksum"]) for row in rows}


def _checked(schema: str) -> str:
    if not _SCHEMA.match(schema):
        raise ConfigurationError(f"{schema!r} is not a schema name")
    return schema


async def require_compatible(database: Database, *, schema: str, package: str) -> None:
    """Refuse a schema that does not suit this code.

    Raises:
        IncompatibleSchema: with the reason.
        DependencyUnavailable: the database is away.
    """
    known = load_migrations(package)
    async with database.acquire() as connection:
        applied = await _applied(connection, _checked(schema))
    reason = decide(known, applied, schema=schema)
    if reason is not None:
        raise IncompatibleSchema(reason)


async def wait_until_compatible(
    database: Database, *, schema: str, package: str, stopping: asyncio.Event
) -> None:
    """As `require_compatible`, but wait for a database that is away; return when stopping.

    Raises:
        IncompatibleSchema: with the reason.
    """
    while not stopping.is_set():
        try:
            await require_compatible(database, schema=schema, package=package)
        except DependencyUnavailable as error:
            log.warning("schema.waits", schema=schema, reason=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(WAIT_SECONDS):
                    await stopping.wait()
        else:
            return


async def migrate(url: str, *, schema: str, package: str, phase: str = "all") -> list[str]:
    """Apply what is missing and return the names of the files applied.

    Args:
        url: of the role that owns the schema.
        schema: where the files' unqualified names live.
        package: whose `migrations` folder is read.
        phase: `pre`, `post` or `all`.

    Raises:
        IncompatibleSchema: an applied file was changed, or the schema is for newer code.
        DependencyUnavailable: the database is away.
    """
    _checked(schema)
    known = load_migrations(package)
    done: list[str] = []
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise DependencyUnavailable(f"PostgreSQL: {type(error).__name__}") from error
    try:
        await _lock(connection)
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS {schema}.schema_migration ("
            "version integer PRIMARY KEY, name text NOT NULL, phase text NOT NULL,"
            " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        await connection.execute(f"GRANT SELECT ON {schema}.schema_migration TO PUBLIC")
        applied = await _applied(connection, schema)
        missing_is_fine = [m for m in known if m.version in applied]
        reason = decide(missing_is_fine, applied, schema=schema)
        if reason is not None:
            raise IncompatibleSchema(reason)
        for migration in known:
            if migration.version in applied or phase not in ("all", migration.phase):
                continue
            await _build(connection, schema, migration)
            async with connection.transaction():
                await connection.execute(f"SET LOCAL search_path = {schema}, public")
                if not migration.concurrent:
                    await connection.execute(migration.sql)
                await connection.execute(
                    statement(_KEEP, schema=schema),
                    migration.version,
                    migration.name,
                    migration.phase,
                    migration.checksum,
                )
            log.info("migration.applied", schema=schema, file=migration.name)
            done.append(migration.name)
    finally:
        await connection.close()
    return done


async def _lock(connection: Connection) -> None:
    """Wait for the lock, in no statement: its snapshot is what an index that is built waits for."""
    while True:
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            return
        await asyncio.sleep(_LOCK_SECONDS)


async def _build(connection: Connection, schema: str, migration: Migration) -> None:
    """Build the indexes of a file beside others' work; what is left of an earlier run goes."""
    for name, create in migration.concurrent:
        await connection.execute(f"SET search_path = {schema}, public")
        await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema}.{name}")
        await connection.execute(create)
