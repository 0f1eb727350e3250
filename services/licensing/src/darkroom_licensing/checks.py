"""What has been in force, in PostgreSQL, and how the others hear of it."""

import asyncio
from datetime import timedelta
from typing import Final

from darkroom_common.errors import TransientError
from darkroom_common.jobs.tidy import rows
from darkroom_common.messages.base import Message
from darkroom_common.messages.commands import ValidateLicence
from darkroom_common.messages.events import LicenceChecked
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger
from darkroom_licensing.licence import Licence, show

log = get_logger(__name__)
LOOK_SECONDS: Final = 15.0
"""Between looks at the clock; Odoo is asked more rarely."""
CHECKS_KEPT: Final = timedelta(days=365)
_OLD: Final = (
    "DELETE FROM licensing.licence_check WHERE id IN (SELECT id FROM licensing.licence_check"
    " WHERE checked_at < now() - $1::interval"
    " AND id < (SELECT max(id) FROM licensing.licence_check) ORDER BY id LIMIT $2)"
)
OLD_CHECKS: Final = rows("licence checks", _OLD, CHECKS_KEPT)
"""The last one stays, however old it is: it is in force."""
_ADD: Final = (
    "INSERT INTO licensing.licence_check (state, reason, requested_by, told)"
    " VALUES ($1, $2, $3, '') RETURNING id"
)
_TOLD: Final = "UPDATE licensing.licence_check SET told = $2 WHERE id = $1"
_NOT_COMPARED: Final = {"id", "occurred_at", "confirmed_at", "number"}


class Checks:
    """Looks at the licence and tells what has changed.

    Args:
        licence: what is in force.
        database: with the table `licence_check`.
        inbox: of the commands.
        outbox: for the events.
    """

    def __init__(self, licence: Licence, database: Database, inbox: Inbox, outbox: Outbox) -> None:
        self._licence = licence
        self._database = database
        self._inbox = inbox
        self._outbox = outbox
        self._told: LicenceChecked | None = None

    async def run(self) -> None:
        """Look again and again, until cancelled. What cannot be told is told at the next look."""
        while True:
            try:
                await self.look()
            except TransientError as error:
                log.warning("licence.untold", reason=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> LicenceChecked:
        """Look once; tell the others when it is not what they were told.

        Raises:
            TransientError: the database is away.
        """
        standing = await self._licence.standing()
        show(standing)
        event = self._licence.event(standing)
        if self._told is None or _content(event) != _content(self._told):
            async with self._database.transaction() as db:
                await self._tell(db, event, "")
            self._now_told(event)
        return event

    async def handle(self, message: Message) -> None:
        """Ask now and tell the outcome, once for each request."""
        if not isinstance(message, ValidateLicence):
            raise TypeError(f"licensing.requests got {message.TYPE}")
        standing = await self._licence.standing(ask=True)
        show(standing)
        event = self._licence.event(standing)
        async with self._database.transaction() as db:
            if not await self._inbox.first_time(db, message.id):
                return
            await self._tell(db, event, message.requested_by)
        self._now_told(event)

    async def _tell(self, db: Connection, event: LicenceChecked, by: str) -> None:
        number = await db.fetchval(_ADD, event.state, event.reason, by)
        numbered = event.model_copy(update={"number": number})
        await db.execute(_TOLD, number, numbered.to_body().decode())
        await self._outbox.put(db, numbered)

    def _now_told(self, event: LicenceChecked) -> None:
        self._told = event
        log.info(
            "licence.checked",
            state=event.state,
            reason=event.reason,
            read_only=event.read_only,
            stage=event.stage,
        )


def _content(event: LicenceChecked) -> dict[str, object]:
    return event.model_dump(exclude=_NOT_COMPARED)
