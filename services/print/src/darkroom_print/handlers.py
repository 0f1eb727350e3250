"""What print does with a message: a command, or a study that a rule looks at, becomes a job."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from darkroom_common.index.objects import images_by_patient
from darkroom_common.jobs.intake import Intake
from darkroom_common.messages.base import Message
from darkroom_common.messages.commands import PrintFilm
from darkroom_common.messages.events import StudyCompleted
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.readers.print import PURPOSE
from darkroom_common.seal import Seal
from darkroom_common.specs.films import MAX_IMAGES, FilmImage
from darkroom_common.specs.printers import PrintRuleSpec
from darkroom_common.telemetry.logs import get_logger
from darkroom_print.printers.configuration import Configuration, PrintRule
from darkroom_print.printing.repository import PrintJobs

log = get_logger(__name__)
_MOST: Final = 20 * MAX_IMAGES
"""Images that a rule prints of one study."""


@dataclass(frozen=True)
class Handlers:
    """Takes what the queues `print.jobs` and `print.rules` hold."""

    intake: Intake
    events: Inbox
    jobs: PrintJobs
    configuration: Configuration
    seal: Seal
    wake: Callable[[str], None]

    async def accept_job(self, message: Message) -> None:
        """Keep a request as a job; a second delivery, or the same job id again, keeps nothing."""
        if not isinstance(message, PrintFilm):
            raise TypeError(f"print.jobs got {message.TYPE}")
        if await self.intake.take(message, partial(self._add, message)):
            self.wake(message.printer)

    async def _add(self, request: PrintFilm, db: Connection) -> bool:
        return await self.jobs.add(db, request)

    async def apply_rules(self, message: Message) -> None:
        """Make the jobs that the rules want of a complete study, each rule's once a study."""
        if not isinstance(message, StudyCompleted):
            raise TypeError(f"print.rules got {message.TYPE}")
        if message.replicated:
            return  # the site that received it prints it
        made: list[PrintFilm] = []
        async with self.intake.database.transaction() as db:
            if not await self.events.first_time(db, message.id):
                return
            for rule in await self.configuration.rules(db):
                if not rule.spec.enabled:
                    continue
                wanted = await self._requests(db, rule, message.study_instance_uid)
                made += [request for request in wanted if await self.jobs.add(db, request)]
        for request in made:
            self.wake(request.printer)
            log.info("job.accepted", job=request.job_id, printer=request.printer, rule=request.rule)

    async def _requests(self, db: Connection, rule: PrintRule, study: str) -> list[PrintFilm]:
        """Return the jobs of a rule, each of at most `MAX_IMAGES` images of one patient."""
        spec: PrintRuleSpec = rule.spec
        titles = spec.calling_ae_titles
        jobs: list[PrintFilm] = []
        patients = await images_by_patient(
            db, study=study, modalities=spec.modalities, calling_ae_titles=titles
        )
        for number, found in enumerate(patients):
            images = spec.film.choose(found, _MOST + 1)
            if len(images) > _MOST:
                log.warning("rule.cut", rule=rule.name, printed=_MOST)
                del images[_MOST:]
            name = f"{rule.name} {study}" + (f" patient {number + 1}" if number else "")
            for at in range(0, len(images), MAX_IMAGES):
                part = f"{name} {at}" if at else name
                jobs.append(self._job(rule, images[at : at + MAX_IMAGES], part))
        return jobs

    def _job(self, rule: PrintRule, images: list[FilmImage], name: str) -> PrintFilm:
        order = rule.spec.film.model_copy(update={"images": tuple(images)})
        return PrintFilm(
            job_id=hashlib.sha256(name.encode()).hexdigest()[:32],
            printer=rule.spec.printer,
            layout=order.layout,
            sop_instance_uids=tuple(image.sop_instance_uid for image in images),
            copies=order.copies,
            requested_by="rule",
            rule=rule.name,
            sealed=self.seal.seal(order.model_dump(mode="json"), purpose=PURPOSE),
        )
