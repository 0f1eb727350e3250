"""Extensions, schemas and login roles: what only a superuser can make, made once.

`python -m darkroom_common.postgres.bootstrap` with `DARKROOM_SUPERUSER_URL` and
`DARKROOM_ROLE_PASSWORDS` (JSON, role to password). Running it again changes passwords to the
given ones and nothing else.
"""

import asyncio
import sys
from typing import Final

import asyncpg
from pydantic import Field, SecretStr

from darkroom_common.errors import ConfigurationError, DarkroomError, DependencyUnavailable
from darkroom_common.output import complain
from darkroom_common.postgres.address import PostgresUrl
from darkroom_common.settings import LogFormat, LogLevel, SettingsBase
from darkroom_common.telemetry.logs import configure_logs, get_logger

log = get_logger(__name__)
ATTEMPTS: Final = 7
OWNER: Final = "darkroom_migrate"
ROLES: Final = (
    OWNER,
    "darkroom_ingest",
    "darkroom_metadata",
    "darkroom_transmit",
    "darkroom_print",
    "darkroom_api",
    "darkroom_licensing",
)
SCHEMAS: Final = ("ingest", "index", "transmit", "print", "api", "licensing")


class BootstrapSettings(SettingsBase):
    """What the bootstrap is told."""

    superuser_url: PostgresUrl
    role_passwords: dict[str, SecretStr] = Field(description="JSON object, role to password")
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "json"


async def bootstrap(superuser_url: str, passwords: dict[str, str]) -> None:
    """Make what is missing.

    Raises:
        ConfigurationError: a role has no password, or the login may not create roles.
        DependencyUnavailable: the database is away.
    """
    missing = [role for role in ROLES if not passwords.get(role)]
    if missing:
        raise ConfigurationError(f"role_passwords lacks {', '.join(missing)}")
    try:
        connection = await asyncpg.connect(superuser_url, timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise DependencyUnavailable(f"PostgreSQL: {type(error).__name__}") from error
    try:
        await _make_until_made(connection, passwords)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(
            "the login of superuser_url may not create extensions, roles and schemas"
        ) from error
    finally:
        await connection.close()
    log.info("database.bootstrapped", roles=len(ROLES), schemas=len(SCHEMAS))


async def _make_until_made(
    connection: "asyncpg.Connection[asyncpg.Record]", passwords: dict[str, str]
) -> None:
    """Roles belong to the server, the lock to a database: another database may be made at once."""
    for attempt in range(ATTEMPTS):
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(1684107883)")
                await _make(connection, passwords)
        except (
            asyncpg.InternalServerError,
            asyncpg.UniqueViolationError,
            asyncpg.DuplicateObjectError,
        ):
            if attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.05 * 2**attempt)
        else:
            return


async def _make(
    connection: "asyncpg.Connection[asyncpg.Record]", passwords: dict[str, str]
) -> None:
    for extension in ("pgcrypto", "pg_trgm"):
        await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension} SCHEMA public")
    known = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
    for role in ROLES:
        # CREATE ROLE takes no bind parameters: quote_literal makes the statement on the server.
        verb = "ALTER" if role in known else "CREATE"
        statement = await connection.fetchval(
            "SELECT format('%s ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD %L',"
            " $1::text, $2::text, $3::text)",
            verb,
            role,
            passwords[role],
        )
        await connection.execute(statement)
    await connection.execute(f"GRANT {OWNER} TO CURRENT_USER")
    database = await connection.fetchval("SELECT quote_ident(current_database())")
    await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    await connection.execute(f"GRANT CONNECT ON DATABASE {database} TO {', '.join(ROLES)}")
    await _show_statistics(connection)
    for schema in SCHEMAS:
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}" AUTHORIZATION {OWNER}')


async def _show_statistics(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Let operators see what the server is busy with, as far as this login may give that away."""
    for statement in (
        "GRANT pg_read_all_stats TO darkroom_api",
        "CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public",
    ):
        try:
            async with connection.transaction():
                await connection.execute(statement)
        except asyncpg.PostgresError as error:
            log.info("database.statistics_not_shown", reason=type(error).__name__)


def main() -> int:
    """Run from the environment; exit code 0 when done."""
    try:
        settings = BootstrapSettings.load()
        configure_logs(service="bootstrap", level=settings.log_level, style=settings.log_format)
        passwords = {k: v.get_secret_value() for k, v in settings.role_passwords.items()}
        asyncio.run(bootstrap(settings.superuser_url.get_secret_value(), passwords))
    except DarkroomError as error:
        complain(f"bootstrap: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
