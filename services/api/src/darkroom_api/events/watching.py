"""Looks for what is new in the database, for all who wait for it in this process."""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.telemetry.logs import get_logger

logger = get_logger(__name__)
POLL_SECONDS: Final = 0.5


@dataclass
class Watcher(ABC):
    """Looks every half second while anybody waits."""

    _news: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _closed: bool = field(default=False, init=False)

    @abstractmethod
    async def _look(self) -> bool:
        """Look once, and `_tell` of what is new; return whether anybody waits.

        Raises:
            DependencyUnavailable: the database is away.
        """
        ...

    @property
    def closed(self) -> bool:
        """Whether this process stops."""
        return self._closed

    @property
    def news(self) -> asyncio.Event:
        """What is set when there is something new from now on, or the process stops."""
        return self._news

    async def run(self) -> None:
        """Look while anybody waits, until cancelled; then nobody does any more."""
        try:
            while True:
                await self._wanted.wait()
                try:
                    if not await self._look():
                        self._wanted.clear()
                        continue
                except DependencyUnavailable as error:
                    logger.warning("news.wait", of=type(self).__name__, reason=str(error))
                await asyncio.sleep(POLL_SECONDS)
        finally:
            self._closed = True
            self._tell()

    def _tell(self) -> None:
        """Wake whoever waits now."""
        waking, self._news = self._news, asyncio.Event()
        waking.set()
