"""Rows of what only reads, or is done by another service: committed before the answer goes out.

Requests that come at once share a transaction. Who gets an answer has a row, or the answer is that
the database is away. For a row of what only reads the answer does not wait for the disk of the
database: what is not durable yet is kept in mind here, and written again when the database has lost
it, so that a crash of the database alone, or of this process alone, loses none (docs/adr/0017).
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from darkroom_api.audit.entries import Entry, Row
from darkroom_api.audit.log import AuditLog, Claim
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.together import Together

log = get_logger(__name__)
SETTLE_SECONDS: Final = 0.05
"""From a commit to the one that makes it durable."""
AGAIN_SECONDS: Final = 1.0
_SETTLED: Final = (  # audit_log_pkey
    "SELECT NULL::uuid AS log_id, pg_logical_emit_message(true, 'darkroom.audit', '')"
    " UNION ALL SELECT log_id, NULL FROM api.audit_log WHERE log_id = ANY($1)"
)
"""Those of some rows that are there. What it emits is nothing, but the statement is committed
durably for it, and with it all that were before."""


_Read = tuple[Entry, Claim | None]


class Outdated(Exception):
    """What was looked up is not any more what is to be shown."""


class Recorder:
    """Writes rows for many requests in one transaction.

    Args:
        database: of the api.
        audit: takes the rows.
    """

    def __init__(self, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit
        self._together = Together[Entry, None](self._keep)

    async def write(self, entry: Entry) -> None:
        """Return when the row is kept.

        Raises:
            DependencyUnavailable: the database is away.
        """
        await self._together.do(entry)

    async def _keep(self, entries: Sequence[Entry]) -> list[None]:
        async with self._database.acquire() as db:  # all of them or none
            await self._audit.add(db, entries)
        return [None for _ in entries]


class ReadRecorder(Recorder):
    """A `Recorder` whose rows are durable moments after `write` has returned.

    Args:
        database: of the api.
        audit: takes the rows.
    """

    def __init__(self, database: Database, audit: AuditLog) -> None:
        super().__init__(database, audit)
        self._reads = Together[_Read, bool](self._keep_reads)
        self._unsure: deque[Row] = deque()
        self._news = asyncio.Event()

    async def write(self, entry: Entry) -> None:
        """Return when the row is kept.

        Raises:
            DependencyUnavailable: the database is away.
        """
        await self.write_of(entry, None)

    async def write_of(self, entry: Entry, one: Claim | None) -> None:
        """Return when the row of what shows something that was looked up is kept.

        Args:
            entry: what was done.
            one: as it was when it was looked up, some time ago; None: just now.

        Raises:
            Outdated: it is not that any more, and there is no row.
            DependencyUnavailable: the database is away.
        """
        if not await self._reads.do((entry, one)):
            raise Outdated

    async def _keep_reads(self, asked: Sequence[_Read]) -> list[bool]:
        rows = self._audit.rows([entry for entry, _ in asked])
        async with self._database.unflushed() as db:
            kept = await self._audit.write(db, rows, [one for _, one in asked])
        self._unsure.extend(row for row in rows if row.log_id in kept)
        self._news.set()
        return [row.log_id in kept for row in rows]

    async def run(self) -> None:
        """Make durable what was written, again and again; cancel to stop."""
        while True:
            await self._news.wait()
            self._news.clear()
            await asyncio.sleep(SETTLE_SECONDS)
            try:
                await self.settle()
            except DependencyUnavailable as error:
                log.warning("audit.unsettled", rows=len(self._unsure), reason=str(error))
                self._news.set()
                await asyncio.sleep(AGAIN_SECONDS)

    async def settle(self) -> None:
        """Make durable what was written until now, also what the database has lost meanwhile.

        Raises:
            DependencyUnavailable: the database is away; all of it is still kept in mind.
        """
        rows = list(self._unsure)
        if not rows:
            return
        async with self._database.acquire() as db:
            found = await db.fetch(_SETTLED, [row.log_id for row in rows])
        there = {row["log_id"] for row in found}
        lost = [row for row in rows if row.log_id not in there]
        if lost:
            log.warning("audit.written_again", rows=len(lost))
            async with self._database.transaction() as db:
                await self._audit.write(db, lost)
        self._audit.remember(rows)
        for _ in rows:
            self._unsure.popleft()
