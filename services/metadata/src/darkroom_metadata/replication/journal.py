"""What a site tells of itself beside its objects: numbered files, each with some changes, sealed.

A file is written once and never again. Whoever reads them one after the other has all that was
changed, in the order in which it took effect in each study. Files that the other site has read are
removed after a while (`keeping.py`); one more file says where they begin.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from darkroom_common.errors import PermanentError
from darkroom_common.objects.store import ObjectMissing, ObjectStore
from darkroom_common.seal import Seal

PURPOSE: Final = "replication"
"""Of what is sealed: the keys of both sites have to have one in common."""
FOLDER: Final = ".changes"
"""A listing of objects passes it over."""


class TwoWriters(PermanentError):
    """Another installation writes under the name of this site."""


class Removed(PermanentError):
    """What another site has told and was not read here is not there any more."""


@dataclass(frozen=True)
class File:
    """What one says.

    Attributes:
        changes: in their order.
        heard: up to which of its files the writer has read the other site.
    """

    changes: list[dict[str, Any]]
    heard: int = 0


@dataclass(frozen=True)
class Beginning:
    """Where the files of a site begin.

    Attributes:
        first: that is there.
        begun: from which on all that the site has is told, whatever was told before.
    """

    first: int = 1
    begun: int = 1

    def go_on_after(self, number: int) -> int:
        """Return after which file somebody goes on who has read up to a number.

        Raises:
            Removed: files in between are gone.
        """
        after = max(number, self.begun - 1)
        if self.first > after + 1:
            raise Removed(
                f"files {after + 1} to {self.first - 1} were removed and not read: the other site"
                " has to send all again (replication restart)"
            )
        return after


@dataclass(frozen=True)
class Journal:
    """One site's, in a store.

    Args:
        store: that the site sends to.
        seal: what opens and closes it.
        site: its name.
    """

    store: ObjectStore
    seal: Seal
    site: str

    def _key(self, number: int) -> str:
        return f"{FOLDER}/{self.site}/{number // 1000:013d}/{number:016d}"

    @property
    def _first(self) -> str:
        return f"{FOLDER}/{self.site}/first"

    async def read(self, number: int) -> list[dict[str, Any]] | None:
        """Return the changes of a file; as `file`."""
        found = await self.file(number)
        return None if found is None else found.changes

    async def file(self, number: int) -> File | None:
        """Return what a file says; None: it is not written yet, or is removed.

        Raises:
            Unsealable: it was sealed with other keys, or was altered.
            StoreUnavailable: the store is away.
        """
        told = await self._opened(self._key(number))
        if told is None:
            return None
        if (told["site"], told["number"]) != (self.site, number):
            raise TwoWriters(f"replication: file {number} is of another site")
        return File(told["changes"], int(told.get("heard", 0)))

    async def write(self, number: int, changes: Sequence[dict[str, Any]], heard: int = 0) -> None:
        """Write a file, which is durable then.

        Raises:
            TwoWriters: there is one of this number that somebody else has written.
            StoreUnavailable: the store is away.
        """
        told = {"site": self.site, "number": number, "changes": list(changes), "heard": heard}
        content = self.seal.seal_bytes(orjson.dumps(told), purpose=PURPOSE)
        await asyncio.to_thread(self.store.put_now, self._key(number), [content])
        if await self.store.read(self._key(number)) != content:
            raise TwoWriters(f"replication: somebody else has written file {number} of {self.site}")

    async def beginning(self) -> Beginning:
        """Return where the files begin; raises as `file`."""
        told = await self._opened(self._first)
        return Beginning() if told is None else Beginning(told["first"], told["begun"])

    async def begin(self, beginning: Beginning) -> None:
        """Say where the files begin.

        Raises:
            StoreUnavailable: the store is away.
        """
        told = {"first": beginning.first, "begun": beginning.begun}
        content = self.seal.seal_bytes(orjson.dumps(told), purpose=PURPOSE)
        await asyncio.to_thread(self.store.replace_now, self._first, [content])

    async def remove(self, number: int, now: datetime) -> None:
        """Remove a file, if it is there.

        Raises:
            StoreUnavailable: the store is away.
        """
        await self.store.remove(self._key(number), untouched_since=now)

    async def _opened(self, key: str) -> dict[str, Any] | None:
        try:
            content = await self.store.read(key)
        except ObjectMissing:
            return None
        told: dict[str, Any] = orjson.loads(self.seal.open_bytes(content, purpose=PURPOSE))
        return told
