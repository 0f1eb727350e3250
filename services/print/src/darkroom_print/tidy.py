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
_AT_ONCE: Final = 100
_FORGET: Final = (
    "DELETE FROM print.job WHERE id IN (SELECT id FROM print.job"
    " WHERE state IN ('DONE', 'CANCELLED') AND rule = '' AND finished_at < now() - $1::interval"
    " ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)"
)
_EMPTY: Final = (
    "UPDATE print.job SET sealed = '', sop_instance_uids = '{}' WHERE id IN (SELECT id"
    " FROM print.job WHERE state = 'DONE' AND rule <> '' AND sealed <> ''"
    " AND finished_at < now() - $1::interval ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)"
)
"""A job of a rule stays as a name: the study is not printed again when it is complete once more."""


async def forget_jobs(database: Database, *, older_than: timedelta) -> int:
    """Forget jobs that were printed or cancelled so long ago; return how many.

    Those that failed, and those of which nobody knows whether a film came out, stay.

    Raises:
        DependencyUnavailable: those that were forgotten before are gone all the same.
    """
    gone = 0
    for statement in (_FORGET, _EMPTY):
        count = _AT_ONCE
        while count == _AT_ONCE:
            async with database.transaction() as db:
                tag = await db.execute(statement, older_than, _AT_ONCE)
            count = int(tag.rpartition(" ")[2])
            gone += count
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
        except DependencyUnavailable as error:
            log.warning("tidy.waits", reason=str(error))
        await asyncio.sleep(EVERY_SECONDS)
