"""Makes bulk changes that are jobs: each part once, whatever is killed meanwhile.

A part and how far the job is are one transaction: what is done is behind where the next attempt
goes on.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

from darkroom_api.bulk.changes import SOME, Change, Changes
from darkroom_api.bulk.repository import PHASES, PURPOSE, BulkJobs, changed_by
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.lease import Claims, Decide
from darkroom_common.jobs.runner import Runner
from darkroom_common.postgres.pool import CLASH_ATTEMPTS, Connection, is_clash
from darkroom_common.seal import Seal, Unsealable

_AT_ONCE: Final = 2


class _Lost(Exception):
    """The job is not this process's any more."""


@dataclass
class Bulk:
    """Makes them.

    Attributes:
        jobs: the table of those that are jobs.
    """

    claims: Claims[Attempt]
    jobs: BulkJobs
    changes: Changes
    seal: Seal

    def __post_init__(self) -> None:
        """Make what runs the jobs."""
        self.runner = Runner(self.claims, self.attempt, at_once=_AT_ONCE, each=_AT_ONCE)

    async def attempt(self, job: Attempt) -> Ending | Decide:
        """Go on with a change where the last attempt has left it."""
        try:
            change = Change.of_json(self.seal.open(job.row["sealed"], purpose=PURPOSE))
            gone = job.row["gone_through"]
            while gone < len(change.exam_ids):
                if job.stopped:
                    return self.jobs.kind.given_back()
                gone = await self._some(job, change, gone)
                job.progressed = True
        except Unsealable:
            return Ending(PHASES.failed, "What was asked for cannot be opened with PHI_KEYS.")
        except _Lost:
            return self.jobs.kind.given_back()  # which its new owner does not see
        return partial(self._finished, job, change)

    async def _finished(self, job: Attempt, change: Change, db: Connection) -> Ending:
        await self.changes.notify(db, change, await changed_by(db, job.id))
        return Ending(PHASES.ended_well[0], columns={"sealed": ""})

    async def _some(self, job: Attempt, change: Change, gone: int) -> int:
        """Make the next part; return how many were gone through.

        Raises:
            DependencyUnavailable: other writers were quicker each time.
        """
        some = change.exam_ids[gone : gone + SOME]
        for _ in range(CLASH_ATTEMPTS):
            try:
                async with self.claims.database.transaction() as db:
                    await self._hold(db, job)
                    outcome = await self.changes.make(db, change, some)
                    return await self.jobs.gone_on(db, job.id, len(some), outcome)
            except Exception as error:
                if not is_clash(error):
                    raise
        raise DependencyUnavailable("the examinations are too busy: lost against others each time")

    async def _hold(self, db: Connection, job: Attempt) -> None:
        """Lock the row of a job of ours."""
        if not await self.claims.table.ours(db, job, owner=self.claims.owner):
            raise _Lost
