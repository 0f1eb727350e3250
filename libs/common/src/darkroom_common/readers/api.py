"""Reads schema `api`: which studies are under legal hold."""

from typing import Final

import asyncpg

from darkroom_common.postgres.pool import Connection

_HELD: Final = (  # legal_hold_pkey
    "SELECT EXISTS (SELECT FROM api.legal_hold WHERE study_instance_uid = $1)"
)


async def is_held(db: Connection, study: str) -> bool:
    """Tell whether a study is under legal hold; nothing is while the api has not made its table."""
    try:
        async with db.transaction():  # what fails here leaves the caller's as it is
            held: bool = await db.fetchval(_HELD, study)
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
        return False
    return held
