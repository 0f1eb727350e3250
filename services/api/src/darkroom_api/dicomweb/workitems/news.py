"""Tells those who listen to reports in this process that there are new ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from darkroom_api.events.watching import Watcher
from darkroom_common.postgres.pool import Database
from darkroom_common.readers import workitems


@dataclass
class ReportNews(Watcher):
    """Looks for all of them, while anybody listens.

    Reports are numbered as they are committed: when the last number is the same, there is nothing.
    """

    database: Database
    _listening: int = 0
    _newest: int = -1

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Look for news for the length of a block."""
        self._listening += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._listening -= 1

    async def _look(self) -> bool:
        if not self._listening:
            return False
        async with self.database.acquire() as db:
            newest = await workitems.newest_report(db)
        if newest != self._newest:
            self._newest = newest
            self._tell()
        return True
