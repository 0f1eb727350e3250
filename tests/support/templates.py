"""Databases of tests as copies: a set of schemas is bootstrapped and migrated once a server.

A copy of files costs a third of what PostgreSQL takes by default, a copy through its log.

The copy is the very database that `bootstrap` and `migrate` have made, without what PostgreSQL
keeps of a database outside of it: its grants, which `bootstrap` makes again.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import asyncpg

from darkroom_common.postgres.bootstrap import ROLES

_IS_USED = (
    "SELECT count(*) > 0 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
)
_IS_MADE = "SELECT count(*) > 0 FROM pg_database WHERE datname = $1 AND NOT datallowconn"
BY_FILES = "STRATEGY file_copy"
Make = Callable[[str], Awaitable[None]]


async def copied(superuser_url: str, template: str, make: Make) -> bool:
    """Put a copy of a template in the place of an empty database; say whether it was empty.

    Args:
        superuser_url: of the database.
        template: its name, one for all who share the server.
        make: turns an empty database, of the URL that it gets, into the template.
    """
    parts = urlsplit(superuser_url)
    name = parts.path.removeprefix("/")
    if name == "postgres":
        return False
    connection = await asyncpg.connect(superuser_url)
    try:
        if await connection.fetchval(_IS_USED):
            return False
    finally:
        await connection.close()
    connection = await asyncpg.connect(parts._replace(path="/postgres").geturl())
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext($1))", template)
        if not await connection.fetchval(_IS_MADE, template):
            await connection.execute(f'DROP DATABASE IF EXISTS "{template}"')  # of a killed run
            await connection.execute(f'CREATE DATABASE "{template}"')
            await make(parts._replace(path=f"/{template}").geturl())
            await connection.execute(f'ALTER DATABASE "{template}" ALLOW_CONNECTIONS false')
        await connection.execute("SELECT pg_advisory_unlock(hashtext($1))", template)
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" {BY_FILES}')
        await connection.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')
        await connection.execute(f'GRANT CONNECT ON DATABASE "{name}" TO {", ".join(ROLES)}')
    finally:
        await connection.close()
    return True
