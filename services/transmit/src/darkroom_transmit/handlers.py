"""What transmit does with a message: a command becomes a job row within milliseconds."""

from collections.abc import Callable

from darkroom_common.messages.api import SendObjects
from darkroom_common.messages.base import Message
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry import metrics
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.sending.repository import JobRepository

log = get_logger(__name__)


async def accept_job(  # noqa: PLR0913 - all by keyword
    message: Message,
    *,
    database: Database,
    inbox: Inbox,
    outbox: Outbox,
    jobs: JobRepository,
    wake: Callable[[str], None],
) -> None:
    """Keep a request as a job; a second delivery, or the same job id again, keeps nothing."""
    if not isinstance(message, SendObjects):
        raise TypeError(f"transmit.jobs got {message.TYPE}")
    async with database.transaction() as db:
        if not await inbox.first_time(db, message.id):
            return
        if not await jobs.add(db, message):
            return
    outbox.wake()
    wake(message.destination)
    metrics.JOBS.labels("transmit").inc()
    log.info("job.accepted", job=message.job_id, destination=message.destination)
