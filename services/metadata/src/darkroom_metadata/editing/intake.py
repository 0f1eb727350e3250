"""What people ask for by the broker: it becomes a job within milliseconds."""

from dataclasses import dataclass
from functools import partial

from darkroom_common.jobs.intake import Intake
from darkroom_common.messages.base import Message
from darkroom_common.messages.commands import EditStudies
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.topology import METADATA_EDITS
from darkroom_metadata.editing.editor import Editor
from darkroom_metadata.editing.repository import Edits


@dataclass
class EditCommands:
    """Takes what the queue `metadata.edits` holds."""

    editor: Editor
    edits: Edits

    def __post_init__(self) -> None:
        """Make what keeps the commands."""
        editor = self.editor
        self.inbox = Inbox("index", METADATA_EDITS.name)
        self.intake = Intake(editor.database, self.inbox, editor.outbox)

    async def handle(self, message: Message) -> None:
        """Keep an edit as a job; a second delivery, or the same job id again, keeps nothing."""
        if not isinstance(message, EditStudies):
            raise TypeError(f"{METADATA_EDITS.name} got {message.TYPE}")
        await self.intake.take(message, partial(self._add, message))

    async def _add(self, asked: EditStudies, db: Connection) -> bool:
        return await self.edits.add(db, asked)
