"""Tells operators by e-mail that a job has failed, or that a commitment has timed out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from darkroom_api.mail.repository import Gathering, Mail, Template
from darkroom_common.messages.base import Message
from darkroom_common.messages.events import JobChanged, PrintJobChanged, TransmitJobChanged
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.pool import Database
from darkroom_common.topology import API_NOTICES

INBOX: Final = Inbox("api", API_NOTICES.name)
_TIMED_OUT: Final = "CommitmentTimeout"
_DOUBTFUL: Final = "UNKNOWN"
"""Of a print job: nobody knows whether there is a film."""

_PATHS: Final = {
    "transmit": "transmit/jobs",
    "print": "print/jobs",
    "retrieve": "retrieve/jobs",
    "export": "exports",
    "bulk": "bulk/jobs",
}
"""Where a job of a kind is, by REST."""


@dataclass(frozen=True)
class Notices:
    """Takes what the queue `api.notices` holds."""

    database: Database
    mail: Mail
    operators: Sequence[str]

    async def handle(self, message: Message) -> None:
        """Put an e-mail for each operator, once for each event."""
        match message:
            case TransmitJobChanged(state="FAILED", job_id=job, destination=lane):
                what, reason = "transmit", message.reason
            case PrintJobChanged(state="FAILED" | "UNKNOWN" as state, job_id=job, printer=lane):
                what, reason = "print", message.reason or (state if state == _DOUBTFUL else "")
            case JobChanged(state="FAILED", kind=what, job_id=job, lane=lane):
                reason = message.reason
            case TransmitJobChanged() | PrintJobChanged() | JobChanged():
                return
            case _:
                raise TypeError(f"{API_NOTICES.name} got {message.TYPE}")
        template: Template = "commitment_timed_out" if reason == _TIMED_OUT else "job_failed"
        values = {"what": what, "lane": lane, "reason": reason, "path": _PATHS[what]}
        gathering = Gathering(f"{template} {what} {lane}", job)
        async with self.database.transaction() as db:
            if await INBOX.first_time(db, message.id):
                for address in self.operators:
                    await self.mail.put(db, template, address, values, gathering)
