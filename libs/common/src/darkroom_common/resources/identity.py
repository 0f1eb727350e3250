"""Which resource of a name a job is for: the one that was there when somebody asked for it."""

from typing import Any, Final

from darkroom_common.postgres.pool import Connection
from darkroom_common.resources.resource import Resource

NOBODY: Final = "-"
"""The id in a job that was for nothing that is there."""
_IDENTITY: Final = "SELECT id FROM TABLE WHERE name = $1 AND $2 IN ('', id) FOR SHARE"


async def identity(
    db: Connection, resource: Resource[Any], name: str, meant: str = ""
) -> str | None:
    """Return the id of the one of a name, which stays until the transaction has ended.

    Args:
        db: within a transaction.
        resource: an identified one.
        name: of it.
        meant: the id that it must have; empty for any.

    Returns:
        None when it is not there, or is another one.
    """
    found: str | None = await db.fetchval(_IDENTITY.replace("TABLE", resource.table), name, meant)
    return found
