"""Joins rows to the chain, some hundred at a time, after their transactions have committed.

Nobody who writes a row waits for another: each leaves a note in `api.audit_pending`, in its own
transaction. One process at a time takes what notes there are and makes a link of them. What was
rolled back has left no note, and what commits late is in a later link.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from darkroom_api.audit.anchor import Anchor, AnchorFile
from darkroom_api.audit.entries import AuditKeys
from darkroom_api.audit.links import NOTHING, Checkpoint, Link
from darkroom_api.audit.log import AuditLog
from darkroom_common.clock import Clock
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.lull import Lull
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import api as metrics

log = get_logger("darkroom.security")
ROWS: Final = 500
"""Of a link at most."""
SECONDS: Final = 1.0
TOLD_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 2.0
LOOKED_FOR: Final = 1000
_WHERE: Final = """
    SELECT id, EXISTS (SELECT FROM api.audit_log r WHERE r.log_id = id) AS there,
        EXISTS (SELECT FROM api.audit_pending p WHERE p.log_id = id) AS waits
    FROM unnest($1::uuid[]) AS given (id)
"""
_PUT_BACK: Final = """
    INSERT INTO api.audit_pending (log_id) SELECT id FROM unnest($1::uuid[]) AS given (id)
    WHERE NOT EXISTS (SELECT FROM api.audit_link WHERE log_ids @> ARRAY[id])
    ON CONFLICT DO NOTHING RETURNING log_id
