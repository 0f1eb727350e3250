"""What an operator does to a job: one shape of request and answer for all kinds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from darkroom_common.jobs.kind import Action
from darkroom_common.jobs.table import JobTable
from darkroom_common.messages.base import Reply
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class Operator:
    """Acts on the jobs of a kind.

    Attributes:
        acted: is called with the lane and the job when it is done.
    """

    database: Database
    table: JobTable[Any]
    acted: Callable[[str, str], None]

    async def act(self, job: str, action: Action, *, by: str) -> Reply:
        """Do it, and answer with the state after; a conflict names the state that refuses."""
        async with self.database.transaction() as db:
            acted = await self.table.act(db, job, action, by=by)
        if acted is None:
            return Reply(outcome="not-found", reason="there is no such job")
        if acted.after is None:
            reason = f"{action}: a job that is {acted.before} does not take this"
            return Reply(outcome="conflict", reason=reason, body={"state": acted.before})
        self.acted(acted.lane, job)
        log.info("job.acted", kind=self.table.kind.name, job=job, action=action, by=by)
        return Reply(outcome="done", body={"state": acted.after})
