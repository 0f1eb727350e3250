"""Carries out edits, each once, whatever is killed meanwhile.

The objects of a study are written anew first, some at a time, while those in force stay. Then one
transaction brings all its rows to them: what people see of a study is never half of an edit. An
edit that cannot be done (an object is damaged, a text has no form in its character set) changes
nothing of the study. Objects that come later and say what was said before the edit are filed under
the study, and edited by a job that follows.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import asyncpg
import orjson

from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.lease import Claims, Decide
from darkroom_common.jobs.runner import Runner
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import CLASH_ATTEMPTS, Connection, is_clash
from darkroom_common.seal import Seal
from darkroom_common.specs.edits import PURPOSE, Edit, PatientRef
from darkroom_common.telemetry.logs import get_logger
from darkroom_metadata.conflicts.objects import Desk, Kept
from darkroom_metadata.conflicts.plans import NotPossible
from darkroom_metadata.conflicts.refiling import Refiling
from darkroom_metadata.conflicts.regrouping import Regrouping
from darkroom_metadata.conflicts.resolving import reason_of
from darkroom_metadata.editing.merged import Merge, begin_keeping, find_merge, keep_merge
from darkroom_metadata.editing.repository import FOLLOW, PHASES
from darkroom_metadata.editing.staging import Staging, Step, told
from darkroom_metadata.editing.standing import (
    IDENTITY,
    QUALIFIERS,
    Rewriting,
    Said,
    Standing,
    find_standing,
    shown,
)
from darkroom_metadata.indexing.repository import lock_studies

log = get_logger(__name__)
BATCH: Final = 20
"""Objects that are written at a time."""
_HUGE: Final = 2**62
_OF_UID: Final = (  # study_study_instance_uid_key, study_beside_uid
    "SELECT s.id, e.edit_id FROM index.study s LEFT JOIN index.study_edit e ON e.id = s.id"
    " WHERE s.study_instance_uid = $1 AND s.status <> 'deleted' ORDER BY s.id"
)
_OF_PATIENT: Final = (  # patient_patient_key_key, study_patient
    "SELECT s.id FROM index.patient p JOIN index.study s ON s.patient_id = p.id"
    " WHERE p.patient_key = $1 AND s.status <> 'deleted' AND NOT EXISTS (SELECT"
    "  FROM index.study_edit e WHERE e.id = s.id AND e.edit_id = $2) ORDER BY s.id LIMIT 1"
)
_BEHIND: Final = (  # study_study_instance_uid_key, instance_series
    "SELECT s.id FROM index.study s JOIN index.study_edit d ON d.id = s.id"
    " WHERE s.study_instance_uid = $1 AND s.status <> 'deleted' AND EXISTS (SELECT"
    "  FROM index.series e JOIN index.instance i ON i.series_id = e.id"
    "  WHERE e.study_id = s.id AND i.edition < d.edition) ORDER BY s.id LIMIT 1"
)
_STUDY: Final = (
    "SELECT s.id, s.study_instance_uid, s.patient_id, s.status,"
    " pgp_sym_decrypt(s.phi, nullif(($1::text[])[s.phi_key], '')) AS phi"
    " FROM index.study s WHERE s.id = $2 AND s.status <> 'deleted'"
)
_PATIENT: Final = (  # patient_patient_key_key
    "SELECT pgp_sym_decrypt(p.phi, nullif(($1::text[])[p.phi_key], '')) AS phi"
    " FROM index.patient p WHERE p.patient_key = $2"
)
_NOT_READ: Final = (  # what was verified is other bytes now
    "UPDATE index.study SET status = 'complete' WHERE id = $1 AND status = 'verified'"
)
_PROGRESS: Final = (
    "UPDATE index.edit SET studies = studies + 1, instances = instances + $2, updated_at = now()"
    " WHERE id = $1"
)
Values = Mapping[str, str | None]


class _Lost(Exception):
    """The job is not this process's any more."""


