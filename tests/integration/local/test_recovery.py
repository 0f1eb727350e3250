"""F17: backup under load, restore, drill; a backup that is killed, and one that is damaged."""

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from darkroom_common.clock import utc_now
from darkroom_common.objects.interface import Listed
from darkroom_common.objects.store import FileSystemStore, ObjectStore
from darkroom_common.objects.tiered import TieredStore
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.seal import Unsealable
from darkroom_local.recovery import archive as archives
from darkroom_local.recovery.archive import Archive, RecoveryError
from darkroom_local.recovery.backup import BackedUp, Source, back_up, fingerprints
from darkroom_local.recovery.drill import Drill, drill
from darkroom_local.recovery.restore import Compared, restore, told
from darkroom_local.stack.keyring import Keyring, KeysLostError, new_keys
from darkroom_local.stack.layout import Layout
from tests.integration.metadata.test_indexer import Bench, indexing
from tests.support.builders import a_data_set
from tests.support.database import Prepared


def unseen(_done: int, _total: int) -> None:
    """Show nothing."""


@dataclass
class House:
    """An installation's database, objects and keys, and a place for backups."""

    bench: Bench
    place: Path
    superuser_url: str
    acknowledged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.backups = self.place / "backups"
        self.backups.mkdir()
        self.key_file = self.place / "backup-key"
        self.key_file.write_text(new_keys())
        layout = Layout(self.place / "before")
        layout.make()
        Keyring(layout).make()
        self.secrets = layout.secrets
        self.data = self.place / "data"

    @property
    def archive(self) -> Archive:
        return Archive.open(self.backups, self.key_file)

    @property
    def store(self) -> FileSystemStore:
        return FileSystemStore(self.bench.directory)

    async def receive(self, number: int) -> None:
        events = [self.bench.stored(a_data_set()) for _ in range(number)]
        await self.bench.index(*events)
        self.acknowledged += [event.object_key for event in events]

    async def back_up(self, *, keep: int = 30, store: ObjectStore | None = None) -> BackedUp:
        keys = PhiKeys.parse((self.secrets / "phi-keys").read_text()).keys
        source = Source(self.superuser_url, store or self.store, fingerprints(keys))
        return await asyncio.to_thread(back_up, source, self.archive, keep=keep, progress=unseen)

    async def restore(self, name: str) -> Compared:
        return await asyncio.to_thread(
            restore, self.archive, name, self.data, self.secrets, progress=unseen
        )

    def objects_kept(self) -> list[Path]:
        return sorted((self.backups / "objects").rglob("*.dcm"))


@asynccontextmanager
async def receiving(house: House) -> AsyncIterator[None]:
    """Receive objects for the time of the block, at least one of them within it."""
    more = asyncio.Event()

    async def sender() -> None:
        while True:
            await house.receive(1)
            more.set()

    task = asyncio.create_task(sender())
    await more.wait()
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def house(superuser_url: str, engine_directory: Path, tmp_path: Path) -> AsyncIterator[House]:
    prepared = await Prepared.make(superuser_url, "metadata")
    async with indexing(prepared, tmp_path) as bench:
        yield House(bench, engine_directory, superuser_url)


async def test_what_was_acknowledged_before_the_dump_is_restored(house: House) -> None:
    await house.receive(20)
    before = list(house.acknowledged)
    async with receiving(house):
        done = await house.back_up()
    stored = {key: (house.bench.directory / key).read_bytes() for key in before}
    shutil.rmtree(house.bench.directory)

    result, _ = await asyncio.to_thread(
        drill, house.archive, house.secrets.parent, house.secrets, house.place, progress=unseen
    )
    assert result.agrees
    assert result.objects == done.objects
    assert result.rpo_seconds > 0
    assert result.rto_seconds > 0
    assert Drill.read(house.secrets.parent) == result
    assert not list(house.place.glob(".*restoring"))

    compared = await house.restore(done.name)
    assert compared.agrees
    assert list(told(compared))[-1] == "database and objects agree"
    restored = Layout(house.data).objects
    assert {key: (restored / key).read_bytes() for key in before} == stored
    assert (house.data / "postgres" / "data" / "PG_VERSION").exists()
    assert (
        Keyring(Layout(house.data)).path("phi-keys").read_text()
        == (house.secrets / "phi-keys").read_text()
    )
    with pytest.raises(RecoveryError, match="not empty"):
        await house.restore(done.name)


