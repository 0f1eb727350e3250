"""The indexer on a real PostgreSQL: once, whatever comes how often and in which order."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from darkroom_common.amqp.broker import Received
from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.messages.events import (
    InstancesIndexed,
    InstancesStored,
    StoredItem,
    StudyCompleted,
)
from darkroom_common.objects.store import FileSystemStore, ObjectMissing
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import BlindIndex, PhiKeys
from darkroom_metadata.indexing.extract import Extracted
from darkroom_metadata.indexing.indexer import Indexer
from darkroom_metadata.indexing.item import Item, LostRace
from darkroom_metadata.indexing.repository import IndexRepository
from darkroom_metadata.indexing.rows import RowWriter
from darkroom_metadata.studies.lifecycle import Lifecycle
from tests.support.builders import CT, a_data_set, a_stored_item, encode, new_uid
from tests.support.database import Prepared
from tests.support.headers import reading_here
from tests.support.waiting import LIMIT

KEY = base64.b64encode(b"k" * 32).decode()
KEYS = PhiKeys(1, {1: KEY})
BLIND = BlindIndex(b"b" * 32)
EXPLICIT = "1.2.840.10008.1.2.1"
FIRST_VERSION = 1


class Bench:
    """An indexer and a store to index from."""

    def __init__(self, prepared: Prepared, indexer: Indexer, store: Path) -> None:
        self.prepared = prepared
        self.indexer = indexer
        self.directory = store

    def stored(self, data_set: Dataset, **changes: Any) -> StoredItem:
        """Put an object into the store and return the event that says so."""
        syntax = changes.get("transfer_syntax_uid", EXPLICIT)
        data = encode(data_set, syntax)
        head = encode_head(FileMeta(CT, str(data_set.SOPInstanceUID), syntax))
        digest = hashlib.sha256(data).hexdigest()
        key = f"{digest}.dcm"
        (self.directory / key).write_bytes(head + data)
        return a_stored_item(
            **{
                "study_instance_uid": str(data_set.StudyInstanceUID),
                "series_instance_uid": str(data_set.SeriesInstanceUID),
                "sop_instance_uid": str(data_set.SOPInstanceUID),
                "object_key": key,
                "sha256": digest,
                "size": len(data),
                "data_set_offset": len(head),
                **changes,
            }
        )

    async def found(self, event: StoredItem) -> Extracted:
        """Return what the indexer reads of an object."""
        reading = self.indexer.reading
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(reading.executor, reading.read, event)

    async def index(self, *events: StoredItem) -> None:
        await self.indexer.index(received(*events))

    async def counts(self) -> tuple[int, ...]:
        sql = (
            "SELECT (SELECT count(*) FROM index.patient), (SELECT count(*) FROM index.study),"
            " (SELECT count(*) FROM index.series), (SELECT count(*) FROM index.instance),"
            " (SELECT count(*) FROM index.conflict)"
        )
        return tuple((await self.prepared.fetch(sql))[0])

    async def indexed(self) -> list[str]:
        """Return the SOP instance UIDs that events tell of."""
        rows = await self.prepared.fetch(
            "SELECT body FROM index.outbox WHERE type = $1", InstancesIndexed.TYPE
        )
        batches = [InstancesIndexed.from_body(row["body"]) for row in rows]
        return [item.sop_instance_uid for batch in batches for item in batch.items]

    async def told(self) -> list[str]:
        rows = await self.prepared.fetch("SELECT type FROM index.outbox ORDER BY id")
        return [row["type"].removeprefix("dicom.") for row in rows]


def received(*events: StoredItem) -> Sequence[Received]:
    return [Received(one, {}, 0) for one in InstancesStored.of(events)]


@asynccontextmanager
async def indexing(prepared: Prepared, store: Path) -> AsyncIterator[Bench]:
    with ThreadPoolExecutor(2) as executor:
        async with prepared.login("metadata") as database:
            indexer = Indexer(
                database,
                reading_here(FileSystemStore(store), BLIND, executor),
                IndexRepository(RowWriter(KEYS)),
                Outbox("index"),
            )
            yield Bench(prepared, indexer, store)


@pytest.fixture
async def bench(superuser_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    prepared = await Prepared.make(superuser_url, "metadata")
    async with indexing(prepared, tmp_path) as made:
        yield made


@pytest.mark.req("MET-01")
async def test_the_same_message_five_times_is_one_row_and_one_event(bench: Bench) -> None:
    event = bench.stored(a_data_set())
    await bench.index(event, event)
    for _ in range(3):
        await bench.index(event)
    assert await bench.counts() == (1, 1, 1, 1, 0)
    assert await bench.told() == ["instances.indexed.v2"]
    assert (await bench.prepared.fetch("SELECT duplicates FROM index.instance"))[0][0] == 0


@pytest.mark.req("MET-01")
async def test_the_same_object_received_again_is_counted(bench: Bench) -> None:
    data_set = a_data_set()
    await bench.index(bench.stored(data_set))
    await bench.index(bench.stored(data_set), bench.stored(data_set))
    assert await bench.counts() == (1, 1, 1, 1, 0)
    assert (await bench.prepared.fetch("SELECT duplicates FROM index.instance"))[0][0] == 2
    assert await bench.told() == ["instances.indexed.v2"]


@pytest.mark.req("STO-03")
async def test_other_bytes_are_a_conflict_once_and_told(bench: Bench) -> None:
    first = a_data_set()
    other = a_data_set(
        SOPInstanceUID=first.SOPInstanceUID,
        StudyInstanceUID=first.StudyInstanceUID,
        SeriesInstanceUID=first.SeriesInstanceUID,
        InstanceNumber=99,
    )
    # in one batch, and again in another
    await bench.index(bench.stored(first), bench.stored(other), bench.stored(other))
    await bench.index(bench.stored(other))
    assert await bench.counts() == (1, 1, 1, 1, 1)
    assert await bench.told() == [
        "instances.indexed.v2",
        "instance.conflicted.v1",
        "conflict.opened.v1",
    ]
    row = (await bench.prepared.fetch("SELECT instance_number FROM index.instance"))[0]
    assert row["instance_number"] == 7


async def test_the_same_uid_under_another_study_is_a_conflict(bench: Bench) -> None:
    first = a_data_set()
    moved = a_data_set(SOPInstanceUID=first.SOPInstanceUID)
    await bench.index(bench.stored(first))
    await bench.index(bench.stored(moved))
    assert await bench.counts() == (1, 1, 1, 1, 1)


async def test_one_series_uid_in_two_studies_is_two_series(bench: Bench) -> None:
    series = new_uid()
    one, two = a_data_set(SeriesInstanceUID=series), a_data_set(SeriesInstanceUID=series)
    await bench.index(bench.stored(one), bench.stored(two))
    assert await bench.counts() == (1, 2, 2, 2, 1)  # and a conflict that names both
    rows = await bench.prepared.fetch("SELECT instance_count FROM index.series")
    assert [row[0] for row in rows] == [1, 1]


async def test_many_indexers_at_once_index_each_object_once(
    superuser_url: str, tmp_path: Path
) -> None:
    prepared = await Prepared.make(superuser_url, "metadata")
    async with indexing(prepared, tmp_path) as one, indexing(prepared, tmp_path) as two:
        studies = [new_uid() for _ in range(3)]
        sets = [
            a_data_set(StudyInstanceUID=studies[n % 3], PatientID=f"P{n % 3 % 2}")
            for n in range(60)
        ]
        events = [one.stored(data_set) for data_set in sets]
        again = [one.stored(data_set) for data_set in sets]  # sent twice, other receipts
        batches = [
            (one, events[:30]),
            (two, list(reversed(again[:40]))),
            (one, events[30:]),
            (two, again[40:]),
            (two, list(reversed(events))),
            (one, again),
        ]
        await asyncio.gather(*(bench.index(*part) for bench, part in batches))
        assert await one.counts() == (2, 3, 60, 60, 0)
        assert len(await one.indexed()) == len(set(await one.indexed())) == 60
        rows = await prepared.fetch("SELECT instance_count, series_count FROM index.study")
        assert [tuple(row) for row in rows] == [(20, 20)] * 3
        total = await prepared.fetch("SELECT sum(duplicates)::int FROM index.instance")
        assert total[0][0] == 60


async def test_what_a_later_batch_brings_is_added_to_what_was_there(bench: Bench) -> None:
    study, first, second = new_uid(), new_uid(), new_uid()

    def an_object(series: str, modality: str, **more: Any) -> StoredItem:
        parents = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        return bench.stored(a_data_set(**parents, Modality=modality), **more)

    some = [an_object(first, "CT"), an_object(first, "CT"), an_object(second, "SR")]
    more = [an_object(first, "CT", calling_ae_title="OTHER"), an_object(new_uid(), "PR")]
    last = [an_object(second, "SR", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.11")]
    for batch in (some, more, last):
        await bench.index(*batch)
    (row,) = await bench.prepared.fetch(
        "SELECT instance_count, series_count, byte_count, version, modalities, sop_classes,"
        " calling_ae_titles FROM index.study"
    )
    every = [*some, *more, *last]
    assert tuple(row)[:3] == (6, 3, sum(event.size for event in every))
    assert row["version"] == FIRST_VERSION + 3, "readers see that it has changed"
    assert row["modalities"] == ["CT", "PR", "SR"]
    assert row["sop_classes"] == sorted({event.sop_class_uid for event in every})
    assert row["calling_ae_titles"] == ["OTHER", "SCANNER"]
    rows = await bench.prepared.fetch(
        "SELECT modality, instance_count, version FROM index.series ORDER BY modality"
    )
    assert [tuple(row)[:2] for row in rows] == [("CT", 3), ("PR", 1), ("SR", 2)]
    assert [row["version"] - FIRST_VERSION for row in rows] == [2, 1, 2]


async def test_what_was_added_is_told_to_who_writes_it(bench: Bench) -> None:
    """The rows, the studies, what was told of them before, and what lost a race."""
    study = new_uid()
    events = [bench.stored(a_data_set(StudyInstanceUID=study)) for _ in range(2)]
    items = [Item(one, await bench.found(one)) for one in events]
    writer = RowWriter(KEYS)
    async with bench.prepared.login("metadata") as database:
        async with database.transaction() as db:
            first = await writer.insert(db, items[:1])
        assert set(first.ids) == {events[0].sop_instance_uid}
        assert len(first.studies) == 1
        assert first.changed == [], "it is receiving from its first instance on"
        assert first.disagreements == []
        async with database.transaction() as db:
            await db.execute("UPDATE index.study SET status = 'complete'")
            more = await writer.insert(db, items[1:])
        assert more.studies == first.studies
        (changed,) = more.changed
        assert (changed.study_instance_uid, changed.old, changed.new) == (
            study,
            "complete",
            "receiving",
        )
        async with database.transaction() as db:
            with pytest.raises(LostRace):
                await writer.insert(db, items)
    assert (await bench.counts())[3] == 2


async def test_phi_is_encrypted_and_comes_back_with_the_key(bench: Bench) -> None:
    await bench.index(bench.stored(a_data_set()))
    tables = ("patient", "study", "series", "instance")
    for table in tables:
        rows = await bench.prepared.fetch(f"SELECT t::text FROM index.{table} t")
        assert "planted" not in rows[0][0].lower()
        assert "504c414e54" not in rows[0][0].lower()  # PLANT in hexadecimal
    rows = await bench.prepared.fetch("SELECT pgp_sym_decrypt(phi, $1) FROM index.study", KEY)
    assert json.loads(rows[0][0])["n"]["PatientName"] == "planted^name"
    rows = await bench.prepared.fetch(
        "SELECT count(*) FROM index.study WHERE blind @> ARRAY[$1::bytea]",
        BLIND.exact("PatientName", "Planted^Name"),
    )
    assert rows[0][0] == 1


async def test_an_object_without_a_readable_header_is_indexed_by_what_is_known(
    bench: Bench, tmp_path: Path
) -> None:
    event = bench.stored(a_data_set())
    (tmp_path / event.object_key).write_bytes(b"\x00" * 64)
    await bench.index(event)
    row = (await bench.prepared.fetch("SELECT sop_instance_uid, flags FROM index.instance"))[0]
    assert row["sop_instance_uid"] == event.sop_instance_uid


async def test_an_object_that_is_not_there_is_an_error_and_leaves_nothing(bench: Bench) -> None:
    good = bench.stored(a_data_set())
    with pytest.raises(ObjectMissing):
        await bench.index(good, a_stored_item())
    assert await bench.counts() == (0, 0, 0, 0, 0)


async def test_a_quiet_study_is_complete_and_again_when_more_has_come(bench: Bench) -> None:
    study = new_uid()
    await bench.index(bench.stored(a_data_set(StudyInstanceUID=study)))
    patient = Lifecycle(bench.indexer.database, bench.indexer.outbox, timedelta(hours=1))
    hasty = Lifecycle(bench.indexer.database, bench.indexer.outbox, timedelta(0))
    assert await patient.complete_quiet() == 0
    assert await hasty.complete_quiet() == 1
    assert await hasty.complete_quiet() == 0
    await bench.index(bench.stored(a_data_set(StudyInstanceUID=study)))
    status = await bench.prepared.fetch("SELECT status FROM index.study")
    assert status[0][0] == "receiving"
    assert await hasty.complete_quiet() == 1
    rows = await bench.prepared.fetch(
        "SELECT convert_from(body, 'UTF8') FROM index.outbox"
        " WHERE type LIKE '%completed%' ORDER BY id"
    )
    told = [json.loads(row[0]) for row in rows]
    assert [(one["revision"], one["instances"]) for one in told] == [(1, 1), (2, 2)]
    assert told[0]["modalities"] == ["CT"]


async def test_two_replicas_complete_a_study_once_and_wait_for_nobody(bench: Bench) -> None:
    """What one has in hand the other passes over; readers see that the study has changed."""
    for _ in range(2):
        await bench.index(bench.stored(a_data_set()))
    hasty = Lifecycle(bench.indexer.database, bench.indexer.outbox, timedelta(0))
    before = await bench.prepared.fetch("SELECT max(version) FROM index.study")
    async with asyncio.timeout(LIMIT), bench.indexer.database.transaction() as db:
        await db.fetch("SELECT id FROM index.study ORDER BY id LIMIT 1 FOR UPDATE")
        assert await hasty.complete_quiet() == 1
    done = await asyncio.gather(*(hasty.complete_quiet() for _ in range(4)))
    assert sorted(done) == [0, 0, 0, 1]
    assert (await bench.told()).count(StudyCompleted.TYPE.removeprefix("dicom.")) == 2
    rows = await bench.prepared.fetch("SELECT version, revision FROM index.study")
    assert {row["version"] for row in rows} == {before[0][0] + 1}
    assert {row["revision"] for row in rows} == {1}
