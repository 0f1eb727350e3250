"""Tells how far a job of sending is, and when it is over: for those who wait for it elsewhere."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from darkroom_common.clock import monotonic
from darkroom_common.postgres.pool import Database
from darkroom_transmit.sending.repository import SendJobs

MOST: Final = 24
"""Who wait at a time; all others are answered at once, and come again."""
LOOK_SECONDS: Final = 0.1
"""Between two looks at a job that another process may be sending."""


@dataclass
class Followers:
    """Those who wait for the end of jobs.

    Attributes:
        database: of transmit.
        jobs: whose ends this process hears of as they are committed.
    """

    database: Database
    jobs: SendJobs
    _waiting: dict[str, set[asyncio.Event]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hear of ends."""
        self.jobs.table.on_over(self._over)

    def _over(self, job_id: str) -> None:
        for event in self._waiting.get(job_id, ()):
            event.set()

    async def follow(self, job_id: str, *, named: bool, seconds: float) -> dict[str, Any] | None:
        """Return how far a job is, see `SendJobs.followed`, after a time or when it is over.

        Args:
            job_id: of the job.
            named: whether what was not sent is named before it is over.
            seconds: that may pass until then.
        """
        if sum(map(len, self._waiting.values())) >= MOST:
            seconds = 0.0
        deadline = monotonic() + seconds
        event = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(event)
        try:
            while True:
                async with self.database.acquire() as db:
                    found = await self.jobs.followed(db, job_id, named=named)
                left = deadline - monotonic()
                if left <= 0 or (found is not None and found["over"]):
                    return found
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, LOOK_SECONDS)):
                        await event.wait()
                event.clear()
        finally:
            self._waiting[job_id].discard(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]
