"""The table `ingest.worklist`: what is scheduled."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import asyncpg
from pydicom.uid import generate_uid

from darkroom_common.postgres.phi import BlindIndex, PhiKeys, decode_key
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.resources.resource import AlreadyThere, NotThere, Refusal, Stale
from darkroom_common.seal import Seal
from darkroom_common.specs.worklist.entries import ENTRY_PURPOSE, OPEN, StepState, WorklistEntry
from darkroom_ingest.settings import IngestSettings
from darkroom_ingest.workitems.subscriptions import Subscriptions
from darkroom_ingest.worklist.telling import tell_orders

PAGE: Final = 200
Source = Literal["rest", "hl7", "file"]
_STUDY_OF: Final = (  # worklist_accession
    "SELECT study_instance_uid FROM ingest.worklist WHERE accession_key = $1 AND patient_key = $2"
    " ORDER BY created_at LIMIT 1"
)
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtextextended('darkroom worklist', 0))"
_ADD: Final = """
    INSERT INTO ingest.worklist (id, source, state, scheduled_at, modality, stations,
        study_instance_uid, step_key, accession_key, patient_key, sealed, ordered_at, requested_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
"""
_LOCK: Final = (
    "SELECT id, version, state, sealed, source FROM ingest.worklist WHERE id = $1 FOR UPDATE"
)
_SAME: Final = (
    "SELECT id, version, state, sealed, source FROM ingest.worklist WHERE {} ORDER BY id FOR UPDATE"
)
_OF_STEP: Final = _SAME.format("step_key = $1")
_OF_ACCESSION: Final = _SAME.format("accession_key = $1")
_OF_PATIENT: Final = _SAME.format("patient_key = $1")
_CHANGE: Final = """
    UPDATE ingest.worklist SET version = version + 1, updated_at = now(), source = $2, state = $3,
        scheduled_at = $4, modality = $5, stations = $6, study_instance_uid = $7, step_key = $8,
        accession_key = $9, patient_key = $10, sealed = $11, ordered_at = $12, requested_by = $13
    WHERE id = $1
"""
_REMOVE: Final = "DELETE FROM ingest.worklist WHERE id = $1"
_OPEN: Final = """
    SELECT id, scheduled_at, sealed, state FROM ingest.worklist
    WHERE state = ANY($1::text[])
        AND ($2::timestamptz IS NULL OR scheduled_at >= $2)
        AND ($3::timestamptz IS NULL OR scheduled_at < $3)
        AND ($4::text[] IS NULL OR modality = ANY($4))
        AND ($5::text[] IS NULL OR stations = '{}' OR stations && $5)
        AND ($6::bytea[] IS NULL OR accession_key = ANY($6))
        AND ($7::bytea[] IS NULL OR patient_key = ANY($7))
        AND ($8::text[] IS NULL OR study_instance_uid = ANY($8))
        AND (scheduled_at, id) > ($9::timestamptz, $10::text)
    ORDER BY scheduled_at, id LIMIT $11
"""
_PERFORMED: Final = """
    SELECT id, state, study_instance_uid FROM ingest.worklist
    WHERE step_key = ANY($1::bytea[])
        OR (study_instance_uid = ANY($2::text[]) AND $3)
    ORDER BY id FOR UPDATE
"""
_STATE: Final = (
    "UPDATE ingest.worklist SET state = $2, version = version + 1, updated_at = now()"
    " WHERE id = ANY($1::text[]) AND state <> $2"
)
_EARLIEST: Final = (dt.datetime(1, 1, 1, tzinfo=dt.UTC), "")


class Ended(Refusal):
    """A step has ended: nothing of it is scheduled any more."""

    OUTCOME = "conflict"


@dataclass(frozen=True)
class Narrow:
    """What the database looks at before an entry is opened; None: whatever it is."""

    first: dt.date | None = None
    last: dt.date | None = None
    modalities: Sequence[str] | None = None
    stations: Sequence[str] | None = None
    accession_numbers: Sequence[str] | None = None
    patient_ids: Sequence[str] | None = None
    studies: Sequence[str] | None = None


@dataclass(frozen=True)
class Entries:
    """Reads and writes the worklist."""

    database: Database
    seal: Seal
    blind: BlindIndex

    async def add(
        self, entry: WorklistEntry, *, by: str, source: Source = "rest", entry_id: str | None = None
    ) -> str:
        """Keep a new entry; return its id. One of the id that is there already is that entry.

        Raises:
            AlreadyThere: there is one of this accession number and step.
        """
        async with self.database.transaction() as db:
            await self.alone(db)
            if entry_id is not None and await db.fetchrow(_LOCK, entry_id) is not None:
                return entry_id
            return await self._add(db, entry, by=by, source=source, entry_id=entry_id)

    async def change(
        self, entry_id: str, entry: WorklistEntry, *, by: str, version: int | None = None
    ) -> None:
        """Change an entry; what is left out of its identity stays.

        Raises:
            NotThere: there is none.
            Stale: it is of another version.
            AlreadyThere: there is another one of this accession number and step.
        """
        async with self.database.transaction() as db:
            await self.alone(db)
            before = await self._locked(db, entry_id, version)
            await self._change(db, before, entry, by=by, source="rest")

    async def remove(self, entry_id: str, *, version: int | None = None) -> None:
        """Remove an entry.

        Raises:
            NotThere, Stale: as `change`.
        """
        async with self.database.transaction() as db:
            await self.alone(db)
            row = await self._locked(db, entry_id, version)
            await db.execute(_REMOVE, entry_id)
            await tell_orders(db, _studies(self.opened(row)))

    async def follow(
        self, db: Connection, entry: WorklistEntry, *, by: str, source: Source, new: bool
    ) -> str:
        """Add an entry, or change the one of its accession number and step; return its id.

        What has begun stays so; one that was cancelled is scheduled again by a new order.

        Args:
            db: with a transaction that `alone` has begun.
            entry: as it is to be.
            by: who says so.
            source: by which way.
            new: whether it is ordered, and not changed.

        Raises:
            Ended: it has ended.
        """
        before = await db.fetchrow(_OF_STEP, self._step_key(entry))
        if before is None:
            return await self._add(db, entry, by=by, source=source)
        again = new and before["state"] == "CANCELLED"
        if before["state"] not in OPEN and not again:
            raise Ended(_HAS_ENDED)
        state = "SCHEDULED" if again else before["state"]
        going_on = entry.model_copy(update={"state": state})
        await self._change(db, before, going_on, by=by, source=source)
        return str(before["id"])

    async def put(
        self, db: Connection, accession_number: str, step_id: str, state: StepState
    ) -> list[str]:
        """Put the steps of an order in a state; return their ids.

        What has begun is not scheduled again, and is discontinued where others are cancelled.

        Args:
            db: with a transaction that `alone` has begun.
            accession_number: of the order.
            step_id: of the one step; empty: of all of them.
            state: from now on.

        Raises:
            NotThere: there is no such step.
            Ended: all of them have ended, and otherwise.
        """
        if step_id:
            rows = await db.fetch(_OF_STEP, self._key(accession_number, step_id))
        else:
            accession = self.blind.exact("AccessionNumber", accession_number)
            rows = await db.fetch(_OF_ACCESSION, accession)
        if not rows:
            raise NotThere("there is no such step")
        final: StepState = "DISCONTINUED" if state == "CANCELLED" else state
        there = {row["id"]: final if row["state"] == "STARTED" else state for row in rows}
        open_ones = [row for row in rows if row["state"] in OPEN]
        if not open_ones and not any(row["state"] in {state, final} for row in rows):
            raise Ended(_HAS_ENDED)
        changed = [row["id"] for row in open_ones if state not in OPEN or row["state"] != "STARTED"]
        for one in changed:
            await db.execute(_STATE, [one], there[one])
        return changed

    async def know(
        self, db: Connection, patient_id: str, issuer: str, known: Mapping[str, Any], *, by: str
    ) -> list[str]:
        """Put what is known of a patient into all entries of it; return their ids.

        Args:
            db: with a transaction that `alone` has begun.
            patient_id: that they have now.
            issuer: of that id; entries of another one stay.
            known: values by the names of `WorklistEntry`; the patient's id may be another one.
            by: who says so.
        """
        changed = []
        for row in await db.fetch(_OF_PATIENT, self.blind.exact("PatientID", patient_id)):
            entry = self.opened(row)
            if entry.patient_id != patient_id or (
                issuer and entry.issuer_of_patient_id not in {"", issuer}
            ):
                continue
            fresh = entry.model_copy(update=dict(known))
            if fresh != entry:
                await self._change(db, row, fresh, by=by, source=row["source"])
                changed.append(str(row["id"]))
        return changed

    async def alone(self, db: Connection) -> None:
        """Let nobody else change identities in the worklist until the transaction has ended."""
        await db.execute(_ONE_AT_A_TIME)

    async def page(
        self, narrow: Narrow, after: tuple[dt.datetime, str] | None
    ) -> tuple[list[WorklistEntry], tuple[dt.datetime, str] | None]:
        """Return open entries in the order of their start, and after which the next page begins."""
        last = None if narrow.last is None else narrow.last + dt.timedelta(days=1)
        async with self.database.planned() as db:
            rows = await db.fetch(
                _OPEN,
                list(OPEN),
                _midnight(narrow.first),
                _midnight(last),
                _listed(narrow.modalities),
                _listed(narrow.stations),
                self._tokens("AccessionNumber", narrow.accession_numbers),
                self._tokens("PatientID", narrow.patient_ids),
                _listed(narrow.studies),
                *(after or _EARLIEST),
                PAGE,
            )
        found = [self.opened(row) for row in rows]
        more = len(rows) == PAGE
        return found, (rows[-1]["scheduled_at"], rows[-1]["id"]) if more else None

    def opened(self, row: Any) -> WorklistEntry:
        """Return the entry of a row, in the state that the row has."""
        given = self.seal.open(row["sealed"], purpose=ENTRY_PURPOSE)
        return WorklistEntry.model_validate(given | {"state": row["state"]})

    async def performed(
        self, db: Connection, steps: Sequence[tuple[str, str]], studies: Sequence[str], state: str
    ) -> list[str]:
        """Put the entries that a performed step is about in a state; return their ids.

        Args:
            db: with the transaction of the performed step.
            steps: accession number and id of each scheduled step that it names.
            studies: what it is of, where it names no scheduled step.
            state: of the entries from now on.
        """
        keys = [self._key(*step) for step in steps]
        rows = await db.fetch(_PERFORMED, keys, list(studies), not steps)
        ids = [row["id"] for row in rows]
        await db.execute(_STATE, ids, state)
        return ids

    async def _add(
        self,
        db: Connection,
        entry: WorklistEntry,
        *,
        by: str,
        source: Source,
        entry_id: str | None = None,
    ) -> str:
        entry_id = entry_id or uuid.uuid4().hex
        whole = await self._whole(db, entry, entry_id)
        try:
            async with db.transaction():
                await db.execute(_ADD, entry_id, source, *self._columns(whole), by)
        except asyncpg.UniqueViolationError as error:
            raise AlreadyThere(_TAKEN) from error
        await tell_orders(db, _studies(whole))
        await Subscriptions(self.database, self.seal).follow_entry(db, entry_id, whole)
        return entry_id

    async def _change(
        self, db: Connection, before: Any, entry: WorklistEntry, *, by: str, source: Source
    ) -> None:
        known = self.opened(before)
        kept = {
            name: getattr(known, name)
            for name in (
                "study_instance_uid",
                "scheduled_procedure_step_id",
                "requested_procedure_id",
            )
            if not getattr(entry, name)
        }
        whole = entry.model_copy(update=kept)
        try:
            async with db.transaction():
                await db.execute(_CHANGE, before["id"], source, *self._columns(whole), by)
        except asyncpg.UniqueViolationError as error:
            raise AlreadyThere(_TAKEN) from error
        if (known.study_instance_uid, known.ordered_at) != (
            whole.study_instance_uid,
            whole.ordered_at,
        ):
            await tell_orders(db, _studies(known, whole))

    async def _locked(self, db: Connection, entry_id: str, version: int | None) -> Any:
        row = await db.fetchrow(_LOCK, entry_id)
        if row is None:
            raise NotThere("there is no such entry of the worklist")
        if version is not None and row["version"] != version:
            raise Stale("this entry has been changed meanwhile")
        return row

    async def _whole(self, db: Connection, entry: WorklistEntry, entry_id: str) -> WorklistEntry:
        """Return an entry with the identifiers that were left out."""
        step = entry.scheduled_procedure_step_id or f"S{entry_id[:15].upper()}"
        study = entry.study_instance_uid
        if study is None and entry.accession_number:
            study = await db.fetchval(
                _STUDY_OF,
                self.blind.exact("AccessionNumber", entry.accession_number),
                self.blind.exact("PatientID", entry.patient_id),
            )
        return entry.model_copy(
            update={
                "scheduled_procedure_step_id": step,
                "requested_procedure_id": entry.requested_procedure_id
                or entry.accession_number
                or step,
                "study_instance_uid": study or str(generate_uid(prefix=None)),
            }
        )

    def _columns(self, entry: WorklistEntry) -> tuple[object, ...]:
        accession = entry.accession_number
        return (
            entry.state,
            entry.scheduled_at.replace(tzinfo=dt.UTC),
            entry.modality,
            list(entry.scheduled_station_ae_titles),
            entry.study_instance_uid,
            self._step_key(entry),
            self.blind.exact("AccessionNumber", accession) if accession else None,
            self.blind.exact("PatientID", entry.patient_id),
            self.seal.seal(entry.model_dump(mode="json"), purpose=ENTRY_PURPOSE),
            None if entry.ordered_at is None else entry.ordered_at.replace(tzinfo=dt.UTC),
        )

    def _step_key(self, entry: WorklistEntry) -> bytes:
        return self._key(entry.accession_number, entry.scheduled_procedure_step_id)

    def _key(self, accession_number: str, step_id: str) -> bytes:
        return self.blind.exact("ScheduledProcedureStepID", f"{accession_number}\\{step_id}")

    def _tokens(self, field: str, values: Sequence[str] | None) -> list[bytes] | None:
        return None if values is None else [self.blind.exact(field, one) for one in values]


def open_entries(database: Database, settings: IngestSettings) -> Entries | None:
    """Return what reads and writes the worklist; None without the keys that it needs."""
    if settings.phi_keys is None or settings.blind_index_key is None:
        return None
    key = decode_key(settings.blind_index_key.get_secret_value(), setting="BLIND_INDEX_KEY")
    keys = PhiKeys.parse(settings.phi_keys.get_secret_value())
    return Entries(database, Seal(keys), BlindIndex(key))


_HAS_ENDED: Final = "the step has ended"
_TAKEN: Final = "there is an entry of this accession number and step"


def _studies(*entries: WorklistEntry) -> list[str]:
    return [one.study_instance_uid for one in entries if one.study_instance_uid]


def _midnight(day: dt.date | None) -> dt.datetime | None:
    return None if day is None else dt.datetime.combine(day, dt.time(), dt.UTC)


def _listed(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)
