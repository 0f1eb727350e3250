"""The store on a file system, where the spool is on another volume and every relay is process 1."""

import errno
import fcntl
import os
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from darkroom_common.objects import store as store_module
from darkroom_common.objects.store import CHUNK, FileSystemStore, StoreUnavailable
from tests.support.waiting import LIMIT


def test_two_relays_copying_one_object_leave_it_whole(tmp_path: Path) -> None:
    target = tmp_path / "object.dcm"
    slow, quick = tmp_path / "slow", tmp_path / "quick"
    os.mkfifo(slow)
    quick.write_bytes(b"whole object")
    copying = threading.Thread(target=FileSystemStore._copy, args=(slow, target))
    copying.start()
    with slow.open("wb", buffering=0) as feed:  # returns when the copy has begun to read
        feed.write(b"whole ")
        FileSystemStore._copy(quick, target)
        assert target.read_bytes() == b"whole object"
        feed.write(b"object")
    copying.join(LIMIT)
    assert target.read_bytes() == b"whole object"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["object.dcm", "quick", "slow"]


async def listed(store: FileSystemStore, prefix: str = "", after: str = "") -> list[str]:
    return [one.key async for one in store.list_keys(prefix, after=after)]


async def test_a_listing_has_every_object_and_goes_on_behind_any_of_them(tmp_path: Path) -> None:
    keys = [
        "a/b/1.dcm",
        "a/b/2.dcm",
        "a/b.c/1.dcm",
        "a/c.dcm",
        "a.dcm",
        "b/1.dcm",
        "b/a/1.dcm",
        "c.dcm",
    ]
    keys += [f"many/{n:04}.dcm" for n in range(600)]
    for key in keys:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(key.encode())
    (tmp_path / "a" / ".2.dcm.receipt.part").write_bytes(b"draft")
    (tmp_path / "link.dcm").symlink_to(tmp_path / "c.dcm")
    (tmp_path / "empty").mkdir()
    store = FileSystemStore(tmp_path)
    everything = await listed(store)
    assert sorted(everything) == sorted(keys)
    for number in (0, 1, 2, 3, 4, 5, 6, 7, 300, 607):
        assert await listed(store, after=everything[number]) == everything[number + 1 :]
    assert await listed(store, after="a/b/1.dcn") == everything[everything.index("a/b/2.dcm") :]
    for prefix in ("a", "a/", "a/b", "a/b/1", "many/05", "zzz"):
        assert await listed(store, prefix) == [k for k in everything if k.startswith(prefix)]
    sizes = {one.key: one.size async for one in store.list_keys()}
    assert sizes["a/b/1.dcm"] == len("a/b/1.dcm")


async def test_a_linked_object_is_as_old_as_its_link(tmp_path: Path) -> None:
    spooled = tmp_path / "spooled"
    spooled.write_bytes(b"received long ago")
    os.utime(spooled, (0, 0))
    store = FileSystemStore(tmp_path / "objects")
    await store.put_files([("a.dcm", spooled)])
    (one,) = [one async for one in store.list_keys()]
    assert datetime.now(UTC) - one.modified < timedelta(minutes=1)


async def test_a_name_is_durable_before_the_object_counts_and_is_not_synced_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    failing = False

    def sync(directory: Path) -> None:
        if failing:
            raise OSError(errno.EIO, "broken")
        synced.append(str(directory.relative_to(tmp_path)))

    monkeypatch.setattr(store_module, "sync_directory", sync)
    spooled = tmp_path / "spooled"
    spooled.write_bytes(b"object")
    root = tmp_path / "objects"
    store = FileSystemStore(root)

    async def put(*keys: str) -> set[str]:
        synced.clear()
        await store.put_files([(key, spooled) for key in keys])
        return set(synced)

    failing = True
    with pytest.raises(StoreUnavailable):
        await put("a/b/0")
    failing = False
    above = {"objects", "objects/a"}
    assert await put("a/b/0", "a/b/1", "a/c/2") == {*above, "objects/a/b", "objects/a/c"}
    assert await put("a/b/3") == {"objects/a/b"}
    assert await put("a/d/4") == {"objects/a/d", "objects/a"}
    assert await put("a/b/5") == {"objects/a/b", "objects/a"}  # it has changed since: once more
    assert await put("a/b/6") == {"objects/a/b"}
    until_times_differ(root / "a")
    shutil.rmtree(root / "a")
    (root / "a" / "b").mkdir(parents=True)  # as another relay would
    assert await put("a/b/7") == {*above, "objects/a/b"}


async def test_a_directory_made_again_with_the_same_number_is_synced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(store_module, "sync_directory", synced.append)
    spooled = tmp_path / "spooled"
    spooled.write_bytes(b"object")
    root, kept, moved = tmp_path / "objects", tmp_path / "objects" / "a" / "b", tmp_path / "moved"
    store = FileSystemStore(root)
    await store.put_files([("a/b/0", spooled)])
    until_times_differ(kept.parent)
    kept.rename(moved)
    moved.rename(kept)  # what is there has the inode's number that was known
    synced.clear()
    await store.put_files([("a/b/1", spooled)])
    assert set(synced) == {kept, kept.parent}


def until_times_differ(directory: Path) -> None:
    """Wait for the clock of the file system to go on: it ticks some hundred times a second."""
    probe = directory.parent.parent / "probe"
    probe.touch()
    while probe.stat().st_ctime_ns <= directory.stat().st_ctime_ns:
        probe.touch()


async def test_a_store_without_its_root_is_away(tmp_path: Path) -> None:
    store = FileSystemStore(tmp_path / "none")
    with pytest.raises(StoreUnavailable):
        await listed(store)
    with pytest.raises(StoreUnavailable):
        await store.holds_anything()
    assert not await FileSystemStore(tmp_path).holds_anything()


async def test_what_is_read_fresh_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(bytes(range(256)) * 8192)
    store = FileSystemStore(tmp_path)
    for fresh in (False, True):
        parts = [part async for part in store.stream("a.dcm", start=3, fresh=fresh)]
        assert b"".join(parts) == (bytes(range(256)) * 8192)[3:]
        assert max(map(len, parts)) <= CHUNK


async def test_what_a_dead_process_has_begun_goes_with_the_object(tmp_path: Path) -> None:
    store = FileSystemStore(tmp_path)
    draft = tmp_path / "a" / ".1.part"
    draft.parent.mkdir()
    draft.write_bytes(b"half of it")
    with draft.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # somebody is at work at it
        assert await store.remove("a/1", untouched_since=datetime.now(UTC))
        assert draft.exists()
    assert await store.remove("a/1", untouched_since=datetime.now(UTC))
    assert not draft.exists()


async def test_a_hidden_directory_is_no_sign_of_a_volume(tmp_path: Path) -> None:
    (tmp_path / ".exports").mkdir()
    assert not await FileSystemStore(tmp_path).holds_anything()