"""
_LOCK: Final = "SELECT pg_try_advisory_xact_lock(1684107884)"
_PENDING: Final = "SELECT log_id FROM api.audit_pending ORDER BY log_id LIMIT $1"
_CODES: Final = "SELECT log_id, mac FROM api.audit_log WHERE log_id = ANY($1::uuid[])"
_HEAD: Final = "SELECT number, mac, log_ids FROM api.audit_link ORDER BY number DESC LIMIT 1"
_LINK: Final = "SELECT mac FROM api.audit_link WHERE number = $1"
_CHECKPOINT: Final = "SELECT * FROM api.audit_checkpoint ORDER BY number DESC LIMIT 1"
_ADD: Final = (
    "INSERT INTO api.audit_link (number, linked_at, previous, log_ids, macs, key_id, mac)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7)"
)
_TAKEN: Final = "DELETE FROM api.audit_pending WHERE log_id = ANY($1::uuid[])"
_OLDEST: Final = (
    "SELECT extract(epoch FROM now() - recorded_at) FROM api.audit_pending JOIN api.audit_log"
    " USING (log_id) ORDER BY log_id LIMIT 1"
)


async def checkpoint(db: Connection) -> Checkpoint | None:
    """Return the last checkpoint, whoever made it."""
    row = await db.fetchrow(_CHECKPOINT)
    if row is None:
        return None
    return Checkpoint(row["number"], row["head"], row["removed_at"], row["key_id"], row["mac"])


class Chain:
    """Makes links.

    Args:
        database: where.
        keys: of the codes.
        clock: for the time of links.
        file: where the last link is kept outside of the database; without, in memory alone.
        handed: counts the rows that this process writes; of those of others nobody tells.
    """

    def __init__(
        self,
        database: Database,
        keys: AuditKeys,
        clock: Clock,
        file: AnchorFile | None = None,
        handed: Callable[[], int] = lambda: 0,
    ) -> None:
        self._handed = handed
        self._database = database
        self._keys = keys
        self._clock = clock
        self._file = file
        self._known = None if file is None else file.read()
        self._broken = False
        self._told = -TOLD_SECONDS

    async def run(self) -> None:
        """Make links until cancelled: each second, unless for some there has been nothing to do."""
        lull = Lull()
        while True:
            handed = self._handed()
            try:
                while joined := await self.join():
                    lull.over()
                    if joined < ROWS:
                        break
            except DependencyUnavailable as error:
                log.warning("audit.waits", reason=str(error))
            for _ in range(round(lull.pause() / SECONDS)):
                await asyncio.sleep(SECONDS)
                if self._handed() != handed:
                    lull.over()
                    break

    async def join(self) -> int:
        """Make one link, if there is anything to join; return how many rows are in it.

        Raises:
            DependencyUnavailable: the database is away; what was to be joined still is.
        """
        async with self._database.transaction() as db:
            if not await db.fetchval(_LOCK):
                return 0  # another process is at it
            metrics.AUDIT_PENDING_SECONDS.set(float(await db.fetchval(_OLDEST) or 0))
            end = await self._end(db)
            ids = [row["log_id"] for row in await db.fetch(_PENDING, ROWS)]
            link = None
            if ids:
                codes = {row["log_id"]: row["mac"] for row in await db.fetch(_CODES, ids)}
                link = self._made(end, ids, [codes.get(one, NOTHING) for one in ids])
                await db.execute(
                    _ADD,
                    link.number,
                    link.linked_at,
                    link.previous,
                    link.log_ids,
                    link.macs,
                    link.key_id,
                    link.mac,
                )
                await db.execute(_TAKEN, ids)
                end = Anchor(link.number, link.mac, link.log_ids)
        if link is not None and NOTHING in link.codes().values():
            log.error("audit.removed", link=link.number)  # the row has gone before it was joined
        await self._remember(end)
        return len(ids)

    def _made(self, end: Anchor, ids: list[uuid.UUID], codes: list[bytes]) -> Link:
        draft = Link(
            number=end.number + 1,
            linked_at=self._clock.now(),
            previous=end.mac,
            log_ids=tuple(ids),
            macs=b"".join(codes),
            key_id=self._keys.current,
            mac=b"",
        )
        return replace(draft, mac=self._keys.mac("link", draft.covered()))

    async def _end(self, db: Connection) -> Anchor:
        """Return the last link; the one that was known to be, if somebody has cut it off."""
        begun = await checkpoint(db)
        row = await db.fetchrow(_HEAD)
        if row is not None:
            end = Anchor(row["number"], row["mac"], tuple(row["log_ids"]))
        else:
            end = Anchor(0, NOTHING) if begun is None else Anchor(begun.number, begun.head)
        known = self._known
        if known is None or await is_in_chain(db, known, begun, self._keys):
            return end
        if not self._broken:
            self._broken = True
            metrics.AUDIT_BROKEN.set(1)
            log.error("audit.broken", known=known.number, found=end.number)
        # The hole stays to be seen: what comes now is joined to what was there.
        return end if end.number > known.number else known

    async def _remember(self, end: Anchor) -> None:
        """Keep the end outside of the database. An anchor that has shown a break stays as it is."""
        if end.number == (0 if self._known is None else self._known.number):
            return
        self._known = end
        if self._file is not None and not self._broken:
            try:
                await asyncio.to_thread(self._file.write, end)
            except OSError as error:
                log.error("audit.anchor", reason=error.strerror)
        if self._clock.monotonic() - self._told >= TOLD_SECONDS:
            self._told = self._clock.monotonic()
            log.info("audit.chained", number=end.number, anchor=f"{end.number}:{end.mac.hex()}")


async def is_in_chain(
    db: Connection, anchor: Anchor, begun: Checkpoint | None, keys: AuditKeys
) -> bool:
    """Tell whether the chain has a link that it has had, or has lost it by its age alone."""
    if begun is not None and anchor.number <= begun.number and begun.is_ours(keys):
        return True
    return bool(anchor.mac == await db.fetchval(_LINK, anchor.number))


class Witness:
    """Sees to it that what this process has written comes into the chain, or that its loss does.

    Between its transaction and its link a row is named nowhere but in a note: whoever takes out
    both would leave no trace. So each process keeps in mind what it has written until that is in a
    link, and puts back the note of what is gone: the next link names the row, as one not there.

    Args:
        database: where they are.
        written: what this process has written; it is taken from there.
    """

    def __init__(self, database: Database, written: AuditLog) -> None:
        self._database = database
        self._written = written.written
        self._waiting: deque[uuid.UUID] = deque()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except DependencyUnavailable as error:
                log.warning("audit.unseen", reason=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> list[uuid.UUID]:
        """Look for all that was written; return what somebody has removed before it was joined.

        Raises:
            DependencyUnavailable: the database is away; what was not seen is looked for again.
        """
        self._waiting.extend(self._written)
        self._written.clear()
        gone: list[uuid.UUID] = []
        for _ in range(0, len(self._waiting), LOOKED_FOR):
            ids = [self._waiting[n] for n in range(min(LOOKED_FOR, len(self._waiting)))]
            async with self._database.transaction() as db:
                rows = await db.fetch(_WHERE, ids)
                lost = [row["id"] for row in rows if not row["there"] and not row["waits"]]
                put_back = await db.fetch(_PUT_BACK, lost) if lost else []
            for _ in ids:
                self._waiting.popleft()
            self._waiting.extend(row["id"] for row in rows if row["waits"])
            gone += [row["log_id"] for row in put_back]
        for one in gone:
            log.error("audit.removed", log_id=str(one))
        return gone
