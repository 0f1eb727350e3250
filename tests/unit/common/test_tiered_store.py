"""Two stores as one: wherever an object is, it is read, listed once and removed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from darkroom_common.errors import ConfigurationError
from darkroom_common.objects.store import ObjectMissing, below, open_store
from darkroom_common.objects.tiered import TieredStore, is_charged

KEYS = ("a/1", "a/2", "b/1", "b/2")


@pytest.fixture
def store(tmp_path: Path) -> TieredStore:
    """The second of each folder is in the slow store, the last one in both."""
    made = open_store(f"{(tmp_path / 'fast').as_uri()} {(tmp_path / 'slow').as_uri()}")
    assert isinstance(made, TieredStore)
    for key in KEYS:
        one = made.slow if key.endswith("2") else made.fast
        one.put_now(key, [key.encode()])
    made.fast.put_now("b/2", [b"b/2"])
    return made


async def test_an_object_is_read_wherever_it_is(store: TieredStore) -> None:
    for key in KEYS:
        content = key.encode()
        assert await store.read(key) == content
        assert b"".join([piece async for piece in store.stream(key, start=1)]) == content[1:]
        assert await store.size(key) == len(content)
        assert store.parts_now(key, [(0, 1), (2, 1)]) == [content[:1], content[2:]]
        with store.open_now(key) as file:
            assert file.read() == content
        async with store.local_file(key) as path:
            assert path.read_bytes() == content
        own = store.own_file(key)
        assert (own is None) == (key == "a/2")
    for missing in (store.read("c"), store.size("c")):
        with pytest.raises(ObjectMissing):
            await missing
    with pytest.raises(ObjectMissing):
        store.open_now("c")


async def test_each_is_listed_once_and_the_listing_goes_on_behind_any(store: TieredStore) -> None:
    order = [one.key async for one in store.list_keys()]
    assert sorted(order) == sorted(KEYS)
    for place, key in enumerate(order):
        assert [one.key async for one in store.list_keys(after=key)] == order[place + 1 :]


async def test_what_is_removed_is_in_neither(store: TieredStore) -> None:
    now = datetime.now(UTC)
    assert not await store.remove("b/2", untouched_since=now - timedelta(hours=1))
    for key in KEYS:
        assert await store.remove(key, untouched_since=now + timedelta(hours=1))
    assert [one async for one in store.list_keys()] == []


async def test_without_the_slow_store_what_is_in_the_fast_one_is_read(
    store: TieredStore, tmp_path: Path
) -> None:
    (tmp_path / "slow").rename(tmp_path / "away")
    await store.check()
    assert await store.read("a/1") == b"a/1"


def test_two_stores_are_named_and_no_more(tmp_path: Path) -> None:
    assert below("file:///fast s3://slow/x", ".exports") == "file:///fast/.exports"
    with pytest.raises(ConfigurationError, match="one store, or two"):
        open_store(" ".join((tmp_path / name).as_uri() for name in "abc"))


@pytest.mark.parametrize(
    ("url", "charged"),
    [
        ("file:///a", False),
        ("s3://a?class=GLACIER_IR", False),  # the only one: it has to be read
        ("file:///a file:///b", False),
        ("file:///a s3://b/c?endpoint=https://host:1", False),
        ("file:///a s3://b?class=STANDARD", False),
        ("file:///a s3://b/c?region=x&class=GLACIER_IR", True),
        ("s3://a?class=STANDARD s3://b?class=STANDARD_IA", True),
        ("s3://a?class=GLACIER_IR s3://b", False),
    ],
)
def test_a_slow_store_says_whether_it_charges_for_what_is_read(url: str, charged: bool) -> None:
    assert is_charged(url) is charged
