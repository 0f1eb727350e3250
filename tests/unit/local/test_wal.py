"""What an archive keeps of WAL, and in which order it is sent there: no row before its object."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.objects.store import FileSystemStore, ObjectMissing
from darkroom_common.postgres.phi import PhiKeys
from darkroom_local.engines.process import StartError
from darkroom_local.recovery import shipping
from darkroom_local.recovery.archive import Archive, RecoveryError
from darkroom_local.recovery.backup import Source
from darkroom_local.recovery.changed import Changed
from darkroom_local.recovery.shipping import Pace, Shipping
from darkroom_local.recovery.wal import Base, WalArchive, first_gap, following, is_segment
from darkroom_local.stack.keyring import new_keys


def segment(number: int, timeline: int = 1, high: int = 0) -> str:
    return f"{timeline:08X}{high:08X}{number:08X}"


@pytest.fixture
def wal(tmp_path: Path) -> WalArchive:
    place = tmp_path / "archive"
    place.mkdir()
    keys = PhiKeys.parse(new_keys(), setting="test")
    return WalArchive(Archive(FileSystemStore(place), keys, place=str(place), directory=place))


def test_segments_follow_each_other_as_postgresql_counts_them() -> None:
    assert following(segment(0)) == segment(1)
    assert following(segment(0xFE, high=3)) == segment(0xFF, high=3)
    assert following(segment(0xFF, high=3)) == segment(0, high=4)
    assert following(segment(9, timeline=7)) == segment(10, timeline=7)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        (segment(1), True),
        (f"{segment(1)}.00000010", False),
        (f"{segment(1)}.partial", False),
        ("00000002.history", False),
        (segment(1).lower() + "a", False),
    ],
)
def test_a_whole_segment_is_told_from_all_else(name: str, is_one: bool) -> None:
    assert is_segment(name) is is_one


@pytest.mark.parametrize(
    ("there", "gap"),
    [([], None), ([5, 6, 7], None), ([3, 4, 5, 6], None), ([6, 7], 5), ([5, 7, 9], 6), ([5], None)],
)
def test_the_first_gap_is_found(there: list[int], gap: int | None) -> None:
    names = [*map(segment, there), "00000002.history", f"{segment(99)}.00000001"]
    assert first_gap(names, segment(5)) == (None if gap is None else segment(gap))


def test_a_new_timeline_may_begin_where_the_old_one_was_left() -> None:
    names = [segment(5), segment(6), segment(6, timeline=2), segment(7, timeline=2)]
    assert first_gap(names, segment(5)) is None
    assert first_gap([*names, segment(9, timeline=2)], segment(5)) == segment(8, timeline=2)


def test_what_is_kept_comes_back_and_is_in_order(wal: WalArchive) -> None:
    for name in (segment(2), segment(1), "00000002.history"):
        wal.put(name, name.encode() * 100)
    wal.put_part(segment(3), b"abc")
    assert wal.get(segment(2)) == segment(2).encode() * 100
    assert wal.names() == [segment(1), segment(2), f"{segment(3)}.00000003", "00000002.history"]
    assert wal.names(after=segment(1))[0] == segment(2)
    with pytest.raises(ObjectMissing):
        wal.get(segment(9))


def test_a_part_takes_the_place_of_the_one_before_and_goes_with_the_whole(wal: WalArchive) -> None:
    wal.put_part(segment(1), b"ab")
    wal.put_part(segment(2), b"x")
    wal.put_part(segment(1), b"abcd")
    assert wal.names() == [f"{segment(1)}.00000004", f"{segment(2)}.00000001"]
    assert wal.get(f"{segment(1)}.00000004") == b"abcd"
    wal.forget_parts(segment(1))
    assert wal.names() == [f"{segment(2)}.00000001"]


def test_the_newest_mark_alone_stays(wal: WalArchive) -> None:
    assert wal.mark() is None
    for at in (1000.5, 2000.25, 99999.125):
        wal.set_mark(at)
        assert wal.mark() == at
        assert len(wal.archive.keys_below("marks/")) == 1
    wal.set_mark(5.0)  # of a clock that was set back: what is here is here
    assert wal.mark() == 99999.125


def a_base(name: str, ended: float, first: int) -> Base:
    return Base(name, ended, segment(first), 10, {"1": "f"})


def kept(wal: WalArchive, *bases: Base) -> None:
    for base in bases:
        label = f"START WAL LOCATION: 0/1 (file {base.first})".encode()
        assert wal.put_base(base.name, [label + b" and", b" files"]) == base.first
        wal.put_head(base)


def test_a_base_is_there_when_its_head_is(wal: WalArchive) -> None:
    one = a_base("20260101", 100.0, 1)
    label = [f"START WAL LOCATION: 0/1 (file {one.first})".encode(), b"files"]
    wal.put_base(one.name, label)
    assert wal.bases() == []
    with pytest.raises(RecoveryError, match="no such time"):
        wal.base_before(None)
    wal.put_head(one)
    assert wal.bases() == [one]
    assert b"".join(wal.files(one)) == b"".join(label)
    with pytest.raises(RecoveryError, match="do not begin with a label"):
        wal.put_base("20260102", [b"no label", b"START WAL LOCATION"])


def test_a_moment_is_reached_from_the_newest_base_before_it(wal: WalArchive) -> None:
    first, second = a_base("20260101", 100.0, 1), a_base("20260102", 200.0, 4)
    kept(wal, first, second)
    assert wal.base_before(None) == second
    assert wal.base_before(200.0) == second
    assert wal.base_before(199.9) == first
    with pytest.raises(RecoveryError):
        wal.base_before(99.9)


def test_old_bases_go_with_the_wal_that_no_other_needs(wal: WalArchive) -> None:
    bases = [a_base(f"2026010{n}", 100.0 * n, 2 * n) for n in (1, 2, 3)]
    kept(wal, *bases)
    for number in range(1, 9):
        wal.put(segment(number), b"w")
    wal.put("00000002.history", b"h")
    assert wal.forget(2) == 1
    assert wal.bases() == bases[1:]
    assert wal.names() == [*map(segment, range(4, 9)), "00000002.history"]
    assert [key for key in wal.archive.keys_below("bases/") if "20260101" in key] == []
    assert wal.forget(2) == 0


class Database:
    """A server that has so much, and is asked for what rows name."""

    def __init__(self, steps: list[str], *, received: bool = True) -> None:
        self.steps = steps
        self.received = received

    async def execute(self, sql: str) -> None:
        self.steps.append(sql)

    async def fetchval(self, sql: str, *_: object) -> Any:
        self.steps.append("asked where" if "flush_lsn" in sql else "asked whether")
        return self.received if "restart_lsn" in sql else "0/1"

    async def close(self, **_: float) -> None:
        self.steps.append("closed")


class Objects:
    """A store of one object."""

    def __init__(self, steps: list[str]) -> None:
        self.steps = steps

    def open_now(self, key: str) -> io.BytesIO:
        if key == "gone":
            raise ObjectMissing(key)
        self.steps.append(f"read {key}")
        return io.BytesIO(b"object")


@pytest.fixture
def steps() -> list[str]:
    return []


@pytest.fixture
def ships(
    wal: WalArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[str]
) -> Shipping:
    store: Any = Objects(steps)
    source = Source("postgresql://127.0.0.1:1/x", store, {})
    made = Shipping(source, wal, tmp_path / "scratch", Pace(switch_seconds=3600), steps.append)
    (tmp_path / "scratch" / "wal").mkdir(parents=True)

    async def batches(_: Changed, __: Any) -> Any:
        yield ["a", "gone"]

    for owner, name in ((wal, "put"), (wal, "put_part"), (wal, "set_mark"), (made, "_noted")):
        real = getattr(owner, name)

        def noted(*given: Any, name: str = name, real: Any = real) -> Any:
            told = f" {given[0]}" if name.startswith("put") else ""
            steps.append(f"{name}{told}")
            return real(*given)

        monkeypatch.setattr(owner, name, noted)
    monkeypatch.setattr(Changed, "batches", batches)
    monkeypatch.setattr(shipping, "_LOOK_SECONDS", 0.0)
    return made


def connected(ships: Shipping, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(_: Shipping) -> Database:
        return database

    monkeypatch.setattr(Shipping, "_connect", connect)


async def test_what_was_noted_is_sent_after_the_objects_that_rows_name_by_then(
    ships: Shipping, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(ships, Database(steps), monkeypatch)
    files = ships.scratch / "wal"
    (files / segment(1)).write_bytes(b"whole")
    (files / "00000002.history").write_bytes(b"history")
    (files / f"{segment(2)}.partial").write_bytes(b"part" + bytes(100))
    await ships.round()
    assert steps == [
        "asked where",
        "asked whether",
        "_noted",
        "read a",
        "closed",
        f"put {segment(1)}",
        "put 00000002.history",
        f"put_part {segment(2)}",
        f"put {segment(2)}.00000004",
        "set_mark",
    ]
    assert ships.wal.get(f"{segment(2)}.00000004") == b"part"
    assert [path.name for path in files.iterdir()] == [f"{segment(2)}.partial"]
    assert (ships.shipped.segments, ships.shipped.objects) == (1, 1)

    steps.clear()
    await ships.round()  # nothing has come: nothing is sent, and all is here still
    assert steps == ["asked where", "asked whether", "_noted", "closed", "set_mark"]
    (files / f"{segment(2)}.partial").rename(files / segment(2))
    await ships.round()
    assert ships.wal.names() == [segment(1), segment(2), "00000002.history"]


async def test_no_mark_is_set_before_all_is_received(
    ships: Shipping, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(ships, Database(steps, received=False), monkeypatch)
    await ships.round()
    assert "set_mark" not in steps
    assert ships.wal.mark() is None


@pytest.mark.parametrize(
    ("size", "seconds", "is_ended"),
    [
        (shipping._EMPTY + 1, 0, True),
        (shipping._EMPTY, 0, False),
        (shipping._EMPTY + 1, 3600, False),
    ],
)
async def test_a_segment_with_something_in_it_is_ended_in_time(
    ships: Shipping,
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    seconds: float,
    is_ended: bool,
) -> None:
    connected(ships, Database(steps), monkeypatch)
    ships.pace = Pace(switch_seconds=seconds)
    (ships.scratch / "wal" / f"{segment(2)}.partial").write_bytes(b"x" * size)
    await ships.round()
    assert ("SELECT pg_switch_wal()" in steps) is is_ended


def test_the_database_is_sent_when_there_is_no_base_or_a_gap(ships: Shipping) -> None:
    assert ships._wants_base()
    kept(ships.wal, a_base("20260101", 4e9, 1))
    for number in (1, 2, 4):
        ships.wal.put(segment(number), b"w")
    assert ships._wants_base()
    ships._newest = None
    ships.wal.put(segment(3), b"w")
    assert not ships._wants_base()
    assert ships._newest == 4e9


def test_the_database_is_sent_again_after_some_days(ships: Shipping) -> None:
    kept(ships.wal, a_base("20260101", 1000.0, 1))
    ships.wal.put(segment(1), b"w")
    assert not ships._wants_base()
    assert ships._wants_base()  # it is of 1970


async def test_it_ends_when_nothing_receives_any_more(
    ships: Shipping, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(ships, Database(steps), monkeypatch)
    (ships.scratch / "seen.json").write_text('{"instance": 7}')
    kept(ships.wal, a_base("20260101", 4e9, 1))
    ships.wal.put(segment(1), b"w")

    class Ended:
        running, returncode = False, 1

        def failure(self, what: str) -> StartError:
            return StartError(what)

    @asynccontextmanager
    async def receiving(_: Shipping) -> AsyncIterator[Ended]:
        yield Ended()

    monkeypatch.setattr(Shipping, "_receiving", receiving)
    with pytest.raises(StartError, match="ended with code 1"):
        await ships.run()
    assert "set_mark" in steps
    assert ships._changed.seen == {"instance": 7}
