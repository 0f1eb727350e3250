"""Studies move to the slow store by rule and are recalled; at every moment they are read whole."""

import datetime as dt
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.jobs.lease import Claims
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import RecallStudy
from darkroom_common.objects.store import FileSystemStore, ObjectStore, open_store
from darkroom_common.objects.tiered import TieredStore
from darkroom_common.specs.retention import Retention, RetentionRule
from darkroom_metadata.removal.intake import RemovalCommands
from darkroom_metadata.retention.command import Desk
from darkroom_metadata.settings import MetadataSettings
from darkroom_metadata.tiering.jobs import Tiering, TierJobs
from darkroom_metadata.tiering.moving import Mover
from tests.integration.metadata.test_indexer import KEYS
from tests.integration.metadata.test_removal import Archive, archive
from tests.support.builders import a_data_set
from tests.support.s3 import BUCKET, moto
from tests.support.shown import require_shown

__all__ = ["archive"]
RULES = Retention(0, (RetentionRule(modality="CT", years=2),))


@dataclass
class Shelves:
    """An archive with two stores."""

    archive: Archive
    tiering: Tiering
    store: TieredStore
    slow: Path
    moment: dt.datetime = field(default_factory=SYSTEM_CLOCK.now)
    copied: list[int] = field(default_factory=list)

    def now(self) -> dt.datetime:
        return self.moment

    def monotonic(self) -> float:
        return SYSTEM_CLOCK.monotonic()

    async def work(self) -> None:
        claims = self.tiering.claims
        while (attempt := await claims.claim()) is not None:
            await claims.finish(attempt, await self.tiering.attempt(attempt))

    async def night(self) -> dict[str, Any]:
        self.moment += dt.timedelta(days=1)
        await self.tiering.plan()
        await self.work()
        return await self.job(f"move-{self.moment.date()}")

    async def job(self, job: str) -> dict[str, Any]:
        (row,) = await self.archive.rows("SELECT * FROM index.tier_job WHERE id = $1", job)
        names = ("state", "studies", "objects", "bytes", "bad")
        return {name: row[name] for name in names}

    async def recall(self, uid: str) -> dict[str, Any]:
        asked = RecallStudy(job_id=new_message_id(), study_instance_uid=uid)
        await self.archive.commands.handle(asked)
        await self.work()
        return await self.job(asked.job_id)

    async def would(self, capsys: pytest.CaptureFixture[str]) -> list[str]:
        """What the command says of the next night."""
        settings = MetadataSettings.model_construct(
            phi_keys=SecretStr(json.dumps({"current": 1, "keys": KEYS.keys})),
            tier_rules=tuple(RULES.rules),
            store_url="file:///fast s3://slow",
        )
        desk = Desk(settings, self.tiering.database, as_json=False)
        capsys.readouterr()
        assert await desk.tiers((self.moment + dt.timedelta(days=1)).date(), 10) == 0
        said = capsys.readouterr().out
        require_shown(said, "data-life.md", "darkroom retention tiers")
        return said.strip().splitlines()

    async def contents(self) -> dict[str, bytes]:
        rows = await self.archive.rows("SELECT object_key FROM index.instance")
        return {row[0]: await self.store.read(row[0]) for row in rows}


@pytest.fixture
async def shelves(archive: Archive, tmp_path: Path) -> Shelves:
    (tmp_path / "slow").mkdir()
    return shelves_with(archive, FileSystemStore(tmp_path / "slow"), tmp_path / "slow")


def shelves_with(archive: Archive, slow_store: ObjectStore, slow: Path) -> Shelves:
    remover = archive.remover
    jobs = TierJobs(remover.outbox)
    archive.commands = RemovalCommands(remover, archive.commands.removals, jobs)
    store = TieredStore(FileSystemStore(archive.house.bench.directory), slow_store)
    remover.store = store
    claims = Claims(jobs.table, remover.database, new_message_id(), 20.0)
    copied: list[int] = []

    async def pace(size: int) -> None:
        copied.append(size)

    tiering = Tiering(claims, jobs, Mover(store), KEYS, RULES, dt.timedelta(days=7), pace, hour=0)
    made = Shelves(archive, tiering, store, slow, copied=copied)
    tiering.clock = made
    return made


async def received(shelves: Shelves, **more: str) -> str:
    one = a_data_set(Modality="CT", **more)
    await shelves.archive.house.received(one)
    await shelves.archive.rows(
        "UPDATE index.study SET status = 'complete' WHERE status <> 'deleted'"
    )
    return str(one.StudyInstanceUID)


