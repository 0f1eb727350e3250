"""Rows of what only reads, or is done by another service: written before the answer goes out.

Requests that come at once share a transaction: whoever is first writes for all that wait. Who gets
an answer has a row, or the answer is that the database is away.
"""

import asyncio
from typing import Final

from darkroom_api.audit.entries import Entry
from darkroom_api.audit.log import AuditLog
from darkroom_common.postgres.pool import Database

AT_ONCE: Final = 500


class Recorder:
    """Writes rows for many requests in one transaction.

    Args:
        database: of the api.
        audit: takes the rows.
    """

    def __init__(self, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._lock = asyncio.Lock()

    async def write(self, entry: Entry) -> None:
        """Return when the row is durable.

        Raises:
            DependencyUnavailable: the database is away.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        mine = (entry, done)
        self._waiting.append(mine)
        try:
            while not done.done():
                async with self._lock:
                    if not done.done():
                        await self._write_some()
            done.result()
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)

    async def _write_some(self) -> None:
        some, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
        try:
            async with self._database.acquire() as db:  # one statement: all of them or none
                await self._audit.add(db, [entry for entry, _ in some])
        except asyncio.CancelledError:  # of the one who writes: the others still want theirs
            self._waiting[:0] = [one for one in some if not one[1].done()]
            raise
        except BaseException as error:
            for _, done in some:
                if not done.done():
                    done.set_exception(error)
                    done.exception()  # whoever has gone does not look at it
            raise
        else:
            for _, done in some:
                if not done.done():
                    done.set_result(None)
