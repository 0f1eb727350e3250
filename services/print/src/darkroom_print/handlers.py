"""What print does with a message: a command becomes a job row within milliseconds."""

from darkroom_common.messages.api import PrintFilm
from darkroom_common.messages.base import Message
from darkroom_common.messages.jobs import PrintJobChanged
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry import metrics
from darkroom_common.telemetry.logs import get_logger
from darkroom_print.repository import JobRepository

log = get_logger(__name__)


async def accept_job(
    message: Message, *, database: Database, inbox: Inbox, outbox: Outbox, jobs: JobRepository
) -> None:
    """Keep a request as a job; a second delivery, or the same job id again, keeps nothing."""
    if not isinstance(message, PrintFilm):
        raise TypeError(f"print.jobs got {message.TYPE}")
    async with database.transaction() as db:
        if not await inbox.first_time(db, message.id):
            return
        if not await jobs.add(db, message):
            return
        changed = PrintJobChanged(job_id=message.job_id, printer=message.printer, state="QUEUED")
        await outbox.put(db, changed)
    outbox.wake()
    metrics.JOBS.labels("print").inc()
    log.info("job.accepted", job=message.job_id, printer=message.printer)
