"""Removes what nothing can ask for any more: old messages' ids, and jobs that have ended well."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.table import JobTable
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
EVERY_SECONDS: Final = 3600.0
INBOX_KEPT: Final = timedelta(days=14)


@dataclass(frozen=True)
class Removal:
    """Removes old rows, some at once.

    Attributes:
        some: removes in a transaction what is older than a time, and returns how many rows.
        older_than: what goes; None to keep all.
    """

    what: str
    some: Callable[[Connection, timedelta], Awaitable[int]]
    older_than: timedelta | None

    async def run(self, database: Database) -> int:
        """Remove all that is old enough; return how many rows.

        Raises:
            DependencyUnavailable: what was removed before is gone all the same.
        """
        gone = 0
        while self.older_than is not None:
            async with database.transaction() as db:
                count = await self.some(db, self.older_than)
            if not count:
                break
            gone += count
        if gone:
            log.info("rows.removed", what=self.what, rows=gone)
        return gone


def rows(what: str, statement: str, older_than: timedelta | None) -> Removal:
    """Return the removal by a statement that gets the age, $1, and the most at once, $2."""

    async def some(db: Connection, older: timedelta) -> int:
        tag = await db.execute(statement, older, _AT_ONCE)
        return int(tag.rpartition(" ")[2])

    return Removal(what, some, older_than)


_AT_ONCE: Final = 100


def jobs(table: JobTable[Any], *, days: int) -> Removal:
    """Return the removal of jobs that have ended well; of none with 0 days."""
    kept = timedelta(days=days) if days else None
    return Removal(table.kind.name, table.remove, kept)


async def tidy(
    database: Database,
    *,
    inboxes: Sequence[Inbox] = (),
    removals: Sequence[Removal] = (),
    every_seconds: float = EVERY_SECONDS,
) -> None:
    """Remove old rows again and again, until cancelled."""
    while True:
        try:
            for removal in removals:
                await removal.run(database)
            async with database.transaction() as db:
                for inbox in inboxes:
                    await inbox.forget(db, older_than=INBOX_KEPT)
        except DependencyUnavailable as error:
            log.warning("tidy.waits", reason=str(error))
        await asyncio.sleep(every_seconds)
