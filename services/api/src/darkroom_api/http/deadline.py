"""How long a request may take: one limit for all that it waits for, of whatever kind.

When it has passed, whatever is waited for is given up: a connection of the pool, a statement, a
reply. An answer that has begun is bounded by its progress instead.
"""

import asyncio
from types import TracebackType
from typing import Final, Self

from starlette.types import Scope

SECONDS: Final = 8.0
"""To the first byte of an answer. What is given up has 1.5 s more: 10 s in all."""
BETWEEN_PARTS: Final = 30.0
"""From one part of an answer to the next. How long the client takes for each is not ours to say."""
_MARGIN: Final = 2.0
_STATE: Final = "deadline"


class Deadline:
    """Limits the work on a request to the length of a block, which raises TimeoutError.

    It is looked after by a timer that is seldom set anew.

    Attributes:
        by_client: whether it was the rest of a body that was waited for.
    """

    def __init__(self, scope: Scope) -> None:
        self.by_client = False
        scope["state"][_STATE] = self
        self._timeout = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._until: float | None = None
        self._over = False
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._timeout.__aenter__()
        self.allow(SECONDS)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Look after it no longer."""
        self._over = True
        self._stop()
        await self._timeout.__aexit__(kind, error, at)

    def allow(self, seconds: float | None) -> None:
        """Let it take so long from now on; None stops the clock."""
        self._until = None if seconds is None else self._loop.time() + seconds
        if self._until is None or self._over:
            return
        if self._timer is None or self._timer.when() > self._until:
            self._stop()
            self._timer = self._loop.call_at(self._until, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._until is None:
            return
        if self._until > self._loop.time():
            self._timer = self._loop.call_at(self._until, self._look)
        elif not self._timeout.expired():
            self._timeout.reschedule(self._loop.time())

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def whole_body_missing(scope: Scope) -> None:
    """Keep that a request was given up while the client had not sent all of its body."""
    deadline: Deadline | None = scope["state"].get(_STATE)
    if deadline is not None:
        deadline.by_client = True


def wait_for_another(scope: Scope, seconds: float) -> None:
    """Let a request take longer than others, since it waits for a node or a drawing."""
    deadline: Deadline | None = scope["state"].get(_STATE)
    if deadline is not None and seconds + _MARGIN > SECONDS:
        deadline.allow(seconds + _MARGIN)
