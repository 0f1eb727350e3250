"""One suite for every kind of object store: what services may rely on, and all they may rely on."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from darkroom_common.errors import PermanentError, Unhealthy
from darkroom_common.objects.s3.store import S3Store
from darkroom_common.objects.store import (
    CHUNK,
    FileSystemStore,
    ObjectMissing,
    ObjectStore,
    StoreUnavailable,
    open_store,
)
from darkroom_common.objects.tiered import TieredStore
from tests.support import s3
from tests.support.memory_store import MemoryStore
from tests.support.waiting import until

LONG = bytes(range(256)) * (CHUNK // 128) + b"the rest"


@dataclass
class Bench:
    """A store of one kind, and how to take it away."""

    store: ObjectStore
    take_away: Callable[[], None]
    directory: Path
    many: int = 300
    """Objects: more than a page of a listing, unless that takes long."""
    _number: int = 0

    def file(self, content: bytes) -> Path:
        self._number += 1
        path = self.directory / f"receipt{self._number}"
        path.write_bytes(content)
        return path

    async def put(self, **objects: bytes) -> None:
        await self.store.put_files([(k, self.file(content)) for k, content in objects.items()])


def file_system(directory: Path) -> Bench:
    root = directory / "objects"
    root.mkdir()
    return Bench(FileSystemStore(root), lambda: void(root.rename(directory / "away")), directory)


def tiered(directory: Path) -> Bench:
    fast, slow = directory / "objects", directory / "slow"
    store = open_store(f"{fast.as_uri()} {slow.as_uri()}")
    return Bench(store, lambda: void(fast.rename(directory / "away")), directory)


def void(_: object) -> None:
    return


def in_memory(directory: Path) -> Bench:
    store = MemoryStore()
    return Bench(store, lambda: setattr(store, "away", True), directory)


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@contextmanager
def in_bucket(server: s3.Server, directory: Path, many: int) -> Iterator[Bench]:
    """Hold a store below a prefix of its own, behind a way that can be closed."""
    with s3.way_to(server) as way:
        store = open_store(server.url(directory.name, port=way.port, more="&attempts=2&seconds=5"))
        yield Bench(store, way.close, directory, many)


@pytest.fixture(params=["file_system", "in_memory", "tiered", "moto", "seaweed"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    here = {"file_system": file_system, "in_memory": in_memory, "tiered": tiered}
    made = here.get(request.param)
    if made is not None:
        yield made(tmp_path)
        return
    with in_bucket(
        request.getfixturevalue(request.param), tmp_path, 300 if request.param == "seaweed" else 30
    ) as bench:
        yield bench


async def test_what_was_put_is_read_whole_and_in_part(bench: Bench) -> None:
    await bench.store.put_files([("a/b/one.dcm", bench.file(LONG)), ("two", bench.file(b""))])
    assert await bench.store.size("a/b/one.dcm") == len(LONG)
    assert await bench.store.size("two") == 0
    for start, length in ((0, None), (5, None), (5, 7), (CHUNK - 3, 6), (len(LONG) + 9, 5), (0, 0)):
        expected = LONG[start : None if length is None else start + length]
        assert await bench.store.read("a/b/one.dcm", start=start, length=length) == expected
        for fresh in (False, True):
            chunks = bench.store.stream("a/b/one.dcm", start=start, length=length, fresh=fresh)
            assert b"".join([chunk async for chunk in chunks]) == expected


async def test_what_is_in_memory_is_at_hand_and_what_is_not_is_left_to_others(bench: Bench) -> None:
    await bench.put(key=LONG)
    assert await bench.store.read("key") == LONG  # so that it is in memory
    parts = [(5, 7), (len(LONG) - 8, 8), (0, 0)]
    at_hand = bench.store.at_hand("key", parts)
    assert at_hand in (None, [LONG[5:12], b"the rest", b""])  # None: it is of another machine
    assert isinstance(bench.store, S3Store) == (at_hand is None)
    assert bench.store.at_hand("key", [(len(LONG) - 8, 9)]) is None  # there is less
    assert bench.store.at_hand("another", [(0, 1)]) is None
    bench.take_away()
    assert bench.store.at_hand("key", [(0, 1)]) is None


async def test_more_than_fits_is_not_at_hand(tmp_path: Path) -> None:
    bench = file_system(tmp_path)
    await bench.put(key=LONG)
    assert bench.store.at_hand("key", [(0, CHUNK), (0, 1)]) is None


async def test_a_parser_moves_about_in_an_object(bench: Bench) -> None:
    await bench.put(key=LONG)
    with bench.store.open_now("key") as file:
        file.seek(300)
        assert file.read(10) == LONG[300:310]
        file.seek(-8, 2)
        assert file.read() == b"the rest"
        file.seek(0)
        assert file.read(4) == LONG[:4]


async def test_parts_come_whole_or_not_at_all(bench: Bench) -> None:
    await bench.put(key=LONG)
    parts = [(len(LONG) - 8, 8), (5, 7), (9, 2), (300_000, CHUNK), (0, 0)]
    expected = [LONG[start : start + length] for start, length in parts]
    assert await asyncio.to_thread(bench.store.parts_now, "key", parts) == expected
    with pytest.raises(StoreUnavailable):
        bench.store.parts_now("key", [(0, 1), (len(LONG) - 8, 9)])
    with pytest.raises(ObjectMissing):
        bench.store.parts_now("another", [(0, 1)])


async def test_an_object_is_a_local_file_for_a_while(bench: Bench) -> None:
    await bench.put(key=LONG)
    async with bench.store.local_file("key") as path:
        assert path.read_bytes() == LONG
    assert await bench.store.read("key") == LONG


async def test_an_object_that_is_a_file_says_where_it_is(bench: Bench) -> None:
    await bench.put(key=LONG)
    name = bench.store.own_file("key")
    assert (name is not None) is isinstance(bench.store, FileSystemStore | TieredStore)
    if name is not None:
        assert Path(name).read_bytes() == LONG
        for wrong in ("../x", "a//b", "a/\x00"):
            with pytest.raises(PermanentError):
                bench.store.own_file(wrong)


async def test_nothing_is_overwritten_and_putting_again_is_no_error(bench: Bench) -> None:
    await bench.put(key=b"first")
    await bench.put(key=b"second", other=b"other")
    assert await bench.store.read("key") == b"first"
    assert await bench.store.read("other") == b"other"


async def test_the_files_that_were_put_stay_and_may_go(bench: Bench) -> None:
    source = bench.file(b"content")
    await bench.store.put_files([("key", source)])
    assert source.read_bytes() == b"content"
    source.unlink()
    assert await bench.store.read("key") == b"content"


async def test_a_file_that_is_gone_cannot_be_put(bench: Bench) -> None:
    with pytest.raises(StoreUnavailable):
        await bench.store.put_files([("key", bench.directory / "gone")])
    with pytest.raises(ObjectMissing):
        await bench.store.size("key")


async def test_what_is_missing_is_said_to_be_missing(bench: Bench) -> None:
    await bench.put(other=b"other")
    with pytest.raises(ObjectMissing):
        await bench.store.read("key")
    with pytest.raises(ObjectMissing):
        await bench.store.size("a/key")
    with pytest.raises(ObjectMissing):
        bench.store.open_now("key")
    with pytest.raises(ObjectMissing):
        await anext(aiter(bench.store.stream("key")))
    with pytest.raises((ObjectMissing, FileNotFoundError)):
        async with bench.store.local_file("key") as path:
            path.read_bytes()


@pytest.mark.parametrize("key", ["../x", "/x", "a//b", "a/./b", "a/\x00", ""])
async def test_a_key_that_leads_elsewhere_is_refused(bench: Bench, key: str) -> None:
    for attempt in (
        lambda: bench.store.put_files([(key, bench.file(b""))]),
        lambda: bench.store.read(key),
        lambda: bench.store.size(key),
        lambda: bench.store.local_file(key).__aenter__(),
    ):
        with pytest.raises(PermanentError):
            await attempt()
    assert not await bench.store.holds_anything()


async def test_a_listing_has_every_object_and_goes_on_behind_any(bench: Bench) -> None:
    keys = [
        "a/b/1",
        "a/b/2",
        "a/b.c/1",
        "a/c",
        "a.d",
        "b/1",
        *(f"m/{n:03}" for n in range(bench.many)),
    ]
    await bench.store.put_files([(key, bench.file(key.encode())) for key in keys])
    now = datetime.now(UTC)
    listed = [one async for one in bench.store.list_keys()]
    order = [one.key for one in listed]
    assert sorted(order) == sorted(keys)
    assert all(one.size == len(one.key) for one in listed)
    assert all(abs(one.modified - now) < timedelta(minutes=1) for one in listed)
    for place in (0, 1, 4, 5, len(keys) - 20, len(keys) - 1):
        behind = [one.key async for one in bench.store.list_keys(after=order[place])]
        assert behind == order[place + 1 :]
    prefixed = [one.key async for one in bench.store.list_keys("a/b")]
    assert prefixed == [key for key in order if key.startswith("a/b")]


async def test_an_empty_store_holds_nothing(bench: Bench) -> None:
    assert not await bench.store.holds_anything()
    assert [one async for one in bench.store.list_keys()] == []
    await bench.put(key=b"")
    assert await bench.store.holds_anything()
    await bench.store.check()


async def test_room_is_known_or_without_bounds(bench: Bench) -> None:
    space = await bench.store.space()
    assert space is None or 0 < space.free <= space.total


async def test_a_store_that_is_away_says_so_and_nothing_of_its_objects(bench: Bench) -> None:
    await bench.put(key=b"content")
    bench.take_away()
    with pytest.raises(Unhealthy):
        await bench.store.check()
    with pytest.raises(StoreUnavailable):
        await bench.store.holds_anything()
    with pytest.raises(StoreUnavailable):
        await anext(aiter(bench.store.list_keys()))
    with pytest.raises(StoreUnavailable):
        await bench.store.space()


async def test_an_object_made_of_bytes_is_there_once_and_whole(bench: Bench) -> None:
    bench.store.put_now("a/b/made", (LONG[at : at + 1000] for at in range(0, len(LONG), 1000)))
    bench.store.put_now("a/b/made", [b"other bytes"])  # what is there stays
    assert await bench.store.read("a/b/made") == LONG
    assert [one.key async for one in bench.store.list_keys()] == ["a/b/made"]


async def test_what_fails_on_the_way_leaves_no_object(bench: Bench) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bench.store.put_now("made", pieces())
    with pytest.raises(ObjectMissing):
        await bench.store.size("made")
    assert [one.key async for one in bench.store.list_keys()] == []


async def test_an_object_that_was_put_since_is_not_removed(bench: Bench) -> None:
    await bench.put(one=b"1", two=b"2")
    now = datetime.now(UTC)
    assert not await bench.store.remove("one", untouched_since=now - timedelta(hours=1))
    assert await bench.store.read("one") == b"1"
    assert await bench.store.remove("one", untouched_since=now + timedelta(hours=1))
    assert await bench.store.remove("one", untouched_since=now)  # it is gone already
    assert [one.key async for one in bench.store.list_keys()] == ["two"]


async def test_putting_once_more_counts_as_wanting_it(bench: Bench) -> None:
    await bench.put(key=b"1")
    (before,) = [one async for one in bench.store.list_keys()]

    async def is_newer() -> bool:  # where times are whole seconds it may take one
        await bench.put(key=b"1")
        (after,) = [one async for one in bench.store.list_keys()]
        return after.modified > before.modified

    await until(is_newer, poll=0.2)
    assert await bench.store.read("key") == b"1"


async def test_what_is_damaged_is_written_over_or_stays(bench: Bench) -> None:
    await bench.put(damaged=b"other bytes")
    bench.store.replace_now("damaged", (LONG[at : at + 1000] for at in range(0, len(LONG), 1000)))
    assert await bench.store.read("damaged") == LONG
    bench.store.replace_now("new", [b"was not there"])
    assert await bench.store.read("new") == b"was not there"

    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bench.store.replace_now("damaged", pieces())
    assert await bench.store.read("damaged") == LONG
    assert sorted([one.key async for one in bench.store.list_keys()]) == ["damaged", "new"]
