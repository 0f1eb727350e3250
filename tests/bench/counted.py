"""`python -m tests.bench.counted DIRECTORY RESULT POSTGRES`: what is done for an object.

A process of its own: what it hooks in stays hooked in. It receives the same objects as receiving
does, by one thread and without a network, relays them as one batch, indexes a batch of a series
under an empty database server, and writes what it has counted for each of them as JSON. None of it
depends on how busy the machine is.
"""

import asyncio
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

from darkroom_common.dimse.statuses import StoreStatus
from darkroom_common.messages.batch import ITEMS_LIMIT
from darkroom_common.messages.events import StoredItem
from darkroom_common.objects.keys import DEFAULT_TEMPLATE, KeyTemplate
from darkroom_common.objects.receipt import Receipt
from darkroom_common.objects.spool import Spool
from darkroom_common.objects.store import FileSystemStore
from darkroom_common.telemetry.logs import configure_logs
from darkroom_common.telemetry.traces import configure_traces
from darkroom_common.testing.memory_broker import MemoryBroker
from darkroom_common.topology import METADATA_INDEX
from darkroom_ingest.receiving.acceptance import Offer
from darkroom_ingest.receiving.receive import Receiver
from darkroom_ingest.relaying.relay import Relay
from darkroom_metadata.indexing.indexer import BATCH
from tests.integration.metadata.test_indexer import indexing
from tests.support.builders import CT, a_data_set, encode
from tests.support.database import Prepared

OBJECTS: Final = ITEMS_LIMIT
INDEXED: Final = BATCH
PIECE: Final = 64 << 10
"""Bytes that come at a time."""
_NAMES: Final = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.listdir")
_STATEMENT: Final = "_do_execute"
"""What asyncpg does each statement by."""
_EXPLICIT: Final = "1.2.840.10008.1.2.1"


class Count:
    """Counts calls of functions in this thread, what is done to names, and syncs."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        sys.addaudithook(self._audit)
        for name in ("fsync", "fdatasync"):
            setattr(os, name, self._counted(getattr(os, name)))

    def _audit(self, event: str, _arguments: tuple[Any, ...]) -> None:
        if event in _NAMES:
            self.found["names"] += 1

    def _counted(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def counted(descriptor: int) -> None:
            self.found["syncs"] += 1
            sync(descriptor)

        return counted

    def profile(self, frame: FrameType, event: str, _argument: object) -> None:
        """Be the profiler of threads: count what is called, and statements with values."""
        if event in ("call", "c_call"):
            self.found["calls"] += 1
            if event == "call" and frame.f_code.co_name == _STATEMENT:
                self.found["statements"] += 1

    def take(self, part: str) -> dict[str, float]:
        """Return what was counted for an object since the last time."""
        found = {f"{part}: {name}": n / OBJECTS for name, n in sorted(self.found.items())}
        self.found.clear()
        return found


def objects() -> list[tuple[Offer, bytes]]:
    """Return CT slices of half a mebibyte of one series."""
    first = a_data_set(Rows=512, Columns=512, BitsAllocated=16, PixelData=bytes(512 * 512 * 2))
    made = []
    for number in range(OBJECTS + 1):
        first.SOPInstanceUID = f"2.25.{number + 1}"
        first.InstanceNumber = number
        offer = Offer(CT, first.SOPInstanceUID, _EXPLICIT, "SCANNER", "DARKROOM")
        made.append((offer, encode(first)))
    return made


def receive(receiver: Receiver, offer: Offer, content: bytes) -> None:
    """Receive one object, a piece at a time."""
    reception = receiver.begin(offer)
    for start in range(0, len(content), PIECE):
        reception.write([memoryview(content)[start : start + PIECE]])
    status = reception.finish()
    assert status is StoreStatus.SUCCESS, (status, reception.reason)


async def count(root: Path) -> dict[str, float]:
    """Receive and relay, and return what was counted."""
    receipts: list[Receipt] = []
    spool, broker = Spool(root / "spool"), MemoryBroker()
    root.joinpath("objects").mkdir()
    queue = broker.declare(METADATA_INDEX)
    keys = KeyTemplate.parse(DEFAULT_TEMPLATE, pseudonym_key=bytes(32))
    receiver = Receiver(spool, 0, 1 << 30, receipts.append)
    relay = Relay(spool, FileSystemStore(root / "objects"), broker, keys)
    warming, *wanted = objects()
    receive(receiver, *warming)  # the first object loads and fills what later ones find
    await relay.relay(receipts)
    receipts.clear()
    relayed = len(queue.ready)
    counted = Count()
    sys.setprofile(counted.profile)
    for offer, content in wanted:
        receive(receiver, offer, content)
    sys.setprofile(None)
    found = counted.take("receiving")
    threading.setprofile(counted.profile)
    sys.setprofile(counted.profile)
    await relay.relay(receipts)
    sys.setprofile(None)
    found |= counted.take("relay")
    found["relay: messages"] = (len(queue.ready) - relayed) / OBJECTS
    return found


async def count_indexing(store: Path, superuser_url: str) -> dict[str, float]:
    """Index two batches of a series, and return what the second called."""
    prepared = await Prepared.make(superuser_url, "metadata")
    store.mkdir()
    counted = Count()
    # As late as the threads that read headers are made, so that they are counted as well.
    threading.setprofile(counted.profile)
    async with indexing(prepared, store) as bench:
        series = a_data_set(Rows=512, Columns=512, BitsAllocated=16, PixelData=bytes(2 << 18))
        batches: list[list[StoredItem]] = [[], []]
        for number in range(2 * INDEXED):
            series.SOPInstanceUID = f"2.25.{number + 1}"
            series.InstanceNumber = number
            batches[number // INDEXED].append(bench.stored(series))
        warming, wanted = batches
        await bench.index(*warming)
        counted.take("")
        sys.setprofile(counted.profile)
        await bench.index(*wanted)
        sys.setprofile(None)
    return {f"metadata: {name}": counted.found[name] / INDEXED for name in ("calls", "statements")}


async def everything(root: Path, superuser_url: str) -> dict[str, float]:
    """Return all that is counted."""
    return await count(root) | await count_indexing(root / "indexed", superuser_url)


def main() -> None:
    """Be the command."""
    root, result, superuser_url = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    configure_logs(service="ingest")
    configure_traces(service="ingest", endpoint=None)
    result.write_text(json.dumps(asyncio.run(everything(root, superuser_url))))


if __name__ == "__main__":
    main()
