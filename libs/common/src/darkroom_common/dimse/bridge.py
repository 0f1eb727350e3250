"""Between pynetdicom's threads and the event loop."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVarTuple

Ts = TypeVarTuple("Ts")


class LoopBridge:
    """Lets threads hand results to the loop, and the loop wait for threads to finish."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._busy = 0
        self._changed = threading.Condition()

    def call(self, function: Callable[[*Ts], object], *arguments: *Ts) -> None:
        """Run a function in the loop soon; from any thread."""
        self._loop.call_soon_threadsafe(function, *arguments)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a thread as busy for the length of a block."""
        with self._changed:
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def wait_idle(self, limit: float) -> bool:
        """Return whether no thread is busy, waiting at most `limit` seconds. It blocks."""
        with self._changed:
            return self._changed.wait_for(lambda: self._busy == 0, timeout=limit)
