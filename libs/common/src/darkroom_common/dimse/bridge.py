"""Between the threads of associations and the rest of the process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Busy:
    """Lets the process wait for its threads to finish what they are at."""

    def __init__(self) -> None:
        self._busy = 0
        self._changed = threading.Condition()

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
