"""What print does with a message: a command, or a study that a rule looks at, becomes a job."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from darkroom_common.messages.api import PrintFilm
from darkroom_common.messages.base import Message
from darkroom_common.messages.films import MAX_IMAGES, FilmImage
from darkroom_common.messages.metadata import StudyCompleted
from darkroom_common.messages.printers import PrintRuleSpec
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.seal import Seal
from darkroom_common.telemetry import metrics
from darkroom_common.telemetry.logs import get_logger
from darkroom_print.orders import PURPOSE
from darkroom_print.printers import Configuration, PrintRule
from darkroom_print.repository import JobRepository

log = get_logger(__name__)
_IMAGES: Final = (
    "SELECT i.sop_instance_uid FROM index.study s JOIN index.series e ON e.study_id = s.id"
    " JOIN index.instance i ON i.series_id = e.id"
    " WHERE s.study_instance_uid = $1 AND s.status <> 'deleted' AND i.pixel_rows IS NOT NULL"
    " AND (cardinality($2::text[]) = 0 OR e.modality = ANY($2::text[]))"
    " AND (cardinality($3::text[]) = 0 OR i.calling_ae_title = ANY($3::text[]))"
    " ORDER BY e.series_number, e.id, i.instance_number, i.id"
)


@dataclass(frozen=True)
class Handlers:
    """Takes what the queues `print.jobs` and `print.rules` hold."""

    database: Database
    requests: Inbox
    events: Inbox
    outbox: Outbox
    jobs: JobRepository
    configuration: Configuration
    seal: Seal
    wake: Callable[[str], None]

    async def accept_job(self, message: Message) -> None:
        """Keep a request as a job; a second delivery, or the same job id again, keeps nothing."""
        if not isinstance(message, PrintFilm):
            raise TypeError(f"print.jobs got {message.TYPE}")
        async with self.database.transaction() as db:
            if not await self.requests.first_time(db, message.id):
                return
            if not await self.jobs.add(db, message):
                return
        self._accepted(message)

    def _accepted(self, request: PrintFilm) -> None:
        self.outbox.wake()
        self.wake(request.printer)
        metrics.JOBS.labels("print").inc()
        log.info("job.accepted", job=request.job_id, printer=request.printer, rule=request.rule)

    async def apply_rules(self, message: Message) -> None:
        """Make the jobs that the rules want of a complete study, each rule's once a study."""
        if not isinstance(message, StudyCompleted):
            raise TypeError(f"print.rules got {message.TYPE}")
        made = []
        async with self.database.transaction() as db:
            if not await self.events.first_time(db, message.id):
                return
            for rule in await self.configuration.rules(db):
                if not rule.spec.enabled:
                    continue
                request = await self._request(db, rule, message.study_instance_uid)
                if request is not None and await self.jobs.add(db, request):
                    made.append(request)
        for request in made:
            self._accepted(request)

    async def _request(self, db: Connection, rule: PrintRule, study: str) -> PrintFilm | None:
        spec: PrintRuleSpec = rule.spec
        rows = await db.fetch(_IMAGES, study, list(spec.modalities), list(spec.calling_ae_titles))
        uids = tuple(row["sop_instance_uid"] for row in rows)[:: spec.film.every][:MAX_IMAGES]
        if not uids:
            return None
        images = tuple(FilmImage(sop_instance_uid=uid, window=None) for uid in uids)
        order = spec.film.model_copy(update={"images": images})
        name = hashlib.sha256(f"{rule.name} {study}".encode()).hexdigest()[:32]
        return PrintFilm(
            job_id=name,
            printer=spec.printer,
            layout=order.layout,
            sop_instance_uids=uids,
            copies=order.copies,
            requested_by="rule",
            rule=rule.name,
            sealed=self.seal.seal(order.model_dump(mode="json"), purpose=PURPOSE),
        )