async def test_a_killed_backup_goes_on_and_generations_end(house: House) -> None:
    await house.receive(12)
    words = [house.superuser_url, house.bench.directory, house.backups, house.key_file, "8"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.dying_backup", *map(str, words)
    )
    assert await process.wait() == -signal.SIGKILL
    assert house.archive.generations() == []
    assert len(house.archive.begun()) == 1
    first = await house.back_up()
    assert first.objects == 12
    assert 4 <= 12 - first.copied <= 7  # of eight that were opened at most four were under way
    assert house.archive.begun() == [first.name]  # what was interrupted is gone

    gone, *_ = house.acknowledged
    (house.bench.directory / gone).unlink()
    await house.receive(1)
    second = await house.back_up()
    assert (second.objects, second.copied) == (12, 1)
    assert next(iter(house.archive.entries(second.name))).sha256
    assert len(house.objects_kept()) == 13  # the first generation has what is gone
    third = await house.back_up(keep=1)
    assert house.archive.generations() == [third.name]
    assert len(house.objects_kept()) == 12
    planted = b"CITIZEN"
    assert not [p for p in house.backups.rglob("*") if p.is_file() and planted in p.read_bytes()]


class Moving(TieredStore):
    """Two stores between which an object moves while they are listed."""

    async def list_keys(self, prefix: str = "", *, after: str = "") -> AsyncIterator[Listed]:
        moved = False
        async for one in super().list_keys(prefix, after=after):
            yield one
            if not moved:
                moved = True
                with self.fast.open_now(one.key) as file:
                    self.slow.put_now(one.key, [file.read()])
                await self.fast.remove(one.key, untouched_since=utc_now())


async def test_two_stores_are_backed_up_as_one(house: House) -> None:
    await house.receive(6)
    before = {key: (house.bench.directory / key).read_bytes() for key in house.acknowledged}
    slow = house.place / "slow"
    slow.mkdir()
    for key in house.acknowledged[:2]:
        shutil.move(house.bench.directory / key, slow / key)
    done = await house.back_up(store=Moving(house.store, FileSystemStore(slow)))
    assert (done.objects, done.copied) == (6, 6), "what moved meanwhile is there once"
    assert len(list(slow.glob("*.dcm"))) > 2
    again = await house.back_up(store=TieredStore(house.store, FileSystemStore(slow)))
    assert (again.objects, again.copied) == (6, 0)
    compared = await house.restore(again.name)
    assert compared.agrees
    restored = Layout(house.data).objects
    assert {key: (restored / key).read_bytes() for key in before} == before


async def test_a_damaged_backup_and_wrong_keys_are_told(house: House) -> None:
    await house.receive(4)
    done = await house.back_up()
    altered, lost, *_ = house.objects_kept()
    content = bytearray(altered.read_bytes())
    content[-1] ^= 1
    altered.write_bytes(content)
    lost.unlink()
    compared = await house.restore(done.name)
    assert not compared.agrees
    assert sorted(compared.damaged) == sorted([altered.name, lost.name])
    assert [line for line in told(compared) if line.startswith("damaged: ")]
    assert compared.objects == 2
    shutil.rmtree(house.data)

    keys = (house.secrets / "phi-keys").read_text()
    (house.secrets / "phi-keys").write_text(new_keys())
    with pytest.raises(RecoveryError, match="lacks the keys 1"):
        await house.restore(done.name)
    (house.secrets / "phi-keys").write_text(keys)
    (house.secrets / "jwt-key").unlink()
    with pytest.raises(KeysLostError, match="jwt-key"):
        await house.restore(done.name)
    assert not house.data.exists()

    manifest = house.backups / archives.GENERATIONS / done.name / "manifest"
    manifest.write_bytes(manifest.read_bytes()[:-1])
    with pytest.raises(Unsealable):
        await house.restore(done.name)
    house.key_file.write_text(new_keys())
    with pytest.raises(Unsealable):
        await house.back_up()


async def test_a_row_without_an_object_is_told(house: House) -> None:
    await house.receive(3)
    missing, *_ = house.acknowledged
    (house.bench.directory / missing).unlink()
    (house.bench.directory / "nobody.dcm").write_bytes(b"x" * 200)
    done = await house.back_up()
    compared = await house.restore(done.name)
    assert compared.missing == [missing]
    assert compared.without_row == 1
    assert f"missing: {missing}" in list(told(compared))


async def test_a_key_beside_the_backups_and_a_volume_that_is_away_are_refused(
    tmp_path: Path,
) -> None:
    within = tmp_path / "key"
    within.write_text(new_keys())
    with pytest.raises(RecoveryError, match="apart"):
        Archive.open(tmp_path, within)
    with pytest.raises(RecoveryError, match="mounted"):
        Archive.open(tmp_path / "volume", within)
