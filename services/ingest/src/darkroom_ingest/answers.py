"""What ingest answers to requests: about senders, the worklist, workitems, the quarantine."""

from darkroom_common.messages.base import Reply, Request
from darkroom_common.messages.requests import ActOnQuarantined
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.pool import Database
from darkroom_common.resources.answers import ResourceAnswers, refused
from darkroom_common.resources.resource import Refusal
from darkroom_ingest.quarantine.mirror import Mirror
from darkroom_ingest.senders.repository import SCHEMA, SenderTable
from darkroom_ingest.workitems.requests import WorkitemRequests
from darkroom_ingest.worklist.requests import WorklistRequests


class Answers:
    """Answers the requests of the queue `ingest.requests`.

    Receiving waits for nothing here: ingest hears of the change as of one by the command.
    """

    def __init__(
        self,
        database: Database,
        mirror: Mirror,
        worklist: WorklistRequests,
        workitems: WorkitemRequests,
    ) -> None:
        self._database = database
        self._mirror = mirror
        self._worklist = worklist
        self._workitems = workitems
        self._resources = ResourceAnswers({SenderTable(database): lambda: None})

    async def __call__(self, message: Request) -> Reply:
        """Do what is asked and say what came of it."""
        await require_compatible(self._database, schema=SCHEMA, package="darkroom_ingest")
        try:
            if isinstance(message, ActOnQuarantined):
                return await self._act(message)
            reply = await self._worklist.answer(message)
            if reply is None:
                reply = await self._workitems.answer(message)
            if reply is None:
                reply = await self._resources.answer(message)
        except Refusal as error:
            return refused(error)
        if reply is None:
            raise TypeError(f"ingest.requests got {message.TYPE}")
        return reply

    async def _act(self, asked: ActOnQuarantined) -> Reply:
        state = await self._mirror.ask(
            asked.receipt,
            asked.action,
            force=asked.force,
            by=asked.requested_by,
            version=asked.version,
        )
        return Reply(outcome="done", body={"state": state})