@dataclass
class Editor:
    """Does the jobs of `Edits`, one at a time."""

    claims: Claims[Attempt]
    desk: Desk
    keys: PhiKeys
    seal: Seal
    outbox: Outbox

    def __post_init__(self) -> None:
        """Make what runs the jobs."""
        self.database = self.claims.database
        self.staging = Staging(self.keys, self.desk.reading.store)
        self.rewriting = Rewriting(self.keys, self.desk.reading.blind)
        self.regrouping = Regrouping(self.keys, self.outbox)
        self.runner = Runner(self.claims, self.attempt)

    async def attempt(self, job: Attempt) -> Ending | Decide:
        """Do one job; what it cannot do is the job's end."""
        try:
            edit = await self._edit(job)
            while not job.stopped:
                study = await self._next(job, edit)
                if study is None:
                    return await self._end(job, edit)
                await self._study(job, edit, study)
            return self.claims.table.kind.given_back()
        except PermanentError as error:
            await self.staging.give_up(self.database, job.id)
            return Ending(PHASES.failed, reason_of(error))
        except _Lost:
            return self.claims.table.kind.given_back()  # which its new owner does not see

    async def _end(self, job: Attempt, edit: Edit) -> Ending | Decide:
        """Return the end of a job whose studies are done; a merge holds for later ones, too."""
        if edit.source is None or edit.target is None or job.row["merged_key"] is not None:
            return Ending("DONE")
        return partial(self._kept, job, edit, edit.source, edit.target)

    async def _kept(
        self, job: Attempt, edit: Edit, source: PatientRef, target: PatientRef, db: Connection
    ) -> Ending:
        await begin_keeping(db)
        if await db.fetchval(_OF_PATIENT, self._key(source), job.id) is not None:
            return self.claims.table.kind.given_back()  # something has come meanwhile
        merge = Merge(edit, self._key(source), self._key(target), job.row["requested_by"])
        if merge.source != merge.target:
            await keep_merge(db, self.seal, merge)
        return Ending("DONE")

    async def _edit(self, job: Attempt) -> Edit:
        sealed = job.row["sealed"]
        if job.row["merged_key"] is not None:
            async with self.database.acquire() as db:
                merge = await find_merge(db, self.seal, job.row["merged_key"])
            if merge is None:
                raise NotPossible("the merge that this follows holds no more")
            return merge
        return Edit.model_validate(self.seal.open(sealed, purpose=PURPOSE) if sealed else {})

    async def _next(self, job: Attempt, edit: Edit) -> int | None:
        """Return the next study that the job has not edited yet.

        Raises:
            NotPossible: there is none, or it cannot be told which is meant.
        """
        uid = job.row["study_instance_uid"]
        async with self.database.acquire() as db:
            if job.row["action"] == FOLLOW:
                behind: int | None = await db.fetchval(_BEHIND, uid)
                return behind
            if edit.source is not None:
                found: int | None = await db.fetchval(_OF_PATIENT, self._key(edit.source), job.id)
                return found
            rows = await db.fetch(_OF_UID, uid)
        if not rows:
            raise NotPossible("there is no such study")
        if any(row["edit_id"] == job.id for row in rows):
            return None
        if len(rows) > 1:
            raise NotPossible("the UID is of studies of several patients: decide that conflict")
        number: int = rows[0]["id"]
        return number

    def _key(self, patient: PatientRef) -> bytes:
        return self.desk.reading.blind.token("patient", "value", patient.token_text)

    async def _study(self, job: Attempt, edit: Edit, study: int) -> None:
        """Edit a study: write its objects, then bring its rows to them."""
        follows = job.row["action"] == FOLLOW
        for _ in range(CLASH_ATTEMPTS):
            async with self.database.acquire() as db:
                standing = await find_standing(db, self.keys, study)
                values = {} if follows else await self._values(db, edit)
            edition = standing.edition if follows else standing.edition + 1
            step = Step(study, job.id, edition, below=edition if follows else _HUGE)
            await self._write(job, step, {**standing.values, **values})
            if job.stopped:
                return
            said = Said(job.id, job.row["requested_by"], edit.reason, values)
            try:
                async with self.database.transaction() as db:
                    await self._hold(db, job)
                    done = await self._put_in_force(db, step, standing, said)
            except Exception as error:
                if not is_clash(error):
                    raise
                continue
            if done:
                self.outbox.wake()
                return
        raise DependencyUnavailable("the study is too busy: something has come each time")

    async def _values(self, db: Connection, edit: Edit) -> Values:
        """Return what the edit says, keyword by keyword.

        Raises:
            NotPossible: the patient whose values are to be taken is not there.
        """
        values: dict[str, str | None] = {str(name): text for name, text in edit.values.items()}
        if edit.target is not None:
            phi = await db.fetchval(_PATIENT, self.keys.by_id(), self._key(edit.target))
            if phi is None:
                raise NotPossible("the index knows no such patient")
            known = orjson.loads(phi)["j"]
            values |= {keyword: shown(known, keyword) or None for keyword in IDENTITY}
        if values.keys() & {"PatientID", "IssuerOfPatientID"}:
            values[QUALIFIERS] = None
        return values

    async def _write(self, job: Attempt, step: Step, values: Values) -> None:
        """Write the objects of a study that are not written yet."""
        changes = Standing(values=values).by_tag
        while not job.stopped:
            async with self.database.acquire() as db:
                rows = await self.staging.left(db, step, most=BATCH)
            if not rows:
                return
            desk, kept = self.desk, [Kept.of(row) for row in rows]
            written = await asyncio.gather(
                *(desk.correct(one, changes) for one in kept), return_exceptions=True
            )
            async with self.database.transaction() as db:
                await self._hold(db, job)
                for row, item in zip(rows, written, strict=True):
                    if not isinstance(item, BaseException):
                        await self.staging.add(db, job.id, row, item)
            for item in written:
                if isinstance(item, BaseException):
                    raise item
            job.progressed = True

    async def _hold(self, db: Connection, job: Attempt) -> None:
        """Keep others from taking the job over until the end of the transaction."""
        if not await self.claims.table.ours(db, job, owner=self.claims.owner):
            raise _Lost

    async def _put_in_force(
        self, db: Connection, step: Step, standing: Standing, said: Said
    ) -> bool:
        """Bring the rows to what was written; tell whether nothing has come in between."""
        row = await self._locked(db, step.study)
        if await find_standing(db, self.keys, step.study) != standing:
            return False
        changed = await self.staging.put_in_force(db, step, by=said.by)
        if changed is None:
            return False
        if said.values:
            await self.rewriting.write(db, row, standing, said)
        await db.execute(_NOT_READ, step.study)
        await Refiling.recount(db, await self._series(db, step.study), {step.study})
        if said.values:
            await self.regrouping.unite(db, row["study_instance_uid"])
        await db.execute(_PROGRESS, step.edit_id, len(changed))
        await self.outbox.put_traced(db, told(changed))
        count = len(changed)
        log.info("study.edited", study=step.study, edit=said.edit_id, by=said.by, instances=count)
        return True

    async def _locked(self, db: Connection, study: int) -> asyncpg.Record:
        """Return the row of a study that nobody else writes to until the end of the transaction.

        Raises:
            NotPossible: it is not there any more.
        """
        row = await db.fetchrow(_STUDY, self.keys.by_id(), study)
        if row is not None:
            await lock_studies(db, {row["study_instance_uid"]})
            row = await db.fetchrow(f"{_STUDY} FOR UPDATE", self.keys.by_id(), study)
        if row is None:
            raise NotPossible("the study is not there any more")
        return row

    @staticmethod
    async def _series(db: Connection, study: int) -> set[int]:
        rows = await db.fetch("SELECT id FROM index.series WHERE study_id = $1", study)
        return {row[0] for row in rows}
