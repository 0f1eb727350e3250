"""Objects of another site: copied here, checked against their digest, and told to the indexer."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

from darkroom_common.dicom.walk import Unreadable
from darkroom_common.errors import PermanentError
from darkroom_common.messages.events import StoredItem
from darkroom_common.objects.receipt import ReceiptReader
from darkroom_common.objects.store import CHUNK, ObjectStore
from darkroom_metadata.replication.copying import NotAsReceived
from darkroom_metadata.verification.verification import Brake

_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Arriving:
    """Brings objects here.

    Args:
        peer: where the other site has put them.
        store: where this site has its objects.
        brake: the pace of copying.
        threads: that wait for the other site.
    """

    peer: ObjectStore
    store: ObjectStore
    brake: Brake
    threads: Executor = field(
        default_factory=partial(ThreadPoolExecutor, _AT_ONCE, thread_name_prefix="arrive")
    )

    async def all(
        self, changes: Sequence[dict[str, Any]]
    ) -> list[StoredItem | PermanentError | Unreadable]:
        """Bring some; return how each is told, or why it could not be brought.

        Raises:
            StoreUnavailable: one of the stores is away.
        """
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one_of(change: dict[str, Any]) -> StoredItem | PermanentError | Unreadable:
            async with gate:
                try:
                    loop = asyncio.get_running_loop()
                    item = await loop.run_in_executor(self.threads, self._bring, change)
                except (PermanentError, Unreadable) as error:
                    return error
                await self.brake.spend(item.size)
                return item

        return list(await asyncio.gather(*(one_of(change) for change in changes)))

    def _bring(self, change: dict[str, Any]) -> StoredItem:
        key = change["subject"]
        self.store.put_now(key, self._pieces(change))
        try:
            return self._read(change)
        except (NotAsReceived, Unreadable):  # other bytes were here under its key
            self.store.replace_now(key, self._pieces(change))
            return self._read(change)

    def _pieces(self, change: dict[str, Any]) -> Iterator[bytes]:
        reader = ReceiptReader()
        with self.peer.open_now(change["subject"]) as file:
            while piece := file.read(CHUNK):
                reader.feed(piece)
                yield piece
        _told(reader, change)

    def _read(self, change: dict[str, Any]) -> StoredItem:
        reader = ReceiptReader()
        with self.store.open_now(change["subject"]) as file:
            while piece := file.read(CHUNK):
                reader.feed(piece)
        return _told(reader, change)


def _told(reader: ReceiptReader, change: dict[str, Any]) -> StoredItem:
    receipt = reader.finish(
        receipt_id=change["receipt"], received_at=datetime.fromisoformat(change["received_at"])
    )
    if receipt.sha256 != change["sha256"]:
        raise NotAsReceived("an object of another site is not as it was received there")
    return receipt.stored(change["subject"]).model_copy(update={"replicated": True})
