"""Tells those who listen to reports in this process that there are new ones."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.pool import Database
from darkroom_common.readers import workitems
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
POLL_SECONDS: Final = 0.5


@dataclass
class ReportNews:
    """Looks for all of them, while anybody listens.

    Reports are numbered as they are committed: when the last number is the same, there is nothing.
    """

    database: Database
    _listening: int = 0
    _newest: int = -1
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Look for news for the length of a block."""
        self._listening += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._listening -= 1

    @property
    def closed(self) -> bool:
        """Whether this process stops."""
        return self._closed

    @property
    def event(self) -> asyncio.Event:
        """What is set when there is something new from now on, or the process stops."""
        return self._news

    async def run(self) -> None:
        """Look, until cancelled; then nobody listens any more."""
        try:
            while True:
                await self._wanted.wait()
                try:
                    await self._look()
                except DependencyUnavailable as error:
                    log.warning("workitem_reports.wait", reason=str(error))
                await asyncio.sleep(POLL_SECONDS)
        finally:
            self._closed = True
            self._tell()

    async def _look(self) -> None:
        if not self._listening:
            self._wanted.clear()
            return
        async with self.database.acquire() as db:
            newest = await workitems.newest_report(db)
        if newest != self._newest:
            self._newest = newest
            self._tell()

    def _tell(self) -> None:
        waking, self._news = self._news, asyncio.Event()
        waking.set()
