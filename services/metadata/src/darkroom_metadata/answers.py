"""What metadata answers to requests: changes of the indexed tags, acts on their jobs."""

from darkroom_common.errors import PermanentError
from darkroom_common.messages.base import Reply, Request
from darkroom_common.messages.requests import ActOnTagJob
from darkroom_common.postgres.pool import Database
from darkroom_common.resources.answers import ResourceAnswers, refused
from darkroom_common.resources.declared import INDEXED_TAGS
from darkroom_common.resources.resource import Refusal
from darkroom_common.resources.spec_table import SpecTable
from darkroom_metadata.tagging.tagging import Tagging


class Answers:
    """Answers the requests of the queue `metadata.requests`."""

    def __init__(self, database: Database, tagging: Tagging) -> None:
        self._database = database
        self._tagging = tagging
        tags = SpecTable(INDEXED_TAGS, database)
        self._resources = ResourceAnswers({tags: tagging.runner.wake})

    async def __call__(self, message: Request) -> Reply:
        """Do what is asked and say what came of it."""
        try:
            if isinstance(message, ActOnTagJob):
                return await self._act(message)
            reply = await self._resources.answer(message)
        except Refusal as error:
            return refused(error)
        except PermanentError as error:
            return Reply(outcome="invalid", reason=str(error))
        if reply is None:
            raise TypeError(f"metadata.requests got {message.TYPE}")
        return reply

    async def _act(self, asked: ActOnTagJob) -> Reply:
        table = self._tagging.claims.table
        async with self._database.transaction() as db:
            acted = await table.act(db, asked.job_id, asked.action, by=asked.requested_by)
        if acted is None:
            return Reply(outcome="not-found", reason="there is no such job")
        if acted.after is None:
            return Reply(outcome="conflict", reason=f"the job is {acted.before}")
        self._tagging.runner.acted(asked.job_id)
        return Reply(outcome="done", body={"state": acted.after})
