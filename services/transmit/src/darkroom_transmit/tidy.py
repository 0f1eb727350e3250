"""Forgets what nothing can ask for any more, and jobs that have ended well long ago."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
EVERY_SECONDS: Final = 3600.0
INBOX_KEPT: Final = timedelta(days=7)
ARRIVAL_KEPT: Final = timedelta(days=365)
"""How a study came; a rule that looks at it later finds no AE titles."""


_JOBS_AT_ONCE: Final = 20
"""With them go their instances: thousands of each."""
_FORGET_JOBS: Final = (
    "DELETE FROM transmit.job WHERE id IN (SELECT id FROM transmit.job"
    " WHERE state IN ('SENT', 'COMMITTED', 'CANCELLED') AND commitment NOT IN ('wanted', 'asked')"
    " AND finished_at < now() - $1::interval ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)"
)


async def forget_jobs(database: Database, *, older_than: timedelta) -> int:
    """Remove jobs that ended well or were cancelled so long ago; return how many.

    FAILED ones stay, and those that wait for storage commitment. What rules have sent stays known.

    Raises:
        DependencyUnavailable: those that were removed before are gone all the same.
    """
    gone = 0
    while True:
        async with database.transaction() as db:
            tag = await db.execute(_FORGET_JOBS, older_than, _JOBS_AT_ONCE)
        count = int(tag.rpartition(" ")[2])
        gone += count
        if count < _JOBS_AT_ONCE:
            return gone


async def tidy(database: Database, inboxes: Sequence[Inbox], *, job_days: int) -> None:
    """Forget old rows every hour, until cancelled.

    Args:
        database: ours.
        inboxes: ours.
        job_days: for which jobs that have ended well are kept; 0 for ever.
    """
    while True:
        try:
            if job_days:
                gone = await forget_jobs(database, older_than=timedelta(days=job_days))
                if gone:
                    log.info("jobs.forgotten", jobs=gone)
            async with database.transaction() as db:
                for inbox in inboxes:
                    await inbox.forget(db, older_than=INBOX_KEPT)
                await db.execute(
                    "DELETE FROM transmit.arrival WHERE first_at < now() - $1::interval",
                    ARRIVAL_KEPT,
                )
        except DependencyUnavailable as error:
            log.warning("tidy.waits", reason=str(error))
        await asyncio.sleep(EVERY_SECONDS)
