"""Objects that are sealed where they lie: any range of any length, and nothing that was altered."""

import base64
import random
from collections.abc import Iterator

import pytest

from darkroom_common.objects.sealed import PIECE, SealedObject, sealed
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.seal import Unsealable
from tests.support.memory_store import MemoryStore

ONE, TWO = (base64.b64encode(letter * 32).decode() for letter in (b"a", b"b"))
OLD, BOTH, NEW = PhiKeys(1, {1: ONE}), PhiKeys(2, {1: ONE, 2: TWO}), PhiKeys(2, {2: TWO})
PURPOSE = "export 1"


def content(length: int) -> bytes:
    return random.Random(length).randbytes(length)


def cut(data: bytes) -> Iterator[bytes]:
    """As it comes: in pieces of any length, empty ones among them."""
    odd = random.Random(len(data))
    while data:
        length = odd.choice((0, 1, 100, 4096, 3 * PIECE))
        yield data[:length]
        data = data[length:]


def stored(data: bytes, keys: PhiKeys = OLD) -> bytes:
    return b"".join(sealed(keys, cut(data), purpose=PURPOSE))


async def opened(whole: bytes, keys: PhiKeys = OLD, purpose: str = PURPOSE) -> SealedObject:
    store = MemoryStore()
    store.put_now("a", [whole])
    return await SealedObject.open(store, "a", keys=keys, purpose=purpose)


async def read(found: SealedObject, start: int = 0, length: int | None = None) -> bytes:
    length = found.size - start if length is None else length
    return b"".join([piece async for piece in found.read(start, length)])


@pytest.mark.parametrize(
    "length", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 5, 40 * PIECE + 17]
)
async def test_every_length_comes_back(length: int) -> None:
    data = content(length)
    found = await opened(stored(data))
    assert found.size == length
    assert await read(found) == data


async def test_any_range_is_read_for_itself() -> None:
    data = content(35 * PIECE + 9)
    found = await opened(stored(data))
    odd = random.Random(7)
    ends = [0, 1, PIECE - 1, PIECE, PIECE + 1, 16 * PIECE, len(data) - 1, len(data)]
    for _ in range(200):
        low, high = sorted((odd.choice(ends), odd.randrange(len(data) + 1)))
        assert await read(found, low, high - low) == data[low:high]


def test_nothing_is_seen_of_a_content_and_no_two_are_alike() -> None:
    name = b"Doe^Jane"  # long enough not to stand in what is random
    first, second = stored(name * 40_000), stored(name * 40_000)
    assert name not in first
    assert first[:6] == second[:6]
    assert first[38:] != second[38:]


@pytest.mark.parametrize(
    "alter",
    [
        lambda whole: whole[:-1],
        lambda whole: whole[: 38 + PIECE + 16],  # the last piece is gone
        lambda whole: whole[: 38 + PIECE + 20],
        lambda whole: whole[:38] + whole[38 + PIECE + 16 :],  # the first one
        lambda whole: whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        lambda whole: whole[:10] + bytes([whole[10] ^ 1]) + whole[11:],  # the salt
        lambda whole: whole + b"\0",
        lambda whole: whole[: 38 + PIECE + 16] * 2,
    ],
)
async def test_what_was_altered_does_not_open(alter: object) -> None:
    whole = stored(content(PIECE + 1000))
    with pytest.raises(Unsealable):
        await read(await opened(alter(whole)))  # type: ignore[operator]


@pytest.mark.parametrize("whole", [b"", b"DRS1", b"DRS1" + bytes(60), bytes(100), b"DRS1\0\1"])
async def test_what_never_was_one_does_not_open(whole: bytes) -> None:
    with pytest.raises(Unsealable):
        await read(await opened(whole))


async def test_it_opens_for_its_purpose_and_under_its_key_alone() -> None:
    whole = stored(b"Doe^Jane")
    assert await read(await opened(whole, BOTH)) == b"Doe^Jane"  # after the keys were renewed
    for keys, purpose in ((NEW, PURPOSE), (OLD, "export 2")):
        with pytest.raises(Unsealable):
            await read(await opened(whole, keys, purpose))
    assert stored(b"", BOTH)[4:6] == b"\0\2"
