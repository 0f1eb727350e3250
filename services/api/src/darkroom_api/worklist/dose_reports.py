"""The dose that a performed procedure step has told of becomes a report of its own accord.

Which steps wait for that is in the table `api.dose_report`, with the UIDs of what is made of them:
whoever goes on after a crash makes the same object, and ingest stores it once.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from darkroom_api.audit.actions import Action
from darkroom_api.audit.entries import Entry
from darkroom_api.audit.log import AuditLog
from darkroom_api.dicomweb.storing.answer import status_of
from darkroom_api.dicomweb.storing.handover import Handover, NotTaken
from darkroom_api.objects.exchange import Kind, MakeTask
from darkroom_api.objects.identity import identity_in, of_row, said
from darkroom_api.objects.once import more_uids
from darkroom_api.objects.storing import Own, own_of, store
from darkroom_api.objects.structured.dose_spec import DoseReportGiven
from darkroom_api.objects.structured.from_step import NoDose, Step, told
from darkroom_api.rendering.rendering import CannotMake, DecoderFailed, Rendering
from darkroom_common.clock import Clock
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.index.objects import references_of_study
from darkroom_common.index.reader import IndexReader
from darkroom_common.postgres.pool import Connection, Database, after_commit
from darkroom_common.readers import ingest
from darkroom_common.seal import Seal, Unsealable
from darkroom_common.specs.worklist.entries import STEP_PURPOSE
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.uids import Uids

log = get_logger(__name__)
DOSE_REPORT: Final = "1.2.840.10008.5.1.4.1.1.88.67"
POLL_SECONDS: Final = 15.0
LEASE: Final = timedelta(minutes=5)
"""In which a report is made; then somebody else may try."""
LONGEST_WAIT: Final = timedelta(hours=24)
"""For images of the step to come."""
KEPT: Final = timedelta(days=30)
_OK: Final = frozenset({200, 202})
_ADD: Final = (
    "INSERT INTO api.dose_report (step, sop_instance_uid, series_instance_uid, due_at, created_at)"
    " VALUES ($1, $2, $3, now() + $4::interval, $5) ON CONFLICT (step) DO NOTHING"
)
_CLAIM: Final = (  # dose_report_due
    "UPDATE api.dose_report SET attempts = attempts + 1, due_at = now() + $1::interval"
    " WHERE step = (SELECT step FROM api.dose_report WHERE state = 'WAITING' AND due_at <= now()"
    " ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *"
)
_END: Final = (
    "UPDATE api.dose_report SET state = $2, reason = $3 WHERE step = $1 AND state = 'WAITING'"
)
_AGAIN: Final = "UPDATE api.dose_report SET due_at = now() + $2::interval WHERE step = $1"
_MADE_HERE: Final = (
    "SELECT sop_instance_uid FROM api.dose_report WHERE sop_instance_uid = ANY($1::text[])"
)
_FORGET: Final = "DELETE FROM api.dose_report WHERE created_at < $1 AND state <> 'WAITING'"


class _Wait(Exception):
    """Not now; the text is a word of why."""


class _NoReport(Exception):
    """There will be none of this step.

    Attributes:
        state: NONE, there is nothing to make one of; FAILED, it cannot be made.
        reason: in words.
    """

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason


@dataclass(frozen=True)
class DoseReports:
    """Makes dose reports of performed procedure steps.

    Attributes:
        after: a step has ended; its device may send a report of its own until then.
        clock: of this host.
    """

    database: Database
    reader: IndexReader
    seal: Seal
    rendering: Rendering
    handover: Handover
    audit: AuditLog
    uids: Uids
    clock: Clock
    after: timedelta
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def add(self, db: Connection, step: str) -> None:
        """Have a report made of a step that has ended, in the caller's transaction."""
        uid, series = self.uids.new(), self.uids.new()
        await db.execute(_ADD, step, uid, series, self.after, self.clock.now())
        after_commit(db, self._news.set)

    async def forget(self) -> None:
        """Forget what is long over."""
        async with self.database.acquire() as db:
            await db.execute(_FORGET, self.clock.now() - KEPT)

    async def run(self) -> None:
        """Make reports of steps whose time has come, until cancelled."""
        while True:
            try:
                while await self.make_one():
                    pass
            except DependencyUnavailable as error:
                log.warning("dose_reports.wait", reason=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._news.wait()
            self._news.clear()

    async def make_one(self) -> bool:
        """Make the report that is due first; return whether one was.

        Raises:
            DependencyUnavailable: the database is away.
        """
        async with self.database.acquire() as db:
            claimed = await db.fetchrow(_CLAIM, LEASE)
        if claimed is None:
            return False
        row = dict(claimed)
        try:
            studies = await self._made(row)
        except _NoReport as none:
            await self._end(row, none.state, none.reason, [])
        except _Wait as wait:
            await self._again(row, str(wait))
        except (NotTaken, DependencyUnavailable) as away:
            await self._again(row, type(away).__name__)
        else:
            await self._end(row, "MADE", "", studies)
        return True

    async def _made(self, row: Mapping[str, Any]) -> list[str]:
        """Make the report of a step and have it stored; return its study.

        Raises:
            _NoReport: there is nothing to make one of, or it cannot be made.
            _Wait, NotTaken, DependencyUnavailable: not now.
        """
        before = await self.reader.instance(row["sop_instance_uid"])
        if before is not None:
            return [before.study_instance_uid]
        step, study = await self._step(row["step"])
        try:
            task = await self._task(row, step, study)
            outcome = await store(self.rendering, self.handover, task, [])
        except NoDose as fault:
            raise _NoReport("NONE", str(fault)) from None
        except CannotMake as fault:
            raise _NoReport("FAILED", str(fault)) from None
        except DecoderFailed:
            raise _NoReport("FAILED", "It takes more to make than is allowed.") from None
        if status_of(outcome) not in _OK:
            raise _Wait(next((one.code for one in outcome.items), outcome.fault))
        return [study]

    async def _step(self, uid: str) -> tuple[Step, str]:
        """Return a step, and its study, which nobody has reported the dose of.

        Raises:
            _NoReport: there is no such step, or nothing to report of it.
        """
        async with self.database.acquire() as db:
            kept = await ingest.performed_step(db, uid)
        if kept is None:
            raise _NoReport("NONE", "The step is not kept any more.")
        try:
            step = Step(uid, self.seal.open(kept["sealed"], purpose=STEP_PURPOSE))
            study = step.study()
        except (NoDose, Unsealable) as fault:
            raise _NoReport("NONE", str(fault)) from None
        if await self._is_reported(study):
            raise _NoReport("NONE", "The study has a dose report.")
        return step, study

    async def _task(self, row: Mapping[str, Any], step: Step, study: str) -> MakeTask:
        found = await self.reader.study(study)
        if found is None:
            raise _Wait("StudyNotHere")
        identity = await identity_in(self.reader, study, of_row(found))
        asked = DoseReportGiven.model_validate({"mpps": step.sop_instance_uid})
        given = told(asked, step, identity.equipment)
        own = Own(
            row["sop_instance_uid"], row["series_instance_uid"], row["created_at"].astimezone()
        )
        return MakeTask(
            Kind.DOSE_REPORT,
            {**identity.attributes, **said(own_of(given, identity, own))},
            0,
            given.model_dump(mode="json", exclude_unset=True),
            (),
            more_uids(own.sop_instance_uid, given.new_uids()),
        )

    async def _is_reported(self, study: str) -> bool:
        """Tell whether a study has a dose report that was not made here of another step."""
        async with self.database.acquire() as db:
            held = await references_of_study(db, study)
            reports = [one.sop_instance_uid for one in held if one.sop_class_uid == DOSE_REPORT]
            made_here = {one[0] for one in await db.fetch(_MADE_HERE, reports)}
        return bool(set(reports) - made_here)

    async def _again(self, row: Mapping[str, Any], reason: str) -> None:
        """Try it later, longer each time; give up when the images have not come for a day."""
        age = self.clock.now() - row["created_at"]
        if age > LONGEST_WAIT + self.after:
            await self._end(row, "FAILED", reason, [])
            return
        log.info("dose_report.waits", step=row["step"], reason=reason, attempts=row["attempts"])
        pause = min(timedelta(minutes=row["attempts"]), timedelta(minutes=30))
        async with self.database.acquire() as db:
            await db.execute(_AGAIN, row["step"], pause)

    async def _end(
        self, row: Mapping[str, Any], state: str, reason: str, studies: list[str]
    ) -> None:
        """Keep what has become of a step; what was made is audited as the system's work."""
        entry = Entry(
            Action.OBJECT_CREATE,
            "instance",
            row["sop_instance_uid"],
            details={"kind": Kind.DOSE_REPORT.value, "mpps": row["step"], "studies": studies},
        )
        async with self.database.transaction() as db:
            await db.execute(_END, row["step"], state, reason)
            if state == "MADE":
                await self.audit.add(db, [entry])
        if state == "MADE":
            uid = row["sop_instance_uid"]
            log.info("dose_report.made", step=row["step"], sop_instance_uid=uid)
        else:
            log.warning("dose_report.none", step=row["step"], reason=reason)
