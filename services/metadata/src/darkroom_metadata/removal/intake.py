"""What people ask for by the broker: it becomes a job within milliseconds."""

from dataclasses import dataclass
from functools import partial

from darkroom_common.jobs.intake import Intake
from darkroom_common.messages.base import Message
from darkroom_common.messages.commands import RecallStudy, RemovePart, RemoveStudy
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.topology import METADATA_REMOVALS
from darkroom_metadata.removal.removing import Remover
from darkroom_metadata.removal.repository import Removals
from darkroom_metadata.tiering.jobs import TierJobs


@dataclass
class RemovalCommands:
    """Takes what the queue `metadata.removals` holds."""

    remover: Remover
    removals: Removals
    recalls: TierJobs

    def __post_init__(self) -> None:
        """Make what keeps the commands."""
        remover = self.remover
        self.inbox = Inbox("index", METADATA_REMOVALS.name)
        self.intake = Intake(remover.database, self.inbox, remover.outbox)

    async def handle(self, message: Message) -> None:
        """Keep what is asked as a job; the same job id again keeps nothing."""
        if isinstance(message, RecallStudy):
            await self.intake.take(message, partial(self.recalls.add, asked=message))
            return
        if not isinstance(message, RemoveStudy | RemovePart):
            raise TypeError(f"{METADATA_REMOVALS.name} got {message.TYPE}")
        await self.intake.take(message, partial(self._add, message))

    async def _add(self, asked: RemoveStudy | RemovePart, db: Connection) -> bool:
        return await self.removals.add(db, asked)
