"""Associations of all services, as rows of the audit log."""

from typing import Final

from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import Entry, address_in
from darkroom_api.audit.log import AuditLog
from darkroom_common.messages.base import Message
from darkroom_common.messages.events import AssociationItem, AssociationsEnded
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.pool import Database
from darkroom_common.topology import API_AUDIT

INBOX: Final = Inbox("api", API_AUDIT.name)
NODE: Final = "ae:"
"""Before the AE title of another node, where a user's id would stand."""


class Associations:
    """Takes what services tell of their associations.

    Args:
        database: of the api.
        audit: takes the rows.
    """

    def __init__(self, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit

    async def take(self, message: Message) -> None:
        """Write a row for each association that has not come before."""
        if not isinstance(message, AssociationsEnded):
            raise TypeError(f"{API_AUDIT.name} got {message.TYPE}")
        by_id = {item.receipt: item for item in message.items}
        async with self._database.transaction() as db:
            fresh = await INBOX.first_times(db, list(by_id))
            entries = [entry_of(item) for key, item in by_id.items() if key in fresh]
            if entries:
                await self._audit.add(db, entries)


def entry_of(item: AssociationItem) -> Entry:
    """Return what is kept of an association."""
    other = item.calling_ae_title if item.direction == "in" else item.called_ae_title
    details = item.model_dump(
        mode="json", exclude={"receipt", "traceparent", "ended_at"}, exclude_defaults=True
    )
    return Entry(
        Action.DICOM_ASSOCIATION,
        "association",
        item.receipt,
        user_id=f"{NODE}{other}" if other else "",
        username=other,
        address=address_in(item.peer),
        outcome="success" if item.result == "released" and not item.failures else "failure",
        details=details,
        at=item.ended_at,
    )
