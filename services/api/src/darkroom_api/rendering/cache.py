"""Answers that were made, kept in memory: they show patients, so none is written to disk."""

from collections import OrderedDict

from darkroom_common.telemetry.metrics import api as metrics


class Cache:
    """The answers that were asked for last, up to a number of bytes.

    Args:
        name: in metrics.
        limit: bytes of all answers together; 0 keeps none.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._asked = {
            outcome: metrics.CACHE_ASKED.labels(name, outcome) for outcome in ("hit", "miss")
        }
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    def get(self, key: bytes) -> bytes | None:
        """Return an answer; None when it is not kept."""
        found = self._kept.get(key)
        self._asked["miss" if found is None else "hit"].inc()
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, body: bytes) -> None:
        """Keep an answer, and forget as many old ones as it takes room."""
        if key in self._kept or len(body) > self._limit:
            return
        self._kept[key] = body
        self._size += len(body)
        while self._size > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest)
