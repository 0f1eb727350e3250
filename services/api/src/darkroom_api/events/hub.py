"""Reads the log of events for all who listen to this process, while anybody does.

What is told is what is in the log: a listener may come back to another process. One query every
half second reads what is new for all of them; whoever is farther behind reads pages of the log.
Nothing waits in memory for a slow listener: it asks for the next page when it has sent the last.
"""

from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from darkroom_api.events import log
from darkroom_api.events.log import Ends, Entry
from darkroom_api.events.watching import Watcher
from darkroom_api.http.errors import RETRY_AFTER, ApiError, Code
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry.metrics import api as metrics

_REMEMBERED: Final = 2000


@dataclass
class Hub(Watcher):
    """What the listeners of this process share.

    Attributes:
        database: of the api.
        most: listeners at a time.
        most_of_user: of one user.
    """

    database: Database
    most: int
    most_of_user: int
    _of: Counter[str] = field(default_factory=Counter)
    _recent: deque[Entry] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _since: int = 0  # all that is later is in `_recent`, while `_reading`
    _read_to: int = 0
    _reading: bool = False

    @asynccontextmanager
    async def listening(self, user: str) -> AsyncIterator[None]:
        """Hold a listener's place for the length of a block.

        Raises:
            ApiError: 429, somebody has too many; 503, there are too many in all.
        """
        if self._of[user] >= self.most_of_user:
            text = f"You listen {self.most_of_user} times already."
            raise ApiError(429, Code.RATE_LIMITED, text, headers={"Retry-After": RETRY_AFTER})
        if self._closed or self._of.total() >= self.most:
            text = "Too many listen already."
            raise ApiError(503, Code.SERVICE_AWAY, text, headers={"Retry-After": RETRY_AFTER})
        self._of[user] += 1
        metrics.EVENT_LISTENERS.set(self._of.total())
        self._wanted.set()
        try:
            yield
        finally:
            self._of[user] -= 1
            self._of = +self._of
            metrics.EVENT_LISTENERS.set(self._of.total())

    async def ends(self) -> Ends:
        """Return the ends of the log.

        Raises:
            DependencyUnavailable: the database is away.
        """
        async with self.database.acquire() as db:
            return await log.ends(db)

    async def after(self, number: int) -> Sequence[Entry]:
        """Return the events that follow a number, so many at a time.

        Raises:
            DependencyUnavailable: the database is away.
        """
        if self._reading and self._since <= number:
            if number >= self._read_to:
                return ()
            return [one for one in self._recent if one.number > number][: log.PAGE]
        return await self._page(number)

    async def _page(self, number: int) -> list[Entry]:
        async with self.database.acquire() as db:
            return await log.page(db, number)

    async def _look(self) -> bool:
        if not self._of:
            self._recent.clear()
            self._reading = False
            return False
        if not self._reading:
            self._since = self._read_to = (await self.ends()).newest
            self._reading = True
            self._tell()
        while found := await self._page(self._read_to):
            for one in found:
                if len(self._recent) == _REMEMBERED:
                    self._since = self._recent[0].number
                self._recent.append(one)
            self._read_to = found[-1].number
            self._tell()
        return True
