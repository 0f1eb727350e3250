"""What a site tells of itself beside its objects: numbered files, each with some changes, sealed.

A file is written once and never again. Whoever reads them one after the other has all that was
changed, in the order in which it took effect in each study.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
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

    async def read(self, number: int) -> list[dict[str, Any]] | None:
        """Return the changes of a file; None: it is not written yet.

        Raises:
            Unsealable: it was sealed with other keys, or was altered.
            StoreUnavailable: the store is away.
        """
        try:
            content = await self.store.read(self._key(number))
        except ObjectMissing:
            return None
        told = orjson.loads(self.seal.open_bytes(content, purpose=PURPOSE))
        if (told["site"], told["number"]) != (self.site, number):
            raise TwoWriters(f"replication: file {number} is of another site")
        changes: list[dict[str, Any]] = told["changes"]
        return changes

    async def write(self, number: int, changes: Sequence[dict[str, Any]]) -> None:
        """Write a file, which is durable then.

        Raises:
            TwoWriters: there is one of this number that somebody else has written.
            StoreUnavailable: the store is away.
        """
        told = {"site": self.site, "number": number, "changes": list(changes)}
        content = self.seal.seal_bytes(orjson.dumps(told), purpose=PURPOSE)
        await asyncio.to_thread(self.store.put_now, self._key(number), [content])
        if await self.store.read(self._key(number)) != content:
            raise TwoWriters(f"replication: somebody else has written file {number} of {self.site}")
