"""Who has changed what: rows of the table `change` of a schema, which its writer cannot alter."""

from typing import Final

from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
_CHANGE: Final = """
INSERT INTO SCHEMA.change (by, action, kind, name, before, after)
VALUES ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb)
"""


async def log_change(  # noqa: PLR0913 - the columns of a change
    db: Connection,
    schema: str,
    *,
    by: str,
    kind: str,
    name: str,
    before: str | None,
    after: str | None,
) -> None:
    """Keep a change in the transaction that makes it; specs are JSON texts, None is nothing."""
    action = "added" if before is None else "removed" if after is None else "changed"
    statement = _CHANGE.replace("SCHEMA", schema)
    await db.execute(statement, by, action, kind, name, before, after)
    log.info("configuration.changed", kind=kind, action=action, name=name, by=by)
