"""Commands become jobs: each once, and what cannot be taken is refused where people see it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from darkroom_common.errors import PermanentError
from darkroom_common.messages.base import Command
from darkroom_common.messages.events import CommandRefused
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
_REASON_LENGTH: Final = 500


@dataclass(frozen=True)
class Intake:
    """Takes commands of one work queue."""

    database: Database
    inbox: Inbox
    outbox: Outbox

    async def take(self, command: Command, add: Callable[[Connection], Awaitable[bool]]) -> bool:
        """Make a job of a command; return whether there is a new one.

        A second delivery makes none. A command that is at fault is refused for good; its sender
        learns of it by `CommandRefused`.

        Args:
            command: as it was delivered.
            add: adds the job in the transaction it gets, and says whether it is new.
        """
        try:
            async with self.database.transaction() as db:
                new = await self.inbox.first_time(db, command.id) and await add(db)
        except PermanentError as error:
            await self._refuse(command, str(error))
            return False
        if new:
            log.info("job.accepted", type=command.TYPE, message=command.id)
        return new

    async def _refuse(self, command: Command, reason: str) -> None:
        refused = CommandRefused(
            command_id=command.id, type=command.TYPE, reason=reason[:_REASON_LENGTH]
        )
        async with self.database.transaction() as db:
            if await self.inbox.first_time(db, command.id):
                await self.outbox.put(db, refused)
        log.warning("command.refused", type=command.TYPE, message=command.id, reason=reason)
