"""What licensing does with a message."""

from datetime import timedelta
from typing import Final

from darkroom_common.jobs.tidy import rows
from darkroom_common.messages.base import Message
from darkroom_common.messages.commands import ValidateLicence
from darkroom_common.messages.events import LicenceChecked
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry import metrics
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
CHECKS_KEPT: Final = timedelta(days=365)
_OLD: Final = (
    "DELETE FROM licensing.licence_check WHERE id IN (SELECT id FROM licensing.licence_check"
    " WHERE checked_at < now() - $1::interval"
    " AND id < (SELECT max(id) FROM licensing.licence_check) ORDER BY id LIMIT $2)"
)
OLD_CHECKS: Final = rows("licence checks", _OLD, CHECKS_KEPT)
"""The last one stays, however old it is: it is in force."""


async def check_licence(
    message: Message, *, database: Database, inbox: Inbox, outbox: Outbox
) -> None:
    """Record a check and tell its outcome, once for each request.

    There is no licence server to ask yet, and that is what the state says. No state ever stops
    patient data (LIC-03).
    """
    if not isinstance(message, ValidateLicence):
        raise TypeError(f"licensing.requests got {message.TYPE}")
    checked = LicenceChecked(state="unconfigured", reason="no licence server is configured")
    async with database.transaction() as db:
        if not await inbox.first_time(db, message.id):
            return
        await db.execute(
            "INSERT INTO licensing.licence_check (state, reason, requested_by) VALUES ($1, $2, $3)",
            checked.state,
            checked.reason,
            message.requested_by,
        )
        await outbox.put(db, checked)
    outbox.wake()
    metrics.LICENCE_STATE.labels(checked.state).set(1)
    log.info("licence.checked", state=checked.state)
