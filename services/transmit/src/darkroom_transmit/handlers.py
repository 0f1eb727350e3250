"""What transmit does with a command: it becomes a job row within milliseconds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from darkroom_common.jobs.intake import Intake
from darkroom_common.messages.base import Message
from darkroom_common.messages.commands import RetrieveFromRemote, SendObjects, StartMigration
from darkroom_common.postgres.pool import Connection
from darkroom_transmit.migration.repository import MigrationJobs
from darkroom_transmit.retrieval.repository import RetrieveJobs
from darkroom_transmit.sending.repository import SendJobs


@dataclass(frozen=True)
class Handlers:
    """Takes what the queue `transmit.jobs` holds."""

    intake: Intake
    sends: SendJobs
    retrieves: RetrieveJobs
    migrations: MigrationJobs
    wake_lane: Callable[[str], None]

    async def accept_job(self, message: Message) -> None:
        """Keep a request as a job; a second delivery, or the same job id again, keeps nothing."""
        match message:
            case SendObjects():
                if await self.intake.take(message, partial(self._send, message)):
                    self.wake_lane(message.destination)
            case RetrieveFromRemote():
                await self.intake.take(message, partial(self._retrieve, message))
            case StartMigration():
                await self.intake.take(message, partial(self._migrate, message))
            case _:
                raise TypeError(f"transmit.jobs got {message.TYPE}")

    async def _send(self, request: SendObjects, db: Connection) -> bool:
        return await self.sends.add(db, request)

    async def _retrieve(self, request: RetrieveFromRemote, db: Connection) -> bool:
        return await self.retrieves.add(db, request)

    async def _migrate(self, request: StartMigration, db: Connection) -> bool:
        return await self.migrations.add(db, request)
