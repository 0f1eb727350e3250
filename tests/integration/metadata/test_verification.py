"""Verification on a real PostgreSQL and a real store: it finds what is wrong, and nothing else."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.messages.events import InstancesStored, StoredItem
from darkroom_common.objects.store import FileSystemStore, StoreUnavailable
from darkroom_common.postgres.outbox import Outbox
from darkroom_metadata.settings import MetadataSettings
from darkroom_metadata.verification.command import Options, run_checks
from darkroom_metadata.verification.judgement import Pace
from darkroom_metadata.verification.ledger import DUE, Ledger
from darkroom_metadata.verification.schedule import Planned, Schedule
from darkroom_metadata.verification.verification import Brake, Contents
from tests.integration.metadata.test_indexer import KEY, Bench, indexing
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared

Lines = list[dict[str, Any]]


@dataclass
class Timed:
    """A clock that moves only when somebody sleeps."""

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


@dataclass
class Archive:
    """An index, its store, and verification of both."""

    bench: Bench
    root: Path

    async def filled(self, number: int) -> list[StoredItem]:
        """Index some objects whose row and bytes agree."""
        study = new_uid()
        events = [
            self.bench.stored(a_data_set(StudyInstanceUID=study, InstanceNumber=n))
            for n in range(number)
        ]
        await self.bench.index(*events)
        return events

    def settings(self) -> MetadataSettings:
        return MetadataSettings(
            postgres_url=self.bench.prepared.url("metadata"),
            amqp_url="amqp://localhost",
            store_url=self.root.as_uri(),
            phi_keys="{}",
            blind_index_key=KEY,
            verify_grace_seconds=0,
            verify_bytes_per_second=0,
        )

    async def verify(self, **options: Any) -> tuple[int, Lines]:
        lines: Lines = []
        code = await run_checks(
            self.bench.indexer.database,
            FileSystemStore(self.root),
            self.settings(),
            Options(**options),
            lines.append,
        )
        return code, lines

    async def open_findings(self) -> set[tuple[str, str]]:
        rows = await self.bench.prepared.fetch(
            "SELECT object_key, kind FROM index.verification_finding WHERE resolved_at IS NULL"
        )
        return {(row["object_key"], row["kind"]) for row in rows}

    async def index_what_was_published(self) -> int:
        """Do as the outbox, RabbitMQ and the consumer do."""
        rows = await self.bench.prepared.fetch(
            "SELECT convert_from(body, 'UTF8') FROM index.outbox"
            " WHERE type = 'dicom.instances.stored.v2' ORDER BY id"
        )
        batches = [InstancesStored.from_body(row[0].encode()) for row in rows]
        items = [item for batch in batches for item in batch.items]
        for item in items:
            await self.bench.index(item)
        return len(items)


@pytest.fixture
async def archive(superuser_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    prepared = await Prepared.make(superuser_url, "metadata")
    root = tmp_path / "objects"
    root.mkdir()
    async with indexing(prepared, root) as bench:
        yield Archive(bench, root)


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def found(lines: Lines) -> set[tuple[str, str]]:
    return {(one["object_key"], one["kind"]) for one in lines if one["event"] == "finding"}


@pytest.mark.req("ING-09", "STO-08")
async def test_each_damage_is_found_once_and_nothing_else(archive: Archive) -> None:
    flipped, headed, preamble, cut, gone, odd, *rest = await archive.filled(11)
    flip(archive.root / flipped.object_key, -1)
    head = (archive.root / headed.object_key).read_bytes()[: headed.data_set_offset]
    flip(archive.root / headed.object_key, head.index(b"1.2.840.10008.1.2.1\0") + 18)
    flip(archive.root / preamble.object_key, 5)
    content = (archive.root / cut.object_key).read_bytes()
    (archive.root / cut.object_key).write_bytes(content[:-7])
    (archive.root / gone.object_key).unlink()
    (archive.root / odd.object_key).unlink()
    (archive.root / odd.object_key).symlink_to(odd.object_key)  # to itself: reading it fails
    orphan = archive.bench.stored(a_data_set())
    (archive.root / ".draft.dcm.123.part").write_bytes(b"half")
    expected = {
        (flipped.object_key, "altered-object"),
        (headed.object_key, "altered-object"),
        (preamble.object_key, "altered-object"),
        (cut.object_key, "wrong-size"),
        (gone.object_key, "missing-object"),
        (orphan.object_key, "orphan-object"),
        (odd.object_key, "unreadable"),
    }
    code, lines = await archive.verify(read_all=True)
    assert code == 1
    assert found(lines) == expected
    assert await archive.open_findings() == expected
    told = await archive.bench.prepared.fetch(
        "SELECT convert_from(body, 'UTF8') FROM index.outbox"
        " WHERE type = 'dicom.instance.damaged.v1'"
    )
    damaged = {json.loads(row[0])["object_key"] for row in told}
    assert damaged == {one.object_key for one in (flipped, headed, preamble, cut, gone, odd)}

    await archive.verify(read_all=True)  # again: nothing new is told
    rows = await archive.bench.prepared.fetch(
        "SELECT count(*) FROM index.outbox WHERE type = 'dicom.instance.damaged.v1'"
    )
    assert rows[0][0] == 6
    rows = await archive.bench.prepared.fetch(
        "SELECT count(*) FILTER (WHERE verified_at IS NOT NULL), count(*) FROM index.instance"
    )
    assert tuple(rows[0]) == (11, 11)
    rows = await archive.bench.prepared.fetch("SELECT count(*) FROM index.verification_finding")
    assert rows[0][0] == len(expected)
    assert len(rest) == 5


@pytest.mark.req("STO-08")
async def test_what_is_well_again_is_resolved(archive: Archive) -> None:
    one, two = await archive.filled(2)
    kept = {event: (archive.root / event.object_key).read_bytes() for event in (one, two)}
    flip(archive.root / one.object_key, -3)
    (archive.root / two.object_key).unlink()
    assert (await archive.verify(read_all=True))[0] == 1
    for event, content in kept.items():
        (archive.root / event.object_key).write_bytes(content)
    assert (await archive.verify())[0] == 1  # sizes alone do not prove that bytes are well
    assert await archive.open_findings() == {(one.object_key, "altered-object")}
    assert (await archive.verify(since=datetime.now(UTC) - timedelta(days=1)))[0] == 0
    assert await archive.open_findings() == set()


@pytest.mark.req("STO-08")
async def test_an_orphan_is_indexed_once_however_often_it_is_repaired(archive: Archive) -> None:
    await archive.filled(3)
    orphan = archive.bench.stored(a_data_set())
    false = archive.root / "foreign.dcm"
    false.write_bytes(b"not DICOM at all")
    altered = archive.bench.stored(a_data_set())
    flip(archive.root / altered.object_key, -1)
    assert (await archive.verify())[0] == 1
    assert await archive.index_what_was_published() == 0  # a report repairs nothing
    for _ in range(2):
        code, lines = await archive.verify(repair=True)
        assert code == 1
        assert found(lines) == {
            (orphan.object_key, "orphan-object"),
            ("foreign.dcm", "unreadable"),
            (altered.object_key, "altered-object"),
        }
    assert await archive.index_what_was_published() == 2
    assert await archive.bench.counts() == (1, 2, 4, 4, 0)
    (row,) = await archive.bench.prepared.fetch(
        "SELECT encode(sha256, 'hex') AS sha256, size, data_set_offset, duplicates, receipt"
        " FROM index.instance WHERE object_key = $1",
        orphan.object_key,
    )
    assert tuple(row)[:4] == (orphan.sha256, orphan.size, orphan.data_set_offset, 0)
    assert row["receipt"] != orphan.receipt
    false.unlink()
    (archive.root / altered.object_key).unlink()
    assert (await archive.verify(repair=True))[0] == 0
    assert await archive.open_findings() == set()


async def test_a_key_that_can_be_none_is_unreadable_and_stops_nothing(archive: Archive) -> None:
    event, _ = await archive.filled(2)
    await archive.bench.prepared.fetch(
        "UPDATE index.instance SET object_key = '../elsewhere' WHERE object_key = $1",
        event.object_key,
    )
    code, lines = await archive.verify(read_all=True)
    assert (code, found(lines)) == (
        1,
        {("../elsewhere", "unreadable"), (event.object_key, "orphan-object")},
    )
    assert (await archive.verify())[0] == 1


async def test_a_young_object_may_still_be_without_a_row(archive: Archive) -> None:
    archive.bench.stored(a_data_set())
    lines: Lines = []
    settings = archive.settings().model_copy(update={"verify_grace_seconds": 3600.0})
    code = await run_checks(
        archive.bench.indexer.database,
        FileSystemStore(archive.root),
        settings,
        Options(),
        lines.append,
    )
    assert (code, found(lines)) == (0, set())


@pytest.mark.req("STO-08")
async def test_the_object_of_a_conflict_is_known_and_read_back_too(archive: Archive) -> None:
    first = a_data_set()
    other = a_data_set(
        SOPInstanceUID=first.SOPInstanceUID,
        StudyInstanceUID=first.StudyInstanceUID,
        SeriesInstanceUID=first.SeriesInstanceUID,
        InstanceNumber=99,
    )
    conflict = archive.bench.stored(other)
    await archive.bench.index(archive.bench.stored(first), conflict)
    assert (await archive.verify(read_all=True))[0] == 0
    flip(archive.root / conflict.object_key, -1)
    await archive.bench.prepared.fetch(  # as an older release has written it
        "UPDATE index.conflict SET data_set_offset = NULL, head_sha256 = NULL"
    )
    assert found((await archive.verify(read_all=True))[1]) == {
        (conflict.object_key, "altered-object")
    }
    (archive.root / conflict.object_key).unlink()
    assert found((await archive.verify())[1]) == {(conflict.object_key, "missing-object")}


@pytest.mark.parametrize("how", ["renamed", "empty"])
async def test_a_store_that_is_away_is_no_finding(archive: Archive, how: str) -> None:
    await archive.filled(3)
    away = archive.root.with_name("away")
    archive.root.rename(away)
    if how == "empty":  # the mount point without its volume
        archive.root.mkdir()
    for options in ({}, {"read_all": True}):
        with pytest.raises(StoreUnavailable):
            await archive.verify(**options)
    if how == "empty":
        archive.root.rmdir()
    away.rename(archive.root)
    assert await archive.open_findings() == set()
    assert (await archive.verify(read_all=True))[0] == 0


@pytest.mark.req("ING-09")
async def test_a_run_that_was_killed_goes_on_where_it_was(archive: Archive) -> None:
    await archive.filled(70)
    size = sum(path.stat().st_size for path in archive.root.iterdir())
    settings = archive.settings()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DARKROOM_")} | {
        "DARKROOM_POSTGRES_URL": settings.postgres_url.get_secret_value(),
        "DARKROOM_AMQP_URL": "amqp://localhost",
        "DARKROOM_STORE_URL": settings.store_url,
        "DARKROOM_PHI_KEYS": "{}",
        "DARKROOM_BLIND_INDEX_KEY": KEY,
        "DARKROOM_VERIFY_GRACE_SECONDS": "0",
    }

    async def command(*more: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "darkroom_metadata",
            "verify",
            "--all",
            "--json",
            *more,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )

    # Slow enough that the second of three steps is never finished.
    killed = await command("--bytes-per-second", str((size + 70 * 4096) // 6))
    assert killed.stdout is not None
    async for line in killed.stdout:
        if json.loads(line)["event"] == "progress":
            break
    killed.send_signal(signal.SIGKILL)
    await killed.communicate()
    done = await archive.bench.prepared.fetch(
        "SELECT count(*) FROM index.instance WHERE verified_at IS NOT NULL"
    )
    assert 0 < done[0][0] < 70
    again = await command("--bytes-per-second", "0")
    output, _ = await again.communicate()
    lines = [json.loads(line) for line in output.splitlines()]
    assert again.returncode == 0
    started = next(one for one in lines if one["event"] == "started")
    assert (started["checked"], started["objects"]) == (done[0][0], 70 - done[0][0])
    finished = [one for one in lines if one["event"] == "finished"]
    assert [(one["check"], one["checked"]) for one in finished] == [
        ("contents", 70),
        ("objects", 70),
    ]
    rows = await archive.bench.prepared.fetch(
        "SELECT kind, state, count(*)::int FROM index.verification_run GROUP BY 1, 2 ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [("contents", "finished", 1), ("objects", "finished", 1)]


@pytest.mark.req("ING-09")
async def test_the_schedule_reads_back_what_is_due_at_its_pace(archive: Archive) -> None:
    events = await archive.filled(40)
    await archive.bench.prepared.fetch(
        "UPDATE index.instance SET indexed_at = now() - interval '31 days'"
        " WHERE id <= (SELECT min(id) + 29 FROM index.instance)"
    )
    clock = Timed()
    rate = 10_000
    brake = Brake(Pace(rate), clock, clock.sleep)
    ledger = Ledger(Outbox("index"))
    step = Contents(FileSystemStore(archive.root), ledger, brake)
    planned = [Planned(step, timedelta(days=1), timedelta(days=30))]
    database = archive.bench.indexer.database
    busy = Schedule(database, ledger, planned, lambda: True, clock)
    assert await busy.slice()
    assert clock.slept == []  # it made way for the index
    schedule = Schedule(database, ledger, planned, lambda: False, clock)
    slices = 1
    while await schedule.slice():
        slices += 1
    assert slices > 2
    rows = await archive.bench.prepared.fetch(
        "SELECT count(*) FILTER (WHERE verified_at IS NOT NULL)::int FROM index.instance"
    )
    assert rows[0][0] == 30
    read = sum((archive.root / event.object_key).stat().st_size for event in events[:30])
    assert clock.seconds == pytest.approx((read + 30 * 4096) / rate, rel=0.02)
    async with database.acquire() as db:
        assert not await ledger.is_time(db, step.check, timedelta(days=1))
        assert await ledger.is_time(db, step.check, timedelta(0))


async def test_one_runner_at_a_time_and_a_lost_session_frees_the_lock(archive: Archive) -> None:
    await archive.filled(2)
    ledger = Ledger(Outbox("index"))
    database = archive.bench.indexer.database
    async with database.acquire() as one, database.acquire() as two:
        assert await ledger.lock(one)
        assert not await ledger.lock(two)
    async with database.acquire() as one:
        assert await ledger.lock(one)
        run = await ledger.open(one, Contents.check, DUE, age=timedelta(0))
        assert run == await ledger.open(one, Contents.check, DUE, age=timedelta(days=9))
