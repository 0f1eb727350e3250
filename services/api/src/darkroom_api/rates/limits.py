"""Limits by count: one statement a request; what was refused is remembered without any."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage

from darkroom_api.http.errors import ApiError, rate_limited
from darkroom_api.rates.classes import Class
from darkroom_api.rates.storage import PostgresStorage, Taken
from darkroom_api.rates.window import Window
from darkroom_common.clock import Clock
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import api as metrics

log = get_logger(__name__)
WAIT_SECONDS: Final = 1.0
"""For the shared count. Then this replica counts for itself."""
AWAY_SECONDS: Final = 5.0
"""For which the shared count is not asked again after it did not answer."""
REMEMBERED: Final = 10_000


@dataclass
class RateLimits:
    """Counts requests by class and by who asks.

    While the database is away each replica counts for itself, in memory, from nothing.

    Attributes:
        storage: the counts that all replicas share.
        limits: by class; what is not there is not counted.
    """

    storage: PostgresStorage
    limits: dict[Class, RateLimitItem]
    clock: Clock
    _own: MemoryStorage = field(default_factory=MemoryStorage)
    _refused: dict[str, float] = field(default_factory=dict)
    _away_until: float = 0.0

    async def take(self, kind: Class, who: str) -> dict[str, str]:
        """Count a request and return the headers that say what is left.

        Raises:
            ApiError: 429.
        """
        item = self.limits.get(kind)
        if item is None:
            return {}
        key = item.key_for(kind, who)
        wait = self._refused.get(key, 0.0) - self.clock.monotonic()
        if wait > 0:
            raise self.refuse(kind, int(wait) + 1)
        taken = await self._take(key, item)
        window = taken.window
        if not taken.fits:
            self._remember(key, window.free_in)
            raise self.refuse(kind, window.free_in, window)
        return headers(kind, window)

    async def is_used_up(self, kind: Class, who: str) -> bool:
        """Tell whether nothing is left, and count nothing."""
        item = self.limits[kind]
        key = item.key_for(kind, who)
        return not (await self._take(key, item, 0)).window.left

    async def count(self, kind: Class, who: str) -> None:
        """Count what has happened, if it is within the limit."""
        item = self.limits[kind]
        await self._take(item.key_for(kind, who), item)

    def refuse(self, kind: Class, seconds: int, window: Window | None = None) -> ApiError:
        """Return the answer to who has had enough, and count it."""
        metrics.RATE_LIMITED.labels(kind).inc()
        fault = rate_limited(seconds)
        if window is not None:
            fault.headers |= headers(kind, window)
        return fault

    async def _take(self, key: str, item: RateLimitItem, amount: int = 1) -> Taken:
        limit, expiry = item.amount, item.get_expiry()
        if self.clock.monotonic() >= self._away_until:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    return await self.storage.take(key, limit, expiry, amount)
            except (DependencyUnavailable, TimeoutError) as error:
                log.warning("rates.unshared", reason=type(error).__name__)
                self._away_until = self.clock.monotonic() + AWAY_SECONDS
        fits = await self._own.acquire_sliding_window_entry(key, limit, expiry, amount)
        previous, left, current, _ = await self._own.get_sliding_window(key, expiry)
        return Taken(fits, Window(limit, expiry, previous, current, 1 - left / expiry))

    def _remember(self, key: str, seconds: int) -> None:
        if len(self._refused) >= REMEMBERED:
            self._refused.clear()
        self._refused[key] = self.clock.monotonic() + seconds


def headers(kind: Class, window: Window) -> dict[str, str]:
    """Return `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10)."""
    return {
        "RateLimit-Policy": f'"{kind}";q={window.limit};w={window.seconds}',
        "RateLimit": f'"{kind}";r={window.left};t={window.ends_in}',
    }
