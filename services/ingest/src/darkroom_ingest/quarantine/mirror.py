"""Shows the quarantine of this spool in the database, and does there what operators ask for.

Each ingest has a spool of its own: any of them takes what is asked, as a row that says so, and the
one whose spool it is does it. The files decide, and they need no database: a row follows them
within seconds, also when the command has released or discarded something.
"""

import asyncio
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from darkroom_common.clock import monotonic
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.objects.quarantine import Busy, Entry, NotQuarantined, Quarantine
from darkroom_common.postgres.migrate import IncompatibleSchema, require_compatible
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.resources.resource import NotThere, Refusal, Stale
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.quarantine.command import Desk
from darkroom_ingest.senders.repository import SCHEMA
from darkroom_ingest.settings import IngestSettings

log = get_logger(__name__)
POLL_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 60.0
"""Between two looks at all files; before that only when the directory says that it has changed."""
_BATCH: Final = 500
_PLAIN: Final = re.compile(r"^[\x20-\x7e]{0,16}$")
_UID: Final = re.compile(r"^[0-9.]{1,64}$")
_STATUS: Final = re.compile(r"^[0-9A-Za-z]{1,8}$")
_SEEN: Final = (
    "INSERT INTO ingest.spool (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET seen_at = now()"
)
_THERE: Final = (
    "SELECT receipt FROM ingest.quarantined WHERE spool = $1"
    " AND state IN ('HELD', 'RELEASING', 'DISCARDING')"
)
_ADD: Final = """
    INSERT INTO ingest.quarantined (receipt, spool, reason, status, received_at, size, position,
        calling_ae_title, sop_class_uid, transfer_syntax_uid)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (receipt) DO UPDATE SET spool = excluded.spool, state = 'HELD',
        version = quarantined.version + 1
    WHERE quarantined.state NOT IN ('HELD', 'RELEASING', 'DISCARDING')
        OR quarantined.spool <> excluded.spool
"""
_GONE: Final = """
    UPDATE ingest.quarantined SET state = CASE state WHEN 'RELEASING' THEN 'RELEASED'
        WHEN 'DISCARDING' THEN 'DISCARDED' ELSE 'GONE' END, changed_at = now(),
        version = version + 1
    WHERE spool = $1 AND receipt = ANY($2::text[])
        AND state IN ('HELD', 'RELEASING', 'DISCARDING')
"""
_WANTED: Final = (
    "SELECT receipt, state, forced, changed_by FROM ingest.quarantined WHERE spool = $1"
    " AND state IN ('RELEASING', 'DISCARDING') LIMIT 100"
)
_DONE: Final = """
    UPDATE ingest.quarantined SET state = $3, result = $4, changed_at = now(),
        version = version + 1
    WHERE receipt = $1 AND state = $2
"""
_ASK: Final = """
    UPDATE ingest.quarantined SET state = $2, forced = $3, changed_by = $4, changed_at = now(),
        result = '', version = version + 1
    WHERE receipt = $1 AND state = 'HELD' AND ($5::bigint IS NULL OR version = $5)
    RETURNING state
"""
_STATE: Final = "SELECT state, version FROM ingest.quarantined WHERE receipt = $1"
_FORGET: Final = (
    "DELETE FROM ingest.quarantined WHERE state IN ('RELEASED', 'DISCARDED', 'GONE')"
    " AND changed_at < now() - interval '30 days'"
)
_WANTS: Final = {"release": "RELEASING", "discard": "DISCARDING"}
_ENDS: Final = {"RELEASING": "RELEASED", "DISCARDING": "DISCARDED"}


class TooLate(Refusal):
    """It is not held any more."""

    OUTCOME = "conflict"


