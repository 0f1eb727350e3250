"""What ingest answers when the worklist is to be changed."""

from dataclasses import dataclass

from pydantic import ValidationError

from darkroom_common.errors import PermanentError
from darkroom_common.messages.base import Reply, Request
from darkroom_common.messages.requests import (
    AddWorklistEntry,
    ChangeWorklistEntry,
    RemoveWorklistEntry,
)
from darkroom_common.specs.worklist.entries import WorklistEntry
from darkroom_common.telemetry.logs import get_logger
from darkroom_ingest.worklist.entries import Entries

log = get_logger(__name__)


class BadBody(PermanentError):
    """What was sealed is not what the request is about."""


@dataclass(frozen=True)
class WorklistRequests:
    """Changes the worklist as it is asked to.

    Attributes:
        entries: None without the keys that they need.
    """

    entries: Entries | None

    async def answer(self, message: Request) -> Reply | None:
        """Do what is asked; return None for a request about something else.

        Raises:
            Refusal: it is not done.
        """
        if not isinstance(message, AddWorklistEntry | ChangeWorklistEntry | RemoveWorklistEntry):
            return None
        if self.entries is None:
            return Reply(outcome="conflict", reason="the worklist needs PHI_KEYS of ingest")
        outcome, by = "done", message.requested_by
        match message:
            case AddWorklistEntry():
                entry = _opened(self.entries, message)
                entry_id = await self.entries.add(entry, by=by, entry_id=message.entry_id)
                outcome = "created"
            case ChangeWorklistEntry():
                entry_id = message.entry_id
                entry = _opened(self.entries, message)
                await self.entries.change(entry_id, entry, by=by, version=message.version)
            case RemoveWorklistEntry():
                entry_id = message.entry_id
                await self.entries.remove(entry_id, version=message.version)
        log.info("worklist.changed", entry=entry_id, request=message.TYPE, by=by)
        return Reply.model_validate({"outcome": outcome, "body": {"entry_id": entry_id}})


def _opened(entries: Entries, message: Request) -> WorklistEntry:
    try:
        return WorklistEntry.model_validate(entries.seal.open(message.sealed, purpose=message.TYPE))
    except ValidationError as error:
        raise BadBody(f"{message.TYPE}: {error.error_count()} values are wrong") from None
