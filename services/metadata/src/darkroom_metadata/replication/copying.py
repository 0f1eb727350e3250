"""Copies an object from one store to another: what arrives is what the index says, or nothing."""

import asyncio
import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import asyncpg

from darkroom_common.errors import PermanentError
from darkroom_common.objects.store import CHUNK, ObjectMissing, ObjectStore
from darkroom_common.postgres.pool import Connection

_NAMED: Final = (  # instance_object, conflict_object, removed_object_key
    "SELECT DISTINCT ON (object_key) * FROM ("
    " SELECT i.object_key, encode(i.sha256, 'hex') AS sha256, i.size, i.data_set_offset,"
    "  encode(i.head_sha256, 'hex') AS head_sha256, i.receipt, i.received_at"
    " FROM index.instance i WHERE i.object_key = ANY($1::text[])"
    " UNION ALL SELECT c.object_key, encode(c.sha256, 'hex'), c.size, c.data_set_offset,"
    "  encode(c.head_sha256, 'hex'), c.receipt, c.received_at"
    " FROM index.conflict c WHERE c.object_key = ANY($1::text[]) AND c.removed_at IS NULL"
    "  AND c.kind IN ('instance', 'correction')"
    " UNION ALL SELECT r.object_key, r.item->>'sha256', (r.item->>'size')::bigint,"
    "  (r.item->>'data_set_offset')::bigint, NULL, r.item->>'receipt',"
    "  (r.item->>'received_at')::timestamptz"
    " FROM index.removed_object r WHERE r.object_key = ANY($1::text[]) AND r.item IS NOT NULL"
    ") AS every ORDER BY object_key"
)


class NotAsReceived(PermanentError):
    """Bytes are not those that the index says were received."""


@dataclass(frozen=True)
class Named:
    """What a row says of its object.

    Attributes:
        sha256: of the data set, hexadecimal.
        size: bytes of the data set.
        data_set_offset: None in rows of conflicts of older releases: it is not checked then.
        head_sha256: of the bytes before the data set; None where the row has none.
    """

    object_key: str
    sha256: str
    size: int
    data_set_offset: int | None
    head_sha256: str | None
    receipt: str
    received_at: datetime

    @classmethod
    def of(cls, row: asyncpg.Record) -> "Named":
        """Return what a row of `named` says."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


async def named(db: Connection, keys: list[str]) -> dict[str, Named]:
    """Return what rows say of objects, by their keys; of the others there is none."""
    return {row["object_key"]: Named.of(row) for row in await db.fetch(_NAMED, keys)}


class Described(Protocol):
    """What is known of an object, by whichever row; as `Named` has it."""

    @property
    def object_key(self) -> str:
        """Where it is."""

    @property
    def sha256(self) -> str:
        """Of the data set."""

    @property
    def size(self) -> int:
        """Bytes of the data set."""

    @property
    def data_set_offset(self) -> int | None:
        """Where the data set begins."""

    @property
    def head_sha256(self) -> str | None:
        """Of what is before it."""


class Reader:
    """Passes an object's bytes on, and holds them against what is known of it."""

    def __init__(self, expected: Described) -> None:
        self._expected = expected
        self._whole, self._head = hashlib.sha256(), hashlib.sha256()
        self._data = hashlib.sha256()
        self.size = 0

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._whole.update(piece)
        offset = self._expected.data_set_offset or 0
        head = max(0, offset - self.size)
        self._head.update(piece[:head])
        self._data.update(piece[head:])
        self.size += len(piece)

    def end(self) -> bytes:
        """Return the SHA-256 of all, after the last byte.

        Raises:
            NotAsReceived: they are others than were received.
        """
        expected = self._expected
        if expected.data_set_offset is not None and (
            self.size != expected.data_set_offset + expected.size
            or self._data.hexdigest() != expected.sha256
            or expected.head_sha256 not in (None, self._head.hexdigest())
        ):
            raise NotAsReceived("an object is not as it was received")
        return self._whole.digest()


def copy_now(source: ObjectStore, target: ObjectStore, expected: Described) -> tuple[bytes, int]:
    """Have an object in another store, in a thread; it is read back from there.

    Another object that is there under its key is written over.

    Returns:
        the SHA-256 and the bytes of the whole object.

    Raises:
        ObjectMissing: it is not in the source.
        NotAsReceived: the source has other bytes; the target is as it was.
        StoreUnavailable: one of them is away.
    """
    target.put_now(expected.object_key, _checked(source, expected))
    try:
        return read_now(target, expected)
    except (NotAsReceived, ObjectMissing):
        target.replace_now(expected.object_key, _checked(source, expected))
        return read_now(target, expected)


def read_now(store: ObjectStore, expected: Described) -> tuple[bytes, int]:
    """Return the SHA-256 and the size of what a store has, in a thread; see `copy_now`."""
    reader = Reader(expected)
    with store.open_now(expected.object_key) as file:
        while piece := file.read(CHUNK):
            reader.feed(piece)
    return reader.end(), reader.size


def replace_now(source: ObjectStore, target: ObjectStore, expected: Described) -> None:
    """Write over what is damaged in the target, in a thread; it is read back from there.

    Raises:
        ObjectMissing, NotAsReceived, StoreUnavailable: as `copy_now`.
    """
    read_now(source, expected)
    target.replace_now(expected.object_key, _checked(source, expected))
    read_now(target, expected)


def _checked(source: ObjectStore, expected: Described) -> Iterator[bytes]:
    reader = Reader(expected)
    with source.open_now(expected.object_key) as file:
        while piece := file.read(CHUNK):
            reader.feed(piece)
            yield piece
    reader.end()


async def copy(
    source: ObjectStore, target: ObjectStore, expected: Described, threads: Executor
) -> tuple[bytes, int]:
    """Do `copy_now` in a thread."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(threads, copy_now, source, target, expected)
