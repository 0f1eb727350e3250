"""What operators ask for by the broker: it becomes a job within milliseconds."""

from dataclasses import dataclass
from functools import partial

from darkroom_common.jobs.intake import Intake
from darkroom_common.messages.base import Message
from darkroom_common.messages.commands import ResolveConflict
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.topology import METADATA_CONFLICTS
from darkroom_metadata.conflicts.repository import Resolutions
from darkroom_metadata.conflicts.resolving import Resolver


@dataclass
class Decisions:
    """Takes what the queue `metadata.conflicts` holds."""

    resolver: Resolver
    resolutions: Resolutions

    def __post_init__(self) -> None:
        """Make what keeps the commands."""
        resolver = self.resolver
        self.inbox = Inbox("index", METADATA_CONFLICTS.name)
        self.intake = Intake(resolver.database, self.inbox, resolver.outbox)

    async def handle(self, message: Message) -> None:
        """Keep a decision as a job; a second delivery, or the same job id again, keeps nothing."""
        if not isinstance(message, ResolveConflict):
            raise TypeError(f"{METADATA_CONFLICTS.name} got {message.TYPE}")
        await self.intake.take(message, partial(self._add, message))

    async def _add(self, asked: ResolveConflict, db: Connection) -> bool:
        return await self.resolutions.add(db, asked)
