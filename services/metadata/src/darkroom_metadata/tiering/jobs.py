"""Nights that move studies to the slow store by rule, and recalls that people ask for, as jobs.

How far a night has come is written study by study; a study that was begun is gone through again,
which finds what is moved already. What is read of a study that was moved comes from the slow store
all the same: a recall is for many reads to come.
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import asyncpg

from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.kind import JobKind
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.runner import Runner
from darkroom_common.jobs.table import JobTable
from darkroom_common.messages.commands import RecallStudy
from darkroom_common.objects.store import ObjectMissing
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.specs.retention import Retention
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_metadata.asked import phases
from darkroom_metadata.tiering.due import looked_at
from darkroom_metadata.tiering.moving import Mover, NotAsReceived, objects_of

log = get_logger(__name__)
PHASES: Final = phases("MOVING")
LOOK_SECONDS: Final = 60.0
_ADD: Final = (  # tier_job_pkey
    "INSERT INTO index.tier_job (id, action, study_instance_uid, requested_by, traceparent)"
    " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING RETURNING *"
)
_OF_UID: Final = (  # study_study_instance_uid_key, study_beside_uid
    "SELECT id, version, byte_count FROM index.study WHERE study_instance_uid = $1"
    " AND status <> 'deleted' ORDER BY id"
)
_MOVED: Final = (
    "INSERT INTO index.tier (study_id, version) VALUES ($1, $2) ON CONFLICT (study_id)"
    " DO UPDATE SET version = excluded.version, moved_at = now(), keep_until = NULL"
)
_RECALLED: Final = "UPDATE index.tier SET keep_until = now() + $2::interval WHERE study_id = $1"
_COUNT: Final = (
    "UPDATE index.tier_job SET studies = studies + $2, objects = objects + $3, bytes = bytes + $4,"
    " bad = bad + $5, place = greatest(place, $6), updated_at = now() WHERE id = $1"
)
_TOTAL: Final = "UPDATE index.tier_job SET total_bytes = $2 WHERE id = $1"
_RANK: Final = (  # somebody waits for a recall
    "CASE action WHEN 'recall' THEN 0 ELSE 1e12 END + extract(epoch FROM created_at)"
)


class _Lost(Exception):
    """The job is not this process's any more."""


class TierJobs:
    """Writes the table `tier_job`; one is at work at a time."""

    def __init__(self, outbox: Outbox) -> None:
        kind = JobKind(
            name="tier",
            table="index.tier_job",
            lane="action",
            phases=PHASES,
            attempt=Attempt,
            most=2,
            rank=_RANK,
        )
        self.table: JobTable[Attempt] = JobTable(kind, outbox)

    async def add(self, db: Connection, asked: RecallStudy) -> bool:
        """Add a recall; return whether it is new."""
        given = (asked.job_id, "recall", asked.study_instance_uid, asked.requested_by)
        return await self._add(db, *given)

    async def add_night(self, db: Connection, day: dt.date) -> bool:
        """Add what a night moves, once."""
        return await self._add(db, f"move-{day}", "move", "", "tiers")

    async def _add(self, db: Connection, job: str, action: str, uid: str, by: str) -> bool:
        trace = traces.inject().get("traceparent", "")
        row = await db.fetchrow(_ADD, job, action, uid, by, trace)
        if row is not None:
            await self.table.entered(db, row)
        return row is not None


@dataclass
class Tiering:
    """Does the jobs.

    Attributes:
        mover: None where there is one store: then nothing is moved, and a recall is done at once.
        rules: after how many years studies are moved; what none fits is never moved.
        keep: how long a recalled study stays in the fast store.
        pace: waits as long as bytes that were copied have to take.
    """

    claims: Claims[Attempt]
    jobs: TierJobs
    mover: Mover | None
    keys: PhiKeys
    rules: Retention
    keep: dt.timedelta
    pace: Callable[[int], Awaitable[None]]
    hour: int
    clock: Clock = SYSTEM_CLOCK

    def __post_init__(self) -> None:
        """Make what runs the jobs."""
        self.runner = Runner(self.claims, self.attempt, at_once=2)

    @property
    def database(self) -> Database:
        """Where the jobs are."""
        return self.claims.database

    async def attempt(self, job: Attempt) -> Ending:
        """Go on with a job."""
        if self.mover is None:
            return Ending("DONE")
        try:
            work = self._recall if job.row["action"] == "recall" else self._night
            return await work(job, self.mover)
        except _Lost:
            return self.claims.table.kind.given_back()
        except ObjectMissing:
            return Ending(PHASES.failed, "an object is in neither store")
        except NotAsReceived as error:
            return Ending(PHASES.failed, str(error))

    async def _recall(self, job: Attempt, mover: Mover) -> Ending:
        async with self.database.acquire() as db:
            studies = await db.fetch(_OF_UID, job.row["study_instance_uid"])
            await db.execute(_TOTAL, job.id, sum(one["byte_count"] for one in studies))
        if not studies:
            return Ending(PHASES.failed, "there is no such study")
        for study in studies:
            if not await self._each(job, study["id"], mover.recall):
                return self.claims.table.kind.given_back()
            async with self.database.transaction() as db:
                await db.execute(_RECALLED, study["id"], self.keep)
        return Ending("DONE")

    async def _night(self, job: Attempt, mover: Mover) -> Ending:
        given = (self.database, self.keys, self.rules, self.clock.now())
        async for studies in looked_at(*given, after=job.row["place"]):
            for one in studies:
                if one.rule is not None and not await self._move(job, mover, one.row):
                    return self.claims.table.kind.given_back()
            await self._count(job, place=studies[-1].row["id"])
            job.progressed = True
            if job.stopped:
                return self.claims.table.kind.given_back()
        return Ending("DONE")

    async def _move(self, job: Attempt, mover: Mover, row: asyncpg.Record) -> bool:
        move = partial(mover.move, began=self.clock.now())
        try:
            if not await self._each(job, row["id"], move):
                return False
        except (ObjectMissing, NotAsReceived):
            log.error("tier.left", study=row["id"])
            await self._count(job, bad=1)
            return True
        async with self.database.transaction() as db:
            await db.execute(_MOVED, row["id"], row["version"])
        await self._count(job, studies=1)
        return True

    async def _each(self, job: Attempt, study: int, work: Callable[..., Awaitable[int]]) -> bool:
        """Do something with each object of a study; False: the work was stopped."""
        async with self.database.acquire() as db:
            objects = await objects_of(db, study)
        for one in objects:
            if job.stopped:
                return False
            copied = await work(one)
            await self._count(job, objects=1, size=copied)
            await self.pace(copied)
        return True

    async def _count(self, job: Attempt, **more: Any) -> None:
        names = ("studies", "objects", "size", "bad", "place")
        async with self.database.transaction() as db:
            if not await self.claims.table.ours(db, job, owner=self.claims.owner):
                raise _Lost
            await db.execute(_COUNT, job.id, *(more.get(name, 0) for name in names))

    async def run(self) -> None:
        """Plan the nights, until cancelled."""
        while True:
            try:
                await self.plan()
            except DependencyUnavailable as error:
                log.warning("tiers.wait", reason=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def plan(self) -> None:
        """Add the night's job when its hour has come."""
        now = self.clock.now()
        if now.hour >= self.hour and self.rules.rules and self.mover is not None:
            async with self.database.transaction() as db:
                await self.jobs.add_night(db, now.date())
