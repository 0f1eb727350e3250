"""Moves objects between the fast store and the slow one: copied, read back, and only then removed.

Whoever reads finds an object in one of them at every moment (`TieredStore`).
"""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from darkroom_common.errors import PermanentError
from darkroom_common.objects.store import CHUNK, ObjectMissing, ObjectStore
from darkroom_common.objects.tiered import TieredStore
from darkroom_common.postgres.pool import Connection

_OBJECTS: Final = (  # series_study_id_series_instance_uid_key, instance_series, conflict_bytes
    "SELECT i.object_key, i.sha256, i.data_set_offset, i.size FROM index.series e"
    " JOIN index.instance i ON i.series_id = e.id WHERE e.study_id = $1"
    " UNION SELECT c.object_key, c.sha256, NULL, c.size FROM index.series e"
    " JOIN index.instance i ON i.series_id = e.id JOIN index.conflict c ON c.instance_id = i.id"
    " WHERE e.study_id = $1 AND c.kind IN ('instance', 'correction') AND c.removed_at IS NULL"
)


class NotAsReceived(PermanentError):
    """An object is not what the index says: it is left where it is, for verification to tell."""


@dataclass(frozen=True)
class Kept:
    """An object of a study; without an offset only its copy is compared with it."""

    key: str
    sha256: bytes
    offset: int | None
    size: int


async def objects_of(db: Connection, study: int) -> list[Kept]:
    """Return the objects of a study by its row id, each once."""
    found: dict[str, Kept] = {}
    for row in await db.fetch(_OBJECTS, study):
        one = _kept(row)
        if one.key not in found or found[one.key].offset is None:
            found[one.key] = one
    return list(found.values())


def _kept(row: asyncpg.Record) -> Kept:
    return Kept(row["object_key"], row["sha256"], row["data_set_offset"], row["size"])


def copy_now(one: Kept, source: ObjectStore, target: ObjectStore) -> int:
    """Copy an object, for a thread, and read the copy back; return its bytes, 0 if it was there.

    Raises:
        ObjectMissing: it is not in the source.
        NotAsReceived: it is not what the index says, or the copy is another one.
        StoreUnavailable: one of them is away.
    """
    whole, seen, size = hashlib.sha256(), hashlib.sha256(), 0

    def pieces() -> Iterator[bytes]:
        nonlocal size
        with source.open_now(one.key) as file:
            while data := file.read(CHUNK):
                whole.update(data)
                if one.offset is not None:
                    seen.update(data[max(0, one.offset - size) :])
                size += len(data)
                yield data

    for _ in pieces():  # first: what is damaged is not copied
        pass
    if one.offset is not None and (seen.digest() != one.sha256 or size != one.offset + one.size):
        raise NotAsReceived("an object is not as it was received")
    digest, length = whole.digest(), size
    copied = 0
    if not _is(target, one.key, digest):
        size = 0
        target.put_now(one.key, pieces())
        copied = length
        if not _is(target, one.key, digest):
            raise NotAsReceived("the copy of an object is another one")
    return copied


def _is(store: ObjectStore, key: str, digest: bytes) -> bool:
    found = hashlib.sha256()
    try:
        with store.open_now(key) as file:
            while data := file.read(CHUNK):
                found.update(data)
    except ObjectMissing:
        return False
    return found.digest() == digest


@dataclass(frozen=True)
class Mover:
    """Moves and recalls single objects."""

    store: TieredStore

    async def move(self, one: Kept, began: datetime) -> int:
        """Have an object in the slow store alone; return the bytes that were copied.

        What was put once more since `began` stays in the fast one, too.
        """
        try:
            copied = await asyncio.to_thread(copy_now, one, self.store.fast, self.store.slow)
        except ObjectMissing:
            await self.store.slow.size(one.key)  # it was moved before; else it is missing
            return 0
        await self.store.fast.remove(one.key, untouched_since=began)
        return copied

    async def recall(self, one: Kept) -> int:
        """Have an object in both stores; return the bytes that were copied."""
        try:
            return await asyncio.to_thread(copy_now, one, self.store.slow, self.store.fast)
        except ObjectMissing:
            await self.store.fast.size(one.key)  # it was never moved; else it is missing
            return 0
