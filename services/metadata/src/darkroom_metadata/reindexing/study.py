"""Brings the rows of one study up to what today's code makes of its objects.

Each row says what its first object says, as when it was indexed: that of a study, that of a series,
and for a patient that of the first study. Rows that are right are left alone, so that it may be
done again at any time, and while objects arrive: what stands above the instances is written under
the lock that the indexer takes for a study, and what has come meanwhile is read under it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import asyncpg

from darkroom_common.messages.events import StoredItem
from darkroom_common.objects.store import ObjectMissing
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PGP_OPTIONS, PhiKeys
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.readers.ingest import CharacterSets, read_character_sets
from darkroom_metadata.conflicts.regrouping import Regrouping
from darkroom_metadata.indexing.extract import BY_READING, Protected, nameless_patient
from darkroom_metadata.indexing.filing import alike, is_stranger
from darkroom_metadata.indexing.item import Item
from darkroom_metadata.indexing.reading import Reading
from darkroom_metadata.indexing.repository import lock_studies
from darkroom_metadata.indexing.rows import FLAG_SEPARATOR, RowWriter
from darkroom_metadata.reindexing import statements as sql
from darkroom_metadata.verification.verification import Brake

BATCH: Final = 100
"""Instances that are read and written at once."""


@dataclass
class Progress:
    """What was read of a study, and what came of it."""

    id: int
    uid: str
    senders: CharacterSets = field(default_factory=lambda: CharacterSets({}))
    """What is assumed of the text of each sender."""
    last: int = 0
    """The row of the last instance that was read."""
    first: Item | None = None
    series: dict[int, Item | None] = field(default_factory=dict)
    """The first instance of each series; None: its object is missing."""
    modalities: set[str] = field(default_factory=set)
    instances: int = 0
    changed: int = 0
    strangers: list[Item] = field(default_factory=list)
    """Instances that disagree with the first of their study, or of their series."""
    missing: list[str] = field(default_factory=list)
    """Keys of objects that are not there: their rows are left as they are."""


@dataclass(frozen=True)
class StudyReindexer:
    """Reads the objects of studies again, one study after the other."""

    database: Database
    reading: Reading
    keys: PhiKeys
    brake: Brake
    outbox: Outbox = field(default_factory=lambda: Outbox("index"))

    async def read(self, study: Progress) -> None:
        """Read the instances and write those rows that differ, some in each transaction.

        Raises:
            DependencyUnavailable: the database or the store is away; what was done is done.
        """
        async with self.database.acquire() as db:
            study.senders = await read_character_sets(db)
        while True:
            async with self.database.transaction() as db:
                count = await self._some(db, study)
            if not count:
                return
            await self.brake.spend(count)

    async def finish(self, db: Connection, study: Progress) -> None:
        """Write the rows above the instances that differ, in the caller's transaction."""
        await lock_studies(db, {study.uid})
        while await self._some(db, study):
            pass  # what has come meanwhile
        await self._study(db, study)
        for row in await db.fetch(sql.SERIES, self.keys.by_id(), study.id):
            await self._series(db, row, study.series.get(row["id"]))
        regrouping = Regrouping(self.keys, self.outbox)
        await regrouping.part(db, study.strangers)
        await regrouping.unite(db, study.uid)

    async def _some(self, db: Connection, study: Progress) -> int:
        rows = await db.fetch(sql.INSTANCES, self.keys.by_id(), study.id, study.last, BATCH)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self.reading.executor, self._read_all, rows, study)
        changed = [(row, one) for row, one in zip(rows, found, strict=True) if _differs(row, one)]
        await self._write(db, [(row, one) for row, one in changed if one is not None])
        study.changed += len(changed)
        for row, one in zip(rows, found, strict=True):
            light = None if one is None else replace(one, found=replace(one.found, header=""))
            if study.last == 0:
                study.first = light
            study.series.setdefault(row["series_id"], light)
            study.last = row["id"]
            study.instances += 1
            if one is None:
                study.missing.append(row["object_key"])
                continue
            if one.found.modality:
                study.modalities.add(one.found.modality)
            if _is_stranger(study, row["series_id"], one):
                study.strangers.append(one)
        return len(rows)

    def _read_all(self, rows: Sequence[asyncpg.Record], study: Progress) -> list[Item | None]:
        """Read headers, in a thread; None for each object that is missing."""
        return [self._read(row, study) for row in rows]

    def _read(self, row: asyncpg.Record, study: Progress) -> Item | None:
        known = {name: row[name] for name in StoredItem.model_fields if name in row}
        flags = tuple(flag for flag in row["flags"] if flag not in BY_READING)
        event = StoredItem.model_construct(
            **known | {"flags": flags, "study_instance_uid": study.uid, "called_ae_title": ""}
        )
        try:
            assumed = study.senders.of(event.calling_ae_title)
            return Item(event, self.reading.read(event, assumed))
        except ObjectMissing:
            return None

    async def _write(self, db: Connection, changed: Sequence[tuple[asyncpg.Record, Item]]) -> None:
        if not changed:
            return
        found = [one.found for _, one in changed]
        await db.execute(
            sql.SET_INSTANCES,
            [row["id"] for row, _ in changed],
            [one.instance_number for one in found],
            [one.rows for one in found],
            [one.columns for one in found],
            [one.bits_allocated for one in found],
            [one.number_of_frames for one in found],
            [FLAG_SEPARATOR.join(one.flags) for one in found],
            [one.header for one in found],
            [one.frame_places for one in found],
            *self._encryption,
        )

    async def _series(self, db: Connection, row: asyncpg.Record, first: Item | None) -> None:
        if first is not None:
            one = first.found
            columns = one.modality, one.series_number, one.performed_date, one.performed_time
            have = tuple(
                row[name]
                for name in ("modality", "series_number", "performed_date", "performed_time")
            )
            if have != columns or _other(row, one.series):
                await db.execute(
                    sql.SET_SERIES, row["id"], *columns, *_protected(one.series), *self._encryption
                )
        if row["instance_count"] != row["counted"]:
            await db.execute(sql.SET_COUNT, row["id"], row["counted"])

    async def _study(self, db: Connection, study: Progress) -> None:
        row = await db.fetchrow(sql.STUDY, self.keys.by_id(), study.id)
        counts = await db.fetchrow(sql.COUNTS, study.id)
        if row is None or counts is None:
            return  # it is gone
        if study.first is not None:
            await self._identity(db, row, study.first)
        known = set(row["modalities"]) if study.missing else set()
        names = ("sop_classes", "calling_ae_titles", "series_count", "instance_count", "byte_count")
        sums = [sorted(study.modalities | known)]
        sums += [sorted(counts[name]) if name in names[:2] else counts[name] for name in names]
        if [row["modalities"], *(row[name] for name in names)] != sums:
            await db.execute(sql.SET_SUMS, study.id, *sums)

    async def _identity(self, db: Connection, row: asyncpg.Record, first: Item) -> None:
        """Write a study's own attributes, and bring it to its patient."""
        one = first.found
        patients = await RowWriter(self.keys).patients(db, [first])
        columns = patients[one.patient_key], one.study_date, one.study_time, one.utc_offset
        have = tuple(row[name] for name in ("patient_id", "study_date", "study_time", "utc_offset"))
        if have != columns or _other(row, one.study):
            await db.execute(
                sql.SET_STUDY, row["id"], *columns, *_protected(one.study), *self._encryption
            )
        patient = await db.fetchrow(sql.PATIENT, self.keys.by_id(), columns[0])
        if patient is not None and patient["first_study"] == row["id"]:
            await self._patient(db, columns[0], patient, one.patient)
        # What could not say whose it was has made a patient of its own for the study.
        nameless = nameless_patient(first.event.study_instance_uid, self.reading.blind)
        await db.execute(sql.DROP_PATIENT, row["patient_id"], nameless)

    async def _patient(
        self, db: Connection, number: int, row: asyncpg.Record, made: Protected
    ) -> None:
        if _other(row, made):
            await db.execute(sql.SET_PATIENT, number, *_protected(made), *self._encryption)

    @property
    def _encryption(self) -> tuple[str, int, str]:
        return self.keys.current_key, self.keys.current, PGP_OPTIONS


def _is_stranger(study: Progress, series: int, one: Item) -> bool:
    if study.first is not None and is_stranger(study.first, one):
        return True
    first = study.series[series]
    return first is not None and not alike(first.found.modality, one.found.modality)


def _differs(row: asyncpg.Record, item: Item | None) -> bool:
    if item is None:
        return False
    one = item.found
    made: list[Any] = [one.instance_number, one.rows, one.columns, one.bits_allocated]
    made += [one.number_of_frames, list(one.flags), one.header, one.frame_places]
    names = ("instance_number", "pixel_rows", "pixel_columns", "bits_allocated")
    more = ("number_of_frames", "flags", "header", "frame_places")
    have = [row[name] for name in (*names, *more)]
    return made != have


def _protected(given: Protected) -> tuple[str, list[bytes]]:
    return given.json, list(given.tokens)


def _other(row: asyncpg.Record, given: Protected) -> bool:
    """Tell whether a row has something else encrypted, or is found by something else."""
    return (row["phi"], row["blind"]) != _protected(given)
