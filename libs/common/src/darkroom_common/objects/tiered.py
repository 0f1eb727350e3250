"""Two stores as one: what is new lies in the fast one, what has been moved in the other.

An object is in either or, while it is moved or recalled, in both. Whoever reads looks in the fast
store first; nobody else needs to know where an object is. `STORE_URL` names both, with a space in
between. See `interface.py` for what every method does.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, Self
from urllib.parse import parse_qsl, urlsplit

from darkroom_common.errors import ConfigurationError
from darkroom_common.objects.interface import Listed, ObjectMissing, ObjectStore, VolumeSpace

_TWO: Final = 2


@dataclass(frozen=True)
class TieredStore:
    """The fast store, and behind it the one for what is seldom read.

    Attributes:
        fast: takes what is new.
        slow: takes what is moved there, object by object.
    """

    fast: ObjectStore
    slow: ObjectStore

    @classmethod
    def of(cls, stores: Sequence[ObjectStore], setting: str) -> Self:
        """Return two stores as one.

        Raises:
            ConfigurationError: there are more, or fewer.
        """
        if len(stores) != _TWO:
            raise ConfigurationError(f"{setting} names one store, or two with a space in between")
        return cls(*stores)

    async def put_files(self, files: Sequence[tuple[str, Path]]) -> None:
        """Make local files objects of the fast store."""
        await self.fast.put_files(files)

    async def stream(
        self, key: str, *, start: int = 0, length: int | None = None, fresh: bool = False
    ) -> AsyncIterator[bytes]:
        """Yield the bytes from `start`, of the store that has the object."""
        begun = False
        try:
            async for piece in self.fast.stream(key, start=start, length=length, fresh=fresh):
                begun = True
                yield piece
        except ObjectMissing:
            if begun:
                raise
        else:
            return
        async for piece in self.slow.stream(key, start=start, length=length, fresh=fresh):
            yield piece

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes from `start`, of the store that has the object."""
        try:
            return await self.fast.read(key, start=start, length=length)
        except ObjectMissing:
            return await self.slow.read(key, start=start, length=length)

    def open_at_hand(self, key: str, start: int, length: int) -> int | None:
        """Open what the fast store has in memory."""
        return self.fast.open_at_hand(key, start, length)

    def parts_now(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts of an object, of the store that has it."""
        try:
            return self.fast.parts_now(key, parts)
        except ObjectMissing:
            return self.slow.parts_now(key, parts)

    def at_hand(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes] | None:
        """Return parts of what the fast store has in memory."""
        return self.fast.at_hand(key, parts)

    async def size(self, key: str) -> int:
        """Return the size of an object, of the store that has it."""
        try:
            return await self.fast.size(key)
        except ObjectMissing:
            return await self.slow.size(key)

    def open_now(self, key: str) -> BinaryIO:
        """Open an object of the store that has it."""
        try:
            return self.fast.open_now(key)
        except ObjectMissing:
            return self.slow.open_now(key)

    def own_file(self, key: str) -> str | None:
        """Return the name of the file that an object of the fast store is, if it is there."""
        name = self.fast.own_file(key)
        return name if name is not None and Path(name).is_file() else None

    @asynccontextmanager
    async def local_file(self, key: str) -> AsyncIterator[Path]:
        """Hold an object as a file, of the store that has it."""
        try:
            await self.fast.size(key)
        except ObjectMissing:
            async with self.slow.local_file(key) as path:
                yield path
            return
        async with self.fast.local_file(key) as path:
            yield path

    def put_now(self, key: str, pieces: Iterable[bytes]) -> None:
        """Make an object of the fast store of bytes."""
        self.fast.put_now(key, pieces)

    def replace_now(self, key: str, pieces: Iterable[bytes]) -> None:
        """Write over an object where it lies; of both, over the one that is read."""
        try:
            self.fast.open_now(key).close()
        except ObjectMissing:
            try:
                self.slow.open_now(key).close()
            except ObjectMissing:
                self.fast.replace_now(key, pieces)
            else:
                self.slow.replace_now(key, pieces)
        else:
            self.fast.replace_now(key, pieces)

    async def remove(self, key: str, *, untouched_since: datetime) -> bool:
        """Delete an object from both; one that is wanted in either stays where it is."""
        return await self.fast.remove(
            key, untouched_since=untouched_since
        ) and await self.slow.remove(key, untouched_since=untouched_since)

    async def forget_drafts(self, *, begun_before: datetime) -> int:
        """Remove what was begun and nobody will take up, in both."""
        gone = await self.fast.forget_drafts(begun_before=begun_before)
        return gone + await self.slow.forget_drafts(begun_before=begun_before)

    async def list_keys(self, prefix: str = "", *, after: str = "") -> AsyncIterator[Listed]:
        """Yield the objects of the fast store, then those that only the other one has."""
        if not after or await _has(self.fast, after):
            async for one in self.fast.list_keys(prefix, after=after):
                yield one
            after = ""
        async for one in self.slow.list_keys(prefix, after=after):
            if not await _has(self.fast, one.key):
                yield one

    async def holds_anything(self) -> bool:
        """Tell whether there is anything in either: a volume that is not mounted holds nothing."""
        return await self.fast.holds_anything() or await self.slow.holds_anything()

    async def check(self) -> None:
        """Raise `Unhealthy` when the fast store cannot be used: without the other work goes on."""
        await self.fast.check()

    async def space(self) -> VolumeSpace | None:
        """Return the room of the fast store, which is what fills up."""
        return await self.fast.space()


def is_charged(url: str) -> bool:
    """Tell whether the slow store of a URL of two has a class that charges for what is read.

    Its objects can be read at once, and are by whoever asks for them; nobody reads them unasked.
    """
    slow = url.rsplit(maxsplit=1)[-1]
    classes = dict(parse_qsl(urlsplit(slow).query)).get("class", "")
    return slow != url and classes not in ("", "STANDARD")


async def _has(store: ObjectStore, key: str) -> bool:
    try:
        await store.size(key)
    except ObjectMissing:
        return False
    return True
