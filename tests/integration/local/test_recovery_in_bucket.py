"""Backups in a bucket, under keys of its own: restored, drilled, and removed when they are old."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from darkroom_local.engines.lock import AlreadyRunningError
from darkroom_local.recovery.archive import Archive, RecoveryError
from darkroom_local.recovery.backup import _LOCK
from darkroom_local.recovery.drill import drill
from tests.integration.local.test_recovery import House, unseen
from tests.integration.metadata.test_indexer import indexing
from tests.support import s3
from tests.support.database import Prepared


@dataclass
class Distant(House):
    """An installation whose backups are in a bucket."""

    url: str = ""

    @property
    def archive(self) -> Archive:
        return Archive.open(self.url, self.key_file)


@pytest.fixture
async def house(
    superuser_url: str, engine_directory: Path, tmp_path: Path
) -> AsyncIterator[Distant]:
    (tmp_path / "seaweed").mkdir()
    (tmp_path / "objects").mkdir()
    with s3.seaweed(tmp_path / "seaweed") as server:
        prepared = await Prepared.make(superuser_url, "metadata")
        async with indexing(prepared, tmp_path / "objects") as bench:
            yield Distant(bench, engine_directory, superuser_url, url=server.url("backups"))


async def test_backups_in_a_bucket_are_restored_and_end(house: Distant) -> None:
    with pytest.raises(RecoveryError, match="s3://objects/backups holds no whole backup"):
        house.archive.newest()
    await house.receive(3)
    first = await house.back_up()
    await house.receive(2)
    second = await house.back_up(keep=1)
    assert (second.objects, second.copied, second.forgotten) == (5, 2, 1)
    assert house.archive.generations() == house.archive.begun() == [second.name]
    assert first.name != second.name
    stored = {key: (house.bench.directory / key).read_bytes() for key in house.acknowledged}
    kept = [one.key async for one in house.archive.store.list_keys("objects/")]
    assert sorted(kept) == sorted(f"objects/{key}" for key in stored)
    for key, content in stored.items():  # it is sealed
        assert content not in await house.archive.store.read(f"objects/{key}")

    result, _ = await asyncio.to_thread(
        drill, house.archive, house.secrets.parent, house.secrets, house.place, progress=unseen
    )
    assert (result.agrees, result.objects) == (True, 5)
    compared = await house.restore(second.name)
    assert compared.agrees
    restored = house.data / "objects"
    assert {key: (restored / key).read_bytes() for key in stored} == stored


async def test_one_backup_at_a_time_is_made_of_a_database(house: Distant) -> None:
    db = await asyncpg.connect(house.superuser_url)
    try:
        await db.execute("SELECT pg_advisory_lock($1)", _LOCK)
        with pytest.raises(AlreadyRunningError):
            await house.back_up()
    finally:
        await db.close()
    await house.back_up()
