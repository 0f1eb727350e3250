"""Objects of conflicts, read again from the store or written anew with corrected attributes."""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Final

import asyncpg

from darkroom_common.dicom.charset import Assumed
from darkroom_common.dicom.correction import Text, corrected
from darkroom_common.dicom.part10 import HEAD_LIMIT, decode_head, encode_head
from darkroom_common.errors import PermanentError
from darkroom_common.objects.receipt import ReceiptReader
from darkroom_common.objects.store import CHUNK
from darkroom_common.postgres.pool import Database
from darkroom_common.readers.ingest import read_character_sets
from darkroom_metadata.indexing.extract import UNREADABLE
from darkroom_metadata.indexing.item import Item
from darkroom_metadata.indexing.reading import Reading

_IN_KEY: Final = 16
"""Digits of the digest that a key has; see `darkroom_common.objects.keys`."""
Values = Mapping[int, str | None]
"""By tag: the text, values separated by backslashes; None takes the element out."""


class Damaged(PermanentError):
    """An object is not as it was received: `darkroom verify` says more."""


@dataclass(frozen=True)
class Kept:
    """An object that a row names."""

    object_key: str
    sha256: str
    receipt: str
    received_at: datetime
    calling_ae_title: str

    @classmethod
    def of(cls, row: asyncpg.Record) -> "Kept":
        """Return the object of a row with these columns; the digest is hexadecimal."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Desk:
    """Reads and writes objects in threads.

    Raises (all methods):
        ObjectMissing: it is not in the store.
        Damaged: it is not what its row says.
        Unreadable: it is no whole data set.
        StoreUnavailable: the store is away.
    """

    database: Database
    reading: Reading

    async def read(self, kept: Kept) -> Item:
        """Return what the index keeps of an object, all of which is read."""
        loop = asyncio.get_running_loop()
        assumed = await self._assumed(kept)
        return await loop.run_in_executor(self.reading.executor, self._read, kept, assumed)

    async def correct(self, kept: Kept, values: Values) -> Item:
        """Write an object with other values of some attributes; return what is new.

        What is written is the same each time, so that it may be done again.

        Raises:
            Unsayable: a text has no form in the character set of the object.
        """
        loop = asyncio.get_running_loop()
        assumed = await self._assumed(kept)
        return await loop.run_in_executor(
            self.reading.executor, self._correct, kept, values, assumed
        )

    async def _assumed(self, kept: Kept) -> Assumed:
        async with self.database.acquire() as db:
            senders = await read_character_sets(db)
        return senders.of(kept.calling_ae_title)

    def _read(self, kept: Kept, assumed: Assumed) -> Item:
        reader = ReceiptReader()
        with self.reading.store.open_now(kept.object_key) as file:
            while piece := file.read(CHUNK):
                reader.feed(piece)
        receipt = reader.finish(receipt_id=kept.receipt, received_at=kept.received_at)
        if receipt.sha256 != kept.sha256:
            raise Damaged("an object is not as it was received")
        event = receipt.stored(kept.object_key)
        return Item(event, self.reading.read(event, assumed))

    def _correct(self, kept: Kept, values: Values, assumed: Assumed) -> Item:
        item = self._read(kept, assumed)
        is_ascii = UNREADABLE not in item.found.flags and item.found.header.isascii()
        pieces = partial(self._corrected, item, values, Text(is_ascii, assumed))
        digest = hashlib.sha256()
        for piece in pieces():
            digest.update(piece)
        sha256 = digest.hexdigest()
        key = _key(kept, sha256)
        with self.reading.store.open_now(kept.object_key) as file:
            meta, _ = decode_head(file.read(HEAD_LIMIT))
        self.reading.store.put_now(key, chain([encode_head(meta)], pieces()))
        return self._read(replace(kept, object_key=key, sha256=sha256), assumed)

    def _corrected(self, item: Item, values: Values, text: Text) -> Iterator[bytes]:
        event, syntax = item.event, item.event.transfer_syntax_uid
        with self.reading.store.open_now(event.object_key) as file:
            yield from corrected(file, event.data_set_offset, syntax, values, text)


def _key(kept: Kept, sha256: str) -> str:
    """Return the key of an object that stands for another: the same, with its own digest."""
    old, new = kept.sha256[:_IN_KEY], sha256[:_IN_KEY]
    found, at, rest = kept.object_key.rpartition(old)
    return f"{found}{new}{rest}" if at else f"{kept.object_key}.{new}"
