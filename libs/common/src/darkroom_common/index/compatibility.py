"""Whether the schema `index`, which metadata migrates, is one that this reading code knows."""

from typing import Final

import asyncpg

from darkroom_common.errors import Unhealthy
from darkroom_common.postgres.pool import Database

NEEDED: Final = 23
"""The migration of schema `index` that brought the last column that readers use."""
KNOWN: Final = 23
"""The last migration that this code was written with; a later `post` one is for newer code."""


async def check_index(database: Database) -> None:
    """Ask which migrations were applied.

    Raises:
        Unhealthy: the schema is too old, or too new.
        DependencyUnavailable: the database is away.
    """
    try:
        async with database.aside() as db:
            row = await db.fetchrow(
                "SELECT bool_or(version >= $1) AS enough,"
                " bool_or(version > $2 AND phase = 'post') AS newer FROM index.schema_migration",
                NEEDED,
                KNOWN,
            )
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError) as error:
        raise Unhealthy("schema index was not migrated yet") from error
    if row is None or not row["enough"]:
        raise Unhealthy(f"schema index lacks migration {NEEDED:04}")
    if row["newer"]:
        raise Unhealthy("schema index is for a newer Darkroom")
