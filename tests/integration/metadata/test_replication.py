"""A second store has all that this one has, and each is repaired from the other."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from darkroom_common.messages.events import StoredItem
from darkroom_common.objects.store import FileSystemStore, StoreUnavailable
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.seal import Seal
from darkroom_metadata.replication import due
from darkroom_metadata.replication.command import replication
from darkroom_metadata.replication.journal import Journal, TwoWriters
from darkroom_metadata.replication.sending import Sending
from darkroom_metadata.replication.telling import Telling
from darkroom_metadata.verification.judgement import Pace
from darkroom_metadata.verification.ledger import Ledger
from darkroom_metadata.verification.repairing import Repairs
from darkroom_metadata.verification.replica import Replica
from darkroom_metadata.verification.schedule import Planned, Schedule
from darkroom_metadata.verification.verification import Brake, Contents
from tests.integration.metadata.test_indexer import KEYS, indexing
from tests.integration.metadata.test_verification import Archive, flip
from tests.support.builders import a_data_set
from tests.support.database import Prepared
from tests.support.shown import require_shown


@dataclass
class Replicated:
    """An index with its store, and a second store."""

    archive: Archive
    second: Path
    sending: Sending

    async def drain(self) -> None:
        while await self.sending.slice():
            pass

    def lacking(self, items: list[StoredItem]) -> list[str]:
        """Return the keys of which the second store has not the bytes of the first."""
        keys = [one.object_key for one in items]
        return [
            key
            for key in keys
            if not (self.second / key).is_file()
            or (self.second / key).read_bytes() != (self.archive.root / key).read_bytes()
        ]

    async def lag(self) -> due.Lag:
        async with self.sending.database.acquire() as db:
            return await due.lag(db)

    async def told(self, number: int) -> list[str]:
        changes = await self.sending.journal.read(number)
        return [one["subject"] for one in changes or []]

    async def events(self, kind: str) -> list[str]:
        rows = await self.archive.bench.prepared.fetch(
            "SELECT convert_from(body, 'UTF8') FROM index.outbox WHERE type = $1", kind
        )
        return [json.loads(row[0])["object_key"] for row in rows]


@pytest.fixture
async def replicated(superuser_url: str, tmp_path: Path) -> AsyncIterator[Replicated]:
    prepared = await Prepared.make(superuser_url, "metadata")
    root, second = tmp_path / "objects", tmp_path / "second"
    root.mkdir()
    second.mkdir()
    async with indexing(prepared, root) as bench:
        archive = Archive(bench, root)
        journal = Journal(FileSystemStore(second), Seal(KEYS), "here")
        store = FileSystemStore(root)
        telling = Telling(Seal(KEYS))
        sending = Sending(bench.indexer.database, store, journal, telling, Brake(Pace(0)))
        yield Replicated(archive, second, sending)


@pytest.mark.req("STO-07")
async def test_what_was_there_before_and_what_comes_later_is_in_the_second_store(
    replicated: Replicated, capsys: pytest.CaptureFixture[str]
) -> None:
    before = await replicated.archive.filled(5)
    await replicated.drain()
    assert replicated.lacking(before) == []
    assert sorted(await replicated.told(1)) == sorted(one.object_key for one in before)

    later = await replicated.archive.filled(3)
    one = later[0]
    other = replicated.archive.bench.stored(
        a_data_set(
            StudyInstanceUID=one.study_instance_uid,
            SeriesInstanceUID=one.series_instance_uid,
            SOPInstanceUID=one.sop_instance_uid,
            InstanceNumber=77,
        )
    )
    await replicated.archive.bench.index(other)  # a conflict: both are kept
    lag = await replicated.lag()
    assert (lag.objects, lag.bytes) == (4, sum(item.size for item in (*later, other)))
    await replicated.drain()
    assert replicated.lacking([*later, other]) == []
    assert await replicated.lag() == due.Lag(0, 0, 0.0)
    assert len(await replicated.told(2)) == 4
    assert await replicated.told(3) == []
    assert not await replicated.sending.slice(), "all of it once"
    words = ["restart", "--dry-run"]
    assert await replication(replicated.archive.settings(), words) == 0
    said = capsys.readouterr().out
    require_shown(said, "replication.md", "python -m darkroom_metadata replication restart --dry")
    assert said.strip().splitlines()[-1].startswith("9 objects")
    assert not await replicated.sending.slice(), "nothing is sent again"


@pytest.mark.req("STO-07")
async def test_a_second_store_that_is_away_is_caught_up_with(replicated: Replicated) -> None:
    await replicated.drain()
    away = replicated.second.with_name("away")
    replicated.second.rename(away)
    replicated.second.write_text("no directory")  # as a volume that is not there
    items = await replicated.archive.filled(4)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await replicated.sending.slice()
    lag = await replicated.lag()
    assert (lag.objects, lag.bytes) == (4, sum(item.size for item in items))
    assert lag.seconds > 0
    replicated.second.unlink()
    away.rename(replicated.second)
    await replicated.drain()
    assert replicated.lacking(items) == []
    assert (await replicated.lag()).objects == 0


async def test_what_is_damaged_is_not_copied_over_what_is_well(replicated: Replicated) -> None:
    await replicated.drain()
    damaged, well = await replicated.archive.filled(2)
    path = replicated.archive.root / damaged.object_key
    content = path.read_bytes()
    flip(path, -1)
    await replicated.drain()
    assert replicated.lacking([damaged, well]) == [damaged.object_key]
    (row,) = await replicated.archive.bench.prepared.fetch(
        "SELECT subject, reason FROM index.replication_due"
    )
    assert tuple(row) == (damaged.object_key, "NotAsReceived")
    path.write_bytes(content)
    await replicated.archive.bench.prepared.fetch(
        "UPDATE index.replication_due SET next_at = now() RETURNING 1"
    )
    await replicated.drain()
    assert replicated.lacking([damaged]) == []


async def test_a_crash_after_telling_tells_nothing_twice(replicated: Replicated) -> None:
    items = await replicated.archive.filled(3)
    sending = replicated.sending

    async def dies(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patched, suppress(ZeroDivisionError):
        patched.setattr(due, "set_sent", dies)
        await replicated.drain()
    assert len(await replicated.told(1)) == 3, "it was told before the crash"
    await replicated.drain()
    assert replicated.lacking(items) == []
    assert await replicated.told(2) == []
    assert (await replicated.lag()).objects == 0

    with pytest.raises(TwoWriters):  # another installation under the same name
        await sending.journal.write(1, [{"id": 1, "subject": "another"}])


async def test_what_no_row_names_any_more_goes_from_the_second_store(
    replicated: Replicated,
) -> None:
    gone, kept = await replicated.archive.filled(2)
    await replicated.drain()
    await replicated.archive.bench.prepared.fetch(
        "DELETE FROM index.instance WHERE object_key = $1 RETURNING 1", gone.object_key
    )
    await replicated.drain()
    assert not (replicated.second / gone.object_key).exists()
    assert replicated.lacking([kept]) == []


@pytest.mark.req("STO-08")
async def test_twenty_objects_that_the_disk_alters_are_found_repaired_and_told(
    replicated: Replicated,
) -> None:
    archive = replicated.archive
    items = await archive.filled(60)
    await replicated.drain()
    sound = {one.object_key: (archive.root / one.object_key).read_bytes() for one in items}
    keys = [one.object_key for one in items[::3]]
    assert len(keys) == 20
    for number, key in enumerate(keys):
        flip(archive.root / key, -1 - number)
    in_second = [one.object_key for one in items[1:10:3]]
    for key in in_second:
        flip(replicated.second / key, -1)

    store, second = FileSystemStore(archive.root), FileSystemStore(replicated.second)
    ledger, brake = Ledger(Outbox("index")), Brake(Pace(0))
    age = timedelta(0)
    planned = [
        Planned(Contents(store, ledger, brake), timedelta(days=1), age),
        Planned(Replica(second, ledger, brake), timedelta(days=1), age),
    ]
    repairs = Repairs(store, second, (second,), ledger, brake)
    database = archive.bench.indexer.database
    schedule = Schedule(database, ledger, planned, lambda: False, repairs=repairs)
    while await schedule.slice():
        pass

    assert {key: (archive.root / key).read_bytes() for key in sound} == sound
    assert replicated.lacking(items) == []
    assert await archive.open_findings() == set()
    assert sorted(await replicated.events("dicom.instance.damaged.v1")) == sorted(keys)
    repaired = await replicated.events("dicom.instance.repaired.v1")
    assert sorted(repaired) == sorted([*keys, *in_second])
    rows = await archive.bench.prepared.fetch(
        "SELECT kind, count(*) FROM index.verification_finding"
        " WHERE repaired_at IS NOT NULL AND resolved_at IS NOT NULL GROUP BY kind ORDER BY kind"
    )
    assert [tuple(row) for row in rows] == [("altered-object", 20), ("replica-damaged", 3)]
    assert not await schedule.slice(), "nothing more is to be done"


async def test_what_both_stores_have_lost_stays_an_open_finding(replicated: Replicated) -> None:
    archive = replicated.archive
    lost, well = await archive.filled(2)
    await replicated.drain()
    flip(archive.root / lost.object_key, -1)
    flip(replicated.second / lost.object_key, -2)
    store, second = FileSystemStore(archive.root), FileSystemStore(replicated.second)
    ledger, brake = Ledger(Outbox("index")), Brake(Pace(0))
    planned = [Planned(Contents(store, ledger, brake), timedelta(days=1), timedelta(0))]
    repairs = Repairs(store, second, (second,), ledger, brake)
    database = archive.bench.indexer.database
    schedule = Schedule(database, ledger, planned, lambda: False, repairs=repairs)
    damaged = (archive.root / lost.object_key).read_bytes()
    while await schedule.slice():
        pass
    assert await archive.open_findings() == {(lost.object_key, "altered-object")}
    assert (archive.root / lost.object_key).read_bytes() == damaged
    assert await replicated.events("dicom.instance.repaired.v1") == []
    assert well.object_key not in await replicated.events("dicom.instance.damaged.v1")
