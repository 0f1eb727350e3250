"""Goes through what is stored when tags have changed, and through what was written anew since.

Both read the headers that the index has, no objects. A study and how far the job has come are one
transaction, so that a job goes on where it was killed, or paused.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.kind import JobKind, Phases, pausing
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.runner import Runner
from darkroom_common.jobs.table import JobTable
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import CLASH_ATTEMPTS, Connection, is_clash
from darkroom_common.telemetry.logs import get_logger
from darkroom_metadata.indexing.repository import lock_studies
from darkroom_metadata.tagging.writer import TagWriter

log = get_logger(__name__)
PHASES: Final = Phases(
    waiting="PENDING",
    working=("INDEXING",),
    retrying="RETRYING",
    ended_well=("DONE",),
    failed="FAILED",
    cancelled="CANCELLED",
)
PAUSED: Final = "PAUSED"
SUPERSEDED: Final = "A later change of the tags has a job of its own."
LOOK_SECONDS: Final = 2.0
_BEGUN: Final = (
    "UPDATE index.tag_job SET total = (SELECT count(*) FROM index.study)"
    " WHERE id = $1 AND total IS NULL"
)
_LATER: Final = (
    "SELECT EXISTS (SELECT FROM index.tag_job o JOIN index.tag_job j ON j.id = $1"
    " WHERE o.created_at > j.created_at)"
)
_NEXT: Final = (  # study_pkey, study_beside_pkey
    "SELECT id, study_instance_uid FROM index.study WHERE id > $1 ORDER BY id LIMIT 1"
)
_SERIES: Final = (  # series_study_id_series_instance_uid_key, series_beside_study
    "SELECT id FROM index.series WHERE study_id = $1"
)
_DONE: Final = (
    "UPDATE index.tag_job SET cursor = $2, studies = studies + 1, instances = instances + $3,"
    " updated_at = now() WHERE id = $1"
)
_AGAIN: Final = (  # tag_again_at
    "SELECT a.series_id, s.study_instance_uid FROM (SELECT series_id, at FROM index.tag_again"
    " ORDER BY at LIMIT 1) AS a LEFT JOIN index.series e ON e.id = a.series_id"
    " LEFT JOIN index.study s ON s.id = e.study_id"
)
_TAKEN: Final = "DELETE FROM index.tag_again WHERE series_id = $1 RETURNING true"


def tag_jobs(outbox: Outbox) -> JobTable[Attempt]:
    """Return the table of the jobs that changes of tags make."""
    kind = JobKind(
        name="tags",
        table="index.tag_job",
        lane="action",
        phases=PHASES,
        attempt=Attempt,
        alone=True,
        actions=pausing(PHASES, PAUSED),
        change="tag_job",
    )
    return JobTable(kind, outbox)


class _Lost(Exception):
    """The job is not this process's any more."""


@dataclass
class Tagging:
    """Does the jobs, and what was written anew."""

    claims: Claims[Attempt]
    writer: TagWriter

    def __post_init__(self) -> None:
        """Make what runs the jobs."""
        self.database = self.claims.database
        self.runner = Runner(self.claims, self.attempt)

    async def attempt(self, job: Attempt) -> Ending:
        """Go on with a job behind the last study that is done."""
        kind = self.claims.table.kind
        async with self.database.acquire() as db:
            await db.execute(_BEGUN, job.id)
        cursor: int | None = job.row["cursor"]
        try:
            while cursor is not None:
                if job.stopped:
                    return kind.given_back()
                async with self.database.acquire() as db:
                    if await db.fetchval(_LATER, job.id):
                        return Ending(PHASES.cancelled, SUPERSEDED)
                cursor = await self._study(job, cursor)
                job.progressed = True
        except _Lost:
            return kind.given_back()  # which whoever has it now does not see
        return Ending("DONE")

    async def _study(self, job: Attempt, cursor: int) -> int | None:
        """Do the next study; return its row, None when there is none."""
        for _ in range(CLASH_ATTEMPTS):
            try:
                async with self.database.transaction() as db:
                    return await self._next(db, job, cursor)
            except Exception as error:
                if not is_clash(error):
                    raise
        raise DependencyUnavailable("the index is too busy: lost against other writers each time")

    async def _next(self, db: Connection, job: Attempt, cursor: int) -> int | None:
        study = await db.fetchrow(_NEXT, cursor)
        if study is None:
            return None
        await lock_studies(db, {study["study_instance_uid"]})
        series = [row["id"] for row in await db.fetch(_SERIES, study["id"])]
        count = await self.writer.refill(db, series)
        # The row of the job last: renewals of its lease do not wait for the study.
        if not await self.claims.table.ours(db, job, owner=self.claims.owner):
            raise _Lost
        await db.execute(_DONE, job.id, study["id"], count)
        return int(study["id"])

    async def run(self) -> None:
        """Go through what was written anew, until cancelled."""
        while True:
            try:
                while await self.again():
                    pass
            except DependencyUnavailable as error:
                log.warning("tags.wait", reason=str(error))
            except Exception as error:
                if not is_clash(error):
                    raise
            await asyncio.sleep(LOOK_SECONDS)

    async def again(self) -> bool:
        """Go through one series of which something was written anew; tell if there was any."""
        async with self.database.transaction() as db:
            row = await db.fetchrow(_AGAIN)
            if row is None:
                return False
            if row["study_instance_uid"] is not None:
                await lock_studies(db, {row["study_instance_uid"]})
            if await db.fetchval(_TAKEN, row["series_id"]):
                await self.writer.refill(db, [row["series_id"]])
        return True
