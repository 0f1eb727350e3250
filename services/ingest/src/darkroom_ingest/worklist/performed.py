"""The table `ingest.performed_step`: what modalities tell of their work (MPPS)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from darkroom_common.messages.procedure_steps import ProcedureStepChanged
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.seal import Seal
from darkroom_common.specs.worklist.entries import STEP_PURPOSE
from darkroom_ingest.worklist.attributes import Json
from darkroom_ingest.worklist.entries import Entries

State = Literal["IN PROGRESS", "COMPLETED", "DISCONTINUED"]
_ENTRY_STATES: Final = {
    "IN PROGRESS": "STARTED",
    "COMPLETED": "COMPLETED",
    "DISCONTINUED": "DISCONTINUED",
}
_ADD: Final = """
    INSERT INTO ingest.performed_step (sop_instance_uid, state, calling_ae_title,
        station_ae_title, modality, study_instance_uids, entries, sealed)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING true
"""
_ENTRIES: Final = "UPDATE ingest.performed_step SET entries = $2 WHERE sop_instance_uid = $1"
_FIND: Final = (
    "SELECT state, calling_ae_title, modality, study_instance_uids, sealed"
    " FROM ingest.performed_step WHERE sop_instance_uid = $1"
)
_CHANGE: Final = (
    "UPDATE ingest.performed_step SET state = $2, sealed = $3, version = version + 1,"
    " updated_at = now() WHERE sop_instance_uid = $1"
)
_ENTRY_STATE: Final = """
    UPDATE ingest.worklist w SET state = $2, version = w.version + 1, updated_at = now()
    FROM ingest.performed_step p WHERE p.sop_instance_uid = $1 AND w.id = ANY(p.entries)
        AND w.state = 'STARTED' AND NOT EXISTS (SELECT FROM ingest.performed_step other
            WHERE other.entries @> ARRAY[w.id] AND other.state = 'IN PROGRESS'
                AND other.sop_instance_uid <> p.sop_instance_uid)
"""
_IN_PROGRESS: Final = """
    SELECT DISTINCT uid FROM ingest.performed_step p, unnest(p.study_instance_uids) AS uid
    WHERE p.study_instance_uids && $1::text[] AND uid = ANY($1::text[])
        AND p.state = 'IN PROGRESS' AND p.sop_instance_uid <> $2
"""


@dataclass(frozen=True)
class Begun:
    """A step that begins.

    Attributes:
        scheduled: accession number and id of each scheduled step that it performs.
        attributes: all of it, as DICOM JSON.
    """

    sop_instance_uid: str
    calling_ae_title: str
    station_ae_title: str
    modality: str
    study_instance_uids: Sequence[str]
    scheduled: Sequence[tuple[str, str]]
    attributes: Json


@dataclass(frozen=True)
class Known:
    """A step as it is kept."""

    state: str
    calling_ae_title: str
    attributes: Json


@dataclass(frozen=True)
class Change:
    """What is set of a step; `replaced` decides it while nobody else can change the step."""

    state: State
    attributes: Json


@dataclass(frozen=True)
class PerformedSteps:
    """Reads and writes performed procedure steps."""

    database: Database
    entries: Entries
    seal: Seal
    outbox: Outbox

    async def begin(self, begun: Begun) -> bool:
        """Keep a step that begins; return whether it is new."""
        async with self.database.transaction() as db:
            new = await db.fetchval(
                _ADD,
                begun.sop_instance_uid,
                "IN PROGRESS",
                begun.calling_ae_title,
                begun.station_ae_title,
                begun.modality,
                list(begun.study_instance_uids),
                [],
                self.seal.seal(begun.attributes, purpose=STEP_PURPOSE),
            )
            if not new:
                return False
            performed = await self.entries.performed(
                db, begun.scheduled, begun.study_instance_uids, _ENTRY_STATES["IN PROGRESS"]
            )
            await db.execute(_ENTRIES, begun.sop_instance_uid, performed)
            await self._tell(
                db,
                begun.sop_instance_uid,
                "IN PROGRESS",
                begun.study_instance_uids,
                (begun.modality, begun.calling_ae_title),
            )
        return True

    async def find(self, sop_instance_uid: str) -> Known | None:
        """Return a step; None: there is none."""
        async with self.database.acquire() as db:
            return self._known(await db.fetchrow(_FIND, sop_instance_uid))

    async def change(self, sop_instance_uid: str, change: Change, *, expected: Known) -> bool:
        """Set what a step has become; return False when it is not as expected any more."""
        async with self.database.transaction() as db:
            row = await db.fetchrow(f"{_FIND} FOR UPDATE", sop_instance_uid)
            if row is None or self._known(row) != expected:
                return False
            sealed = self.seal.seal(change.attributes, purpose=STEP_PURPOSE)
            await db.execute(_CHANGE, sop_instance_uid, change.state, sealed)
            if change.state == "IN PROGRESS":
                return True
            await db.execute(_ENTRY_STATE, sop_instance_uid, _ENTRY_STATES[change.state])
            await self._tell(
                db,
                sop_instance_uid,
                change.state,
                row["study_instance_uids"],
                (row["modality"], row["calling_ae_title"]),
            )
        return True

    async def _tell(
        self,
        db: Connection,
        sop_instance_uid: str,
        state: State,
        studies: Sequence[str],
        of: tuple[str, str],
    ) -> None:
        rows = await db.fetch(_IN_PROGRESS, list(studies), sop_instance_uid)
        modality, ae_title = of
        event = ProcedureStepChanged(
            sop_instance_uid=sop_instance_uid,
            state=state,
            study_instance_uids=tuple(studies),
            in_progress=tuple(row["uid"] for row in rows),
            modality=modality,
            calling_ae_title=ae_title,
        )
        await self.outbox.put(db, event)

    def _known(self, row: Any) -> Known | None:
        if row is None:
            return None
        attributes = self.seal.open(row["sealed"], purpose=STEP_PURPOSE)
        return Known(row["state"], row["calling_ae_title"], attributes)
