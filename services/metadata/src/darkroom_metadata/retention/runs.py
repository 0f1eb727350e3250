"""The nightly runs, a kind of the job engine: all studies are judged, then what is due is marked.

A run that only plans changes nothing but what is known of the rules' judgement. One that marks
deletes what is due as a person would, so that it can be restored for `PURGE_DAYS`. How far it has
come is written in the transaction of each step: a run goes on where it was killed.
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.index.retention.holds import HELD_STUDIES
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.kind import JobKind, Phases
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.runner import Runner
from darkroom_common.jobs.table import JobTable
from darkroom_common.messages.base import new_message_id
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry.logs import get_logger
from darkroom_metadata.removal.removing import Marked, Remover
from darkroom_metadata.retention.judging import Judging
from darkroom_metadata.retention.pace import NotYet

log = get_logger(__name__)
Action = Literal["plan", "mark"]
PHASES: Final = Phases(
    waiting="PENDING",
    working=("RUNNING",),
    retrying="RETRYING",
    ended_well=("DONE",),
    failed="FAILED",
    cancelled="CANCELLED",
)
BY: Final = "retention"
"""Who deletes what nobody has asked to be deleted."""
LOOK_SECONDS: Final = 60.0
_AT_ONCE: Final = 100
_ADD: Final = (
    "INSERT INTO index.retention_run (id, action, day, rules, requested_by)"
    " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING RETURNING *"
)
_LAST_RULES: Final = (  # retention_run_newest
    "SELECT rules FROM index.retention_run ORDER BY created_at DESC, id DESC LIMIT 1"
)
_JUDGED: Final = (
    "UPDATE index.retention_run SET judged_to = $2, judged = judged + $3, updated_at = now()"
    " WHERE id = $1"
)
_LOOKED: Final = (
    "UPDATE index.retention_run SET marked_day = $2, marked_to = $3, due = due + 1,"
    " held = held + $4, kept = kept + $5, marked = marked + $6, updated_at = now() WHERE id = $1"
)
_DUE: Final = (  # retention_due, study_pkey, study_beside_pkey
    "SELECT r.keep_until, r.study_id, r.rule, s.study_instance_uid FROM index.retention r"
    " JOIN index.study s ON s.id = r.study_id WHERE (r.keep_until, r.study_id) > ($1, $2)"
    " AND r.keep_until <= $3 AND r.rules = $4 ORDER BY r.keep_until, r.study_id LIMIT $5"
)
_COUNT: Final = (  # retention_due
    "UPDATE index.retention_run j SET updated_at = now(), due = c.due, held = c.held FROM"
    " (SELECT count(*) AS due, count(*) FILTER (WHERE r.study_id IN ({})) AS held"
    " FROM index.retention r WHERE r.keep_until <= $2 AND r.rules = $3) AS c"
    " WHERE j.id = $1"
)
_FORGET: Final = "DELETE FROM index.retention WHERE study_id = $1"
_OLD: Final = (
    "DELETE FROM index.retention_run WHERE finished_at < now() - interval '400 days'"
    " AND state IN ('DONE', 'CANCELLED')"
)


class _Lost(Exception):
    """The run is not this process's any more."""


def retention_jobs(outbox: Outbox) -> JobTable[Attempt]:
    """Return the table of the runs; one is at work at a time."""
    kind = JobKind(
        name="retention",
        table="index.retention_run",
        lane="action",
        phases=PHASES,
        attempt=Attempt,
        most=1,
    )
    return JobTable(kind, outbox)


class NewRun(NamedTuple):
    """A run that is asked for; `rules` is their digest."""

    job: str
    action: Action
    day: dt.date
    rules: str


async def add(db: Connection, table: JobTable[Attempt], new: NewRun) -> bool:
    """Add a run, unless there is one of this id; return whether it is new."""
    row = await db.fetchrow(_ADD, *new, BY)
    if row is not None:
        await table.entered(db, row)
    return row is not None


