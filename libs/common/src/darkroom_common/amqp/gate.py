"""Pauses a consumer while nearly everything fails, and probes until it works again."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics

log = get_logger(__name__)
WINDOW: Final = 20
SHARE: Final = 0.8
FIRST_DELAY: Final = 0.5  # seconds
LAST_DELAY: Final = 15.0
"""Between probes while a dependency is away: nothing could be done anyway."""
LAST_DELAY_OF_FAILURES: Final = 1.0
"""Between messages while nearly all fail: slow enough for somebody to notice before the queue is
in the dead letters, fast enough to come to the good messages behind the bad ones."""


@dataclass
class Gate:
    """Open: all pass. Closed: one at a time passes as a probe, with growing pauses between."""

    queue: str
    _outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _opened: asyncio.Event = field(default_factory=asyncio.Event)
    _probing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _delay: float = FIRST_DELAY
    _last_delay: float = LAST_DELAY

    def __post_init__(self) -> None:
        """Start open."""
        self._opened.set()
        metrics.CONSUMER_PAUSED.labels(self.queue).set(0)

    @property
    def is_open(self) -> bool:
        """Whether work passes freely."""
        return self._opened.is_set()

    async def enter(self) -> None:
        """Return when the caller may work; while closed, after a pause and one at a time."""
        while not self._opened.is_set():
            async with self._probing:
                if self._opened.is_set():
                    return
                try:
                    async with asyncio.timeout(self._delay):
                        await self._opened.wait()
                except TimeoutError:
                    self._delay = min(self._delay * 2, self._last_delay)
                    return

    def succeeded(self) -> None:
        """Record work that went well: it opens the gate."""
        self._outcomes.append(True)
        if not self._opened.is_set():
            log.info("consumer.resumed", queue=self.queue)
            self._outcomes.clear()
            self._delay = FIRST_DELAY
            self._opened.set()
            metrics.CONSUMER_PAUSED.labels(self.queue).set(0)

    def failed(self) -> None:
        """Record a failure of one message: many of them in a row close the gate."""
        self._outcomes.append(False)
        bad = self._outcomes.count(False)
        if len(self._outcomes) == WINDOW and bad >= SHARE * WINDOW:
            self.close(reason="nearly everything fails", last_delay=LAST_DELAY_OF_FAILURES)

    def close(self, *, reason: str, last_delay: float = LAST_DELAY) -> None:
        """Pause; probe after `FIRST_DELAY`, then more and more seldom up to `last_delay`."""
        self._last_delay = last_delay
        self._delay = min(self._delay, last_delay)
        if self._opened.is_set():
            log.warning("consumer.paused", queue=self.queue, reason=reason)
            self._opened.clear()
            metrics.CONSUMER_PAUSED.labels(self.queue).set(1)
