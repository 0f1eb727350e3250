"""Removes rows past their retention, from the oldest end of the chain, by the one way there is.

What is left of them is a checkpoint: where the chain begins now, with a code of ours. The role of
the service cannot remove a row by itself; the function that can keeps the last year, whoever asks.
"""

import asyncio
import datetime as dt
from dataclasses import replace
from typing import Final

from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import AuditKeys, Entry
from darkroom_api.audit.links import Checkpoint
from darkroom_api.audit.log import AuditLog
from darkroom_api.audit.reported import INBOX
from darkroom_common.clock import Clock
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry.logs import get_logger

log = get_logger("darkroom.security")
SECONDS: Final = 3600.0
LINKS: Final = 20
_REDELIVERED: Final = dt.timedelta(days=30)
"""Nothing of the broker comes again later than that."""
_LOCK: Final = "SELECT pg_try_advisory_xact_lock(1684107885)"
_OLD: Final = """
    SELECT l.number, l.mac, l.linked_at, (SELECT max(r.recorded_at) FROM api.audit_log r
        WHERE r.log_id = ANY(l.log_ids)) AS youngest
    FROM api.audit_link l ORDER BY l.number LIMIT $1
"""
_EXPIRE: Final = "SELECT api.audit_expire($1, $2, $3, $4, $5)"


class Expiry:
    """Removes what is older than the retention.

    Args:
        database: where.
        keys: of the codes.
        audit: where the removal itself is written.
        clock: says what is old; the database has its own for the year that is always kept.
        retention: how long rows are kept.
    """

    def __init__(
        self,
        database: Database,
        keys: AuditKeys,
        audit: AuditLog,
        clock: Clock,
        retention: dt.timedelta,
    ) -> None:
        self._database = database
        self._keys = keys
        self._audit = audit
        self._clock = clock
        self._retention = retention

    async def run(self) -> None:
        """Remove every hour what is due, until cancelled."""
        while True:
            try:
                while await self.remove() is not None:
                    pass
                async with self._database.acquire() as db:
                    await INBOX.forget(db, older_than=_REDELIVERED)
            except DependencyUnavailable as error:
                log.warning("audit.kept", reason=str(error))
            await asyncio.sleep(SECONDS)

    async def remove(self) -> int | None:
        """Remove the oldest links that are due; return how many rows went, None without any.

        Raises:
            DependencyUnavailable: the database is away; nothing was removed.
        """
        now = self._clock.now()
        limit = now - self._retention
        async with self._database.transaction() as db:
            if not await db.fetchval(_LOCK):
                return None  # another process is at it
            last = None
            for row in await db.fetch(_OLD, LINKS):
                if max(row["linked_at"], row["youngest"] or row["linked_at"]) >= limit:
                    break
                last = row
            if last is None:
                return None
            draft = Checkpoint(last["number"], last["mac"], now, self._keys.current, b"")
            made = replace(draft, mac=self._keys.mac("checkpoint", draft.covered()))
            removed: int = await db.fetchval(
                _EXPIRE, made.number, made.head, made.removed_at, made.key_id, made.mac
            )
            details = {"link": made.number, "rows": removed, "before": limit.isoformat()}
            await self._audit.add(
                db, [Entry(Action.AUDIT_EXPIRE, "audit", str(made.number), details=details)]
            )
        log.info("audit.expired", link=made.number, rows=removed)
        return removed
