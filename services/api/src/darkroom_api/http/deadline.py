"""How long a request may take: one limit for all that it waits for, of whatever kind.

When it has passed, whatever is waited for is given up: a connection of the pool, a statement, a
reply. An answer that has begun is bounded by its progress instead.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.types import Scope

SECONDS: Final = 8.0
"""To the first byte of an answer. What is given up has 1.5 s more: 10 s in all."""
BETWEEN_PARTS: Final = 30.0
"""From one part of an answer to the next. How long the client takes for each is not ours to say."""
_MARGIN: Final = 2.0
_STATE: Final = "deadline"


class Deadline:
    """The limit of one request."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()

    def allow(self, seconds: float | None) -> None:
        """Let it take so long from now on; None stops the clock."""
        if not self._timeout.expired():
            self._timeout.reschedule(None if seconds is None else self._loop.time() + seconds)


@asynccontextmanager
async def begin(scope: Scope) -> AsyncIterator[Deadline]:
    """Limit the work on a request to the length of a block.

    Raises:
        TimeoutError: it has taken too long.
    """
    async with asyncio.timeout(SECONDS) as timeout:
        deadline = scope["state"][_STATE] = Deadline(timeout)
        yield deadline


def wait_for_another(scope: Scope, seconds: float) -> None:
    """Let a request take longer than others, since it waits for a node or a drawing."""
    deadline: Deadline | None = scope["state"].get(_STATE)
    if deadline is not None and seconds + _MARGIN > SECONDS:
        deadline.allow(seconds + _MARGIN)
