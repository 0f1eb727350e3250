"""Turns at what costs the database most, so that one user's searches never stop the others'."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class _Line:
    turn: asyncio.Semaphore
    length: int = 0


@dataclass
class Turns:
    """So many at once, and so many of each user; the others wait.

    Attributes:
        at_once: of all.
        of_each: of one user.
    """

    at_once: int
    of_each: int
    _lines: dict[Hashable, _Line] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the turn of all."""
        self._all = asyncio.Semaphore(self.at_once)

    @asynccontextmanager
    async def of(self, user: Hashable) -> AsyncIterator[None]:
        """Hold a turn for the length of a block. The wait ends with the request's deadline."""
        line = self._lines.setdefault(user, _Line(asyncio.Semaphore(self.of_each)))
        line.length += 1
        try:
            async with line.turn, self._all:
                yield
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[user]
