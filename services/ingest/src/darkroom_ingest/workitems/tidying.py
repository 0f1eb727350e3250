"""Removes workitems that have long ended, and reports that nobody has come for."""

import asyncio
from typing import Final

import asyncpg

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.pool import Database
from darkroom_common.specs.worklist.workitems import GOING_DOWN, SCP_STATUS, WORKLIST
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.workitems.subscriptions import GLOBAL, KEPT_DAYS, KEPT_REPORTS
from darkroom_ingest.worklist.entries import Entries

log = get_logger(__name__)
SECONDS: Final = 600.0
LAST_WORD_SECONDS: Final = 2.0
_ENDED: Final = """
    WITH old AS (
        SELECT sop_instance_uid AS uid FROM ingest.workitem w
        WHERE state IN ('COMPLETED', 'CANCELED') AND updated_at < now() - make_interval(days => $1)
            AND NOT EXISTS (
                SELECT FROM ingest.subscription WHERE target = w.sop_instance_uid AND deletion_lock)
        ORDER BY updated_at LIMIT 1000 FOR UPDATE SKIP LOCKED
    ), removed AS (
        DELETE FROM ingest.workitem USING old WHERE sop_instance_uid = old.uid
    ), told AS (
        DELETE FROM ingest.subscription USING old WHERE target = old.uid
    )
    INSERT INTO ingest.workitem_gone (sop_instance_uid)
    SELECT uid FROM old ON CONFLICT DO NOTHING RETURNING true
"""
_FORGOTTEN: Final = (
    "DELETE FROM ingest.workitem_gone WHERE gone_at < now() - make_interval(days => $1)"
)
_OLD: Final = (
    "DELETE FROM ingest.workitem_report WHERE created_at < now() - make_interval(days => $1)"
)
_TOO_MANY: Final = """
    DELETE FROM ingest.workitem_report r USING (
        SELECT ae_title, number, row_number() OVER (PARTITION BY ae_title ORDER BY number DESC) n
        FROM ingest.workitem_report) ranked
    WHERE ranked.n = $1 AND r.ae_title = ranked.ae_title AND r.number < ranked.number
"""


_STATUS: Final = """
    INSERT INTO ingest.workitem_report (ae_title, sop_instance_uid, event_type, state, readiness)
    SELECT DISTINCT ae_title, $1::text, $2::smallint, $4::text, ''
    FROM ingest.subscription WHERE target = ANY($3::text[])
"""


async def tidy_workitems(entries: Entries | None, days: int) -> None:
    """Say that this service has been restarted, and remove what has had its time, for ever."""
    said = False
    while entries is not None:
        try:
            said = said or await _say(entries.database, "")
            await tidy_once(entries.database, days)
        except (DependencyUnavailable, asyncpg.PostgresError) as error:
            log.warning("workitems.not_tidied", reason=type(error).__name__)
        await asyncio.sleep(SECONDS)


async def say_going_down(entries: Entries | None) -> None:
    """Say that this service ends, as far as that takes no time."""
    if entries is None:
        return
    try:
        async with asyncio.timeout(LAST_WORD_SECONDS):
            await _say(entries.database, GOING_DOWN)
    except (TimeoutError, DependencyUnavailable, asyncpg.PostgresError) as error:
        log.warning("workitems.end_not_told", reason=type(error).__name__)


async def _say(database: Database, status: str) -> bool:
    """Tell those that follow the worklist (PS3.4 section CC.2.4); return true.

    Args:
        database: of ingest.
        status: of the SCP; empty: it has been restarted.
    """
    async with database.transaction() as db:
        await db.execute(_STATUS, WORKLIST, SCP_STATUS, list(GLOBAL), status)
    return True


async def tidy_once(database: Database, days: int) -> None:
    """Do so once.

    Args:
        database: of ingest.
        days: that what has ended is kept; 0: for ever. That it was there is known as long again.
    """
    if days:
        async with database.transaction() as db:
            removed = await db.fetch(_ENDED, days)
            await db.execute(_FORGOTTEN, days)
        if removed:
            log.info("workitems.removed", count=len(removed))
    async with database.transaction() as db:
        await db.execute(_OLD, KEPT_DAYS)
        await db.execute(_TOO_MANY, KEPT_REPORTS)
