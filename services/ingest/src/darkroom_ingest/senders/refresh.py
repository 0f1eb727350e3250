"""Keeps the list of senders as the database has it, for as long as the database answers."""

import asyncio
from contextlib import suppress
from typing import Any, Final

import asyncpg

from darkroom_common.errors import DependencyUnavailable, Unhealthy
from darkroom_common.postgres.migrate import IncompatibleSchema, require_compatible
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_ingest.senders.admission import Absence, Policy, Roster
from darkroom_ingest.senders.repository import CHANNEL, SCHEMA, read_roster
from darkroom_ingest.senders.roster import NOT_UNDERSTOOD, BrokenRoster, RosterCopy

log = get_logger(__name__)
POLL_SECONDS: Final = 3.0
"""Between two looks when nothing is heard: a notification may be lost with its connection."""
_READ_LIMIT: Final = 10.0


class Refresh:
    """Copies the list from the database: when it tells of a change, and every few seconds."""

    def __init__(self, database: Database, copy: RosterCopy, policy: Policy) -> None:
        self._database = database
        self._copy = copy
        self._policy = policy
        self._trouble = ""
        if policy.accept_unknown:
            whom = "nearby: any AE near us" if policy.only_nearby else "accept: any AE"
            log.warning("senders.open", reason=f"UNKNOWN_AE is {whom} may send")
        if isinstance(copy.roster, Absence):
            log.warning(
                "senders.not_known",
                reason=copy.roster.value,
                answer="accept" if self._accepts_without else "reject",
            )

    @property
    def _accepts_without(self) -> bool:
        return self._policy.accept_unknown and self._copy.roster is Absence.NEVER_READ

    async def check(self) -> None:
        """Raise `Unhealthy` while everybody is rejected because nobody knows who is listed."""
        if isinstance(self._copy.roster, Absence) and not self._accepts_without:
            raise Unhealthy(f"every association is rejected: {self._copy.roster.value}")

    async def check_database(self) -> None:
        """Raise `Unhealthy` while the list cannot be read from the database."""
        if self._trouble:
            raise Unhealthy(self._trouble)

    async def run(self) -> None:
        """Follow the database for ever."""
        while True:
            try:
                await require_compatible(self._database, schema=SCHEMA, package="darkroom_ingest")
                async with self._database.session() as db:
                    await self._follow(db)
            except DependencyUnavailable as error:
                self._failed("away", str(error))
            except IncompatibleSchema as error:
                self._failed("schema", str(error))
            except BrokenRoster:
                self._failed("row", "a row of the list of senders makes no sense")
            except asyncpg.PostgresError as error:  # whatever it says, receiving goes on
                self._failed("refused", f"PostgreSQL: {type(error).__name__}")
            with suppress(OSError):  # what the next read from the database tells
                self._copy.keep()
            await asyncio.sleep(POLL_SECONDS)

    async def _follow(self, db: Connection) -> None:
        changed = asyncio.Event()

        def heard(*_: Any) -> None:
            changed.set()

        await db.add_listener(CHANNEL, heard)
        try:
            while True:
                changed.clear()
                self._take(await read_roster(db, limit=_READ_LIMIT))
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await changed.wait()
        finally:
            if not db.is_closed():
                await db.remove_listener(CHANNEL, heard)

    def _take(self, roster: Roster) -> None:
        metrics.SENDERS.set(len(roster.senders))
        try:
            self._copy.keep()
            if roster != self._copy.roster:
                self._copy.put(roster)
                log.info("senders.taken", senders=len(roster.senders), called=len(roster.called))
                if not roster.senders and not self._policy.accept_unknown:
                    log.warning("senders.none_listed", reason="every association is rejected")
        except OSError as error:
            self._failed("copy", f"the copy of the list is not written: {error.strerror}")
            return
        unknown = [one.ae_title for one in roster.senders if one.description == NOT_UNDERSTOOD]
        if unknown:
            text = f"a row of the list of senders makes no sense, rejected: {', '.join(unknown)}"
            self._failed("row", text)
            return
        if self._trouble:
            log.info("senders.followed_again")
        self._trouble = ""

    def _failed(self, reason: str, text: str) -> None:
        metrics.SENDERS_NOT_READ.labels(reason).inc()
        if text != self._trouble:
            log.warning("senders.not_read", reason=text)
        self._trouble = text
