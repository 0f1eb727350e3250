"""Forgets what nothing can ask for any more. Jobs are not among it."""

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


async def tidy(database: Database, inboxes: Sequence[Inbox]) -> None:
    """Forget old rows every hour, until cancelled."""
    while True:
        try:
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