@dataclass
class Mirror:
    """The quarantine of this spool and its rows.

    Attributes:
        database: with the rows of all spools.
        settings: what is released is checked with.
        quarantine: the files.
    """

    database: Database
    settings: IngestSettings
    quarantine: Quarantine
    _shown: set[str] | None = None
    _seen_at: int = -1
    _looked_at: float = 0.0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Find out which spool this is."""
        self.spool = _id_of(self.quarantine.directory)

    async def ask(self, receipt: str, action: Literal["release", "discard"], **more: Any) -> str:
        """Take what an operator wants done, for whichever spool; return the state.

        Raises:
            Refusal: there is none of this id, it is of another version, or not held any more.
            DependencyUnavailable: the database is away.
        """
        wanted, version = _WANTS[action], more["version"]
        async with self.database.transaction() as db:
            args = (receipt, wanted, more["force"], more["by"], version)
            state: str | None = await db.fetchval(_ASK, *args)
            row = await db.fetchrow(_STATE, receipt)
        self._wake.set()
        if row is None:
            raise NotThere("no object in quarantine has this id")
        if state is None and row["state"] != wanted:
            if version is not None and row["version"] != version:
                raise Stale("it has been changed meanwhile")
            raise TooLate(f"it is {row['state']} already")
        return wanted

    async def run(self) -> None:
        """Keep the rows as the files are, and do what is asked, for ever; cancel to stop."""
        ready = False
        while True:
            self._wake.clear()
            try:
                if not ready:
                    await require_compatible(
                        self.database, schema=SCHEMA, package="darkroom_ingest"
                    )
                    ready = True
                await self.compare()
                await self.act()
            except (DependencyUnavailable, IncompatibleSchema) as error:
                self._shown = None
                log.info("quarantine.not_shown", reason=str(error))
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def compare(self) -> None:
        """Add rows of what has come, and end those of what has gone."""
        seen_at = self.quarantine.directory.stat().st_mtime_ns
        async with self.database.acquire() as db:
            await db.execute(_SEEN, self.spool)
            if self._shown is None:
                self._shown = {row["receipt"] for row in await db.fetch(_THERE, self.spool)}
                await db.execute(_FORGET)
            elif seen_at == self._seen_at and monotonic() - self._looked_at < LOOK_SECONDS:
                return
            there = await asyncio.to_thread(self.quarantine.ids)
            gone = self._shown - there
            await db.execute(_GONE, self.spool, sorted(gone))
            self._shown -= gone
            come = sorted(there - self._shown)
            for start in range(0, len(come), _BATCH):
                batch = come[start : start + _BATCH]
                found = await asyncio.to_thread(self._entries, batch)
                await db.executemany(_ADD, [self._row(entry) for entry in found])
                self._shown.update(entry.id for entry in found)
        self._seen_at, self._looked_at = seen_at, monotonic()

    def _entries(self, receipts: Sequence[str]) -> list[Entry]:
        found = []
        for receipt in receipts:
            try:
                found.append(self.quarantine.entry(receipt))
            except NotQuarantined:
                continue  # released or discarded meanwhile
        return found

    def _row(self, entry: Entry) -> tuple[Any, ...]:
        told = entry.told
        position = told.get("position")
        return (
            entry.id,
            self.spool,
            entry.reason[:64],
            _plain(told.get("status"), _STATUS),
            entry.at,
            entry.size,
            position if isinstance(position, int) else None,
            _plain(told.get("calling_ae_title"), _PLAIN),
            _plain(told.get("sop_class_uid"), _UID),
            _plain(told.get("transfer_syntax_uid"), _UID),
        )

    async def act(self) -> None:
        """Do what is wanted of this spool."""
        async with self.database.acquire() as db:
            wanted = await db.fetch(_WANTED, self.spool)
        for row in wanted:
            try:
                refusal = await asyncio.to_thread(self._act, row)
            except (Busy, NotQuarantined):
                return  # the command is at work, or was: the next look tells
            except OSError as error:
                log.error("quarantine.not_done", receipt=row["receipt"], reason=error.strerror)
                return
            async with self.database.acquire() as db:
                await self._tell(db, row, refusal)

    def _act(self, row: Any) -> str:
        desk = Desk(self.settings)
        if row["state"] == "RELEASING":
            return desk.release_one(row["receipt"], force=row["forced"], by=row["changed_by"])
        return desk.discard_one(row["receipt"], by=row["changed_by"])

    @staticmethod
    async def _tell(db: Connection, row: Any, refusal: str) -> None:
        ends = "HELD" if refusal else _ENDS[row["state"]]
        await db.execute(_DONE, row["receipt"], row["state"], ends, refusal[:500])


def _plain(value: object, pattern: re.Pattern[str]) -> str:
    """Return what a sender said, if it is what it should be and can be nothing else."""
    return value if isinstance(value, str) and pattern.match(value) else ""


def _id_of(directory: Path) -> uuid.UUID:
    """Return the id of a spool, which is made when it is first asked for."""
    path = directory / ".spool"
    try:
        with path.open("x", encoding="ascii") as file:
            file.write(str(uuid.uuid4()))
    except FileExistsError:
        pass
    return uuid.UUID(path.read_text(encoding="ascii"))