async def test_a_night_moves_what_a_rule_names_and_all_of_it_is_read(
    shelves: Shelves, capsys: pytest.CaptureFixture[str]
) -> None:
    old = await received(shelves, StudyDate="20100101")
    new = await received(shelves, StudyDate=f"{SYSTEM_CLOCK.now():%Y%m%d}")
    other = a_data_set(Modality="MR", StudyDate="20100101")
    await shelves.archive.house.received(other)
    before = await shelves.contents()
    would = await shelves.would(capsys)
    assert old in would[0]
    assert would[1].endswith("GB: rule 1: modality CT: 2 years")
    assert would[2].endswith("would move 1 studies to the slow store")
    moved = await shelves.night()
    assert (moved["state"], moved["studies"], moved["objects"], moved["bad"]) == ("DONE", 1, 1, 0)
    assert moved["bytes"] == sum(shelves.copied) > 0
    assert len(await shelves.would(capsys)) == 1
    assert len(list(shelves.slow.rglob("*.dcm"))) == 1
    assert shelves.archive.objects() == 2
    assert await shelves.contents() == before
    assert (await shelves.night())["objects"] == 0  # once
    # Recalled, it is in both for a week; then it goes again, and nothing is copied.
    recalled = await shelves.recall(old)
    assert (recalled["state"], recalled["objects"]) == ("DONE", 1)
    assert shelves.archive.objects() == 3
    assert (await shelves.night())["objects"] == 0
    shelves.moment += dt.timedelta(days=7)
    again = await shelves.night()
    assert (again["objects"], again["bytes"]) == (1, 0)
    assert shelves.archive.objects() == 2
    assert await shelves.contents() == before
    assert (await shelves.recall(new))["state"] == "DONE"
    assert (await shelves.recall("1.2.3"))["state"] == "FAILED"


async def test_what_is_damaged_is_left_and_what_was_half_done_is_finished(shelves: Shelves) -> None:
    await received(shelves, StudyDate="20100101")
    await received(shelves, StudyDate="20100102", PatientID="other")
    keys = [
        row[0]
        for row in await shelves.archive.rows("SELECT object_key FROM index.instance ORDER BY id")
    ]
    fast = shelves.archive.house.bench.directory
    whole = (fast / keys[0]).read_bytes()
    (fast / keys[0]).unlink()
    (fast / keys[0]).write_bytes(whole[:-1] + b"\xff")
    shelves.store.slow.put_now(keys[1], [(fast / keys[1]).read_bytes()])  # a run died here
    moved = await shelves.night()
    assert (moved["state"], moved["studies"], moved["bad"], moved["bytes"]) == ("DONE", 1, 1, 0)
    assert (fast / keys[0]).exists()
    assert not (shelves.slow / keys[0]).exists()
    assert not (fast / keys[1]).exists()


async def test_what_is_purged_goes_from_the_slow_store(shelves: Shelves) -> None:
    uid = await received(shelves, StudyDate="20100101")
    await shelves.night()
    assert await shelves.archive.ask("delete", uid) == ("DONE", "")
    await shelves.archive.purge()
    assert list(shelves.slow.rglob("*.dcm")) == []
    assert await shelves.archive.rows("SELECT FROM index.tier") == []


async def test_a_bucket_is_the_slow_store(archive: Archive, tmp_path: Path) -> None:
    with moto(tmp_path) as server:
        bucket = open_store(server.url("cold", more="&class=GLACIER_IR"))
        shelves = shelves_with(archive, bucket, tmp_path)
        uid = await received(shelves, StudyDate="20100101")
        before = await shelves.contents()
        (key,) = before
        moved = await shelves.night()
        assert (moved["state"], moved["objects"], moved["bad"]) == ("DONE", 1, 0)
        assert archive.objects() == 0
        there = server.client().head_object(Bucket=BUCKET, Key=f"cold/{key}")
        assert there["StorageClass"] == "GLACIER_IR"
        assert await shelves.contents() == before
        recalled = await shelves.recall(uid)
        assert (recalled["state"], recalled["bytes"]) == ("DONE", len(before[key]))
        assert archive.objects() == 1
        assert await archive.ask("delete", uid) == ("DONE", "")
        await archive.purge()
        assert archive.objects() == 0
        assert [one async for one in bucket.list_keys()] == []
