"""The work status of an examination follows what modalities tell of it (MPPS)."""

from dataclasses import dataclass
from typing import Final

from darkroom_api.studies.examinations import Examinations, ExamStatus
from darkroom_api.worklist.dose_reports import DoseReports
from darkroom_common.messages.base import Message
from darkroom_common.messages.procedure_steps import ProcedureStepChanged
from darkroom_common.postgres.inbox import Inbox
from darkroom_common.postgres.pool import Database
from darkroom_common.topology import API_STEPS

INBOX: Final = Inbox("api", API_STEPS.name)
_STATUS: Final[dict[str, ExamStatus]] = {
    "IN PROGRESS": "in_progress",
    "COMPLETED": "completed",
    "DISCONTINUED": "cancelled",
}


@dataclass(frozen=True)
class StepsFollowed:
    """Takes what the queue `api.steps` holds.

    Attributes:
        dose_reports: are told of steps that have ended; None: nothing is made of them.
    """

    database: Database
    examinations: Examinations
    dose_reports: DoseReports | None = None

    async def take(self, message: Message) -> None:
        """Set the work status of the studies; what people have set further on stays."""
        if not isinstance(message, ProcedureStepChanged):
            raise TypeError(f"{API_STEPS.name} got {message.TYPE}")
        waiting = set(message.in_progress)  # another step of it goes on
        studies = [uid for uid in message.study_instance_uids if uid not in waiting]
        if message.state == "IN PROGRESS":
            studies = list(message.study_instance_uids)
        async with self.database.transaction() as db:
            if not await INBOX.first_time(db, message.id):
                return
            if self.dose_reports is not None and message.state != "IN PROGRESS":
                await self.dose_reports.add(db, message.sop_instance_uid)
            await self.examinations.follow(
                db, studies, _STATUS[message.state], by=f"mpps:{message.calling_ae_title}"
            )