@dataclass
class Runs:
    """Does the runs.

    Attributes:
        is_on: whether anything is deleted by the rules at all.
        hour: of UTC, at which a night's run begins.
        behind: whether the index is behind: then judging waits.
    """

    claims: Claims[Attempt]
    judging: Judging
    remover: Remover
    is_on: bool
    hour: int
    behind: Callable[[], bool]
    clock: Clock = SYSTEM_CLOCK
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def __post_init__(self) -> None:
        """Make what runs the jobs."""
        self.runner = Runner(self.claims, self.attempt)

    @property
    def database(self) -> Database:
        """Where the jobs are."""
        return self.claims.database

    async def attempt(self, job: Attempt) -> Ending:
        """Go on with a run where it is."""
        row, digest = job.row, self.judging.retention.digest
        if row["rules"] != digest:
            return Ending(PHASES.cancelled, "The rules are others since.")
        if row["action"] == "mark" and not self.is_on:
            return Ending(PHASES.cancelled, "RETENTION_PURGE is off.")
        try:
            judged_to: int | None = row["judged_to"]
            while judged_to is not None:
                await self._breathe()
                if job.stopped:
                    return self.claims.table.kind.given_back()
                judged_to = await self._judge(job, judged_to)
                job.progressed = True
            if row["action"] == "plan":
                await self._count(job, row["day"], digest)
            elif not await self._mark(job, digest):
                return self.claims.table.kind.given_back()
        except _Lost:
            return self.claims.table.kind.given_back()  # which whoever has it now does not see
        return Ending("DONE")

    async def _breathe(self) -> None:
        while self.behind():
            await self.sleep(1.0)

    async def _judge(self, job: Attempt, after: int) -> int | None:
        async with self.database.transaction() as db:
            judged = await self.judging.step(db, after)
            if judged is None:
                return None
            await self._require(db, job)
            await db.execute(_JUDGED, job.id, *judged)
        return judged[0]

    async def _count(self, job: Attempt, day: dt.date, rules: str) -> None:
        async with self.database.transaction() as db:
            await self._require(db, job)
            await db.execute(_COUNT.format(HELD_STUDIES), job.id, day, rules)

    async def _mark(self, job: Attempt, rules: str) -> bool:
        """Mark what is due, the oldest first; tell whether all of it was looked at."""
        place = (job.row["marked_day"], job.row["marked_to"])
        while found := await self._due(place, job.row["day"], rules):
            for due in found:
                if not await self._look_at(job, due):
                    return False
                place = (due["keep_until"], due["study_id"])
                job.progressed = True
        return True

    async def _due(self, place: tuple[dt.date, int], day: dt.date, rules: str) -> list[Any]:
        async with self.database.acquire() as db:
            return list(await db.fetch(_DUE, *place, day, rules, _AT_ONCE))

    async def _look_at(self, job: Attempt, due: Any) -> bool:
        """Mark a study that is due, or count why not; False: the work is to stop before that."""
        while not job.stopped:
            try:
                async with self.database.transaction() as db:
                    marked = await self.remover.mark(db, due["study_instance_uid"], by=BY)
                    if marked is Marked.GONE:
                        await db.execute(_FORGET, due["study_id"])
                    counts = [int(marked is one) for one in (Marked.HELD, Marked.KEPT, Marked.GONE)]
                    await self._require(db, job)
                    await db.execute(_LOOKED, job.id, due["keep_until"], due["study_id"], *counts)
            except NotYet as wait:
                await self.sleep(min(wait.seconds, 1.0))
            else:
                return True
        return False

    async def _require(self, db: Connection, job: Attempt) -> None:
        if not await self.claims.table.ours(db, job, owner=self.claims.owner):
            raise _Lost

    async def run(self) -> None:
        """Plan the runs, until cancelled."""
        while True:
            try:
                await self.plan()
            except DependencyUnavailable as error:
                log.warning("retention.waits", reason=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def plan(self) -> None:
        """Add the run of this night when its hour has come, and one that plans by new rules."""
        now, rules = self.clock.now(), self.judging.retention.digest
        table = self.claims.table
        async with self.database.transaction() as db:
            if now.hour >= self.hour:
                action: Action = "mark" if self.is_on else "plan"
                job = f"{action}-{now.date()}"
                await add(db, table, NewRun(job, action, now.date(), rules))
            if await db.fetchval(_LAST_RULES) != rules:
                await add(db, table, NewRun(new_message_id(), "plan", now.date(), rules))
            await db.execute(_OLD)
