"""The relay: spool to object store to broker, then the receipt is forgotten.

What it takes at once is one message. Each step may be repeated after a crash: the key of an object
is made from its bytes, and the index knows each object by its receipt, in whatever company it comes
again. Nothing of this is needed for answering the sender.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.amqp.broker import Broker
from darkroom_common.clock import wall_seconds
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.errors import TransientError
from darkroom_common.messages.batch import ITEMS_LIMIT
from darkroom_common.messages.events import InstancesStored
from darkroom_common.objects.keys import KeyTemplate
from darkroom_common.objects.receipt import Receipt
from darkroom_common.objects.spool import Spool
from darkroom_common.objects.store import ObjectStore
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import ingest as metrics

log = get_logger(__name__)
BATCH: Final = ITEMS_LIMIT
HELD_LIMIT: Final = 5_000
"""Receipts held in memory; beyond that the directory is the list."""
LAST_DELAY: Final = 10.0
LINGER: Final = 0.02
"""Seconds that a batch waits for more: its directory syncs compete with those of receiving."""


@dataclass
class Relay:
    """Moves receipts on, in order, a batch at a time."""

    spool: Spool
    store: ObjectStore
    broker: Broker
    keys: KeyTemplate
    _held: deque[Receipt] = field(default_factory=deque)
    _ids: set[str] = field(default_factory=set)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _overflowed: bool = True  # the first look reads what an earlier run has left
    _unreadable: set[str] = field(default_factory=set)

    def add(self, receipt: Receipt) -> None:
        """Take a receipt that was just made; call it in the loop's thread."""
        if receipt.id in self._ids:
            return
        if len(self._held) >= HELD_LIMIT:
            self._overflowed = True
        else:
            self._held.append(receipt)
            self._ids.add(receipt.id)
        self._arrived.set()

    def look(self) -> None:
        """Look into the directory: there may be receipts that nobody could tell."""
        self._overflowed = True
        self._arrived.set()

    async def run(self) -> None:
        """Relay for ever; cancel to stop. A cancelled batch is done again by the next run."""
        delay = 0.2
        while True:
            if not self._held and self._overflowed:
                await self._reload()
            self._measure()
            if not self._held:
                self._arrived.clear()
                await self._arrived.wait()
                await asyncio.sleep(LINGER)
                continue
            batch = [self._held[i] for i in range(min(BATCH, len(self._held)))]
            try:
                await self.relay(batch)
            except TransientError as error:
                log.warning(
                    "relay.waits", receipt=batch[0].id, waiting=len(self._held), reason=str(error)
                )
                await asyncio.sleep(delay)
                delay = min(delay * 2, LAST_DELAY)
                continue
            delay = 0.2
            for receipt in batch:
                self._held.popleft()
                self._ids.discard(receipt.id)

    async def relay(self, batch: list[Receipt]) -> None:
        """Store, publish and forget; what was published is forgotten even if others were not.

        Raises:
            TransientError: something was not published; the batch is to be done again.
        """
        keys = [self.keys.key(receipt.identity, receipt.sha256) for receipt in batch]
        present = [
            (key, receipt)
            for key, receipt in zip(keys, batch, strict=True)
            if self.spool.path(receipt.id).exists()
        ]
        try:
            await self.store.put_files([(key, self.spool.path(r.id)) for key, r in present])
        except TransientError:
            metrics.RELAY_FAILED.labels("store").inc(len(present))
            raise
        messages = InstancesStored.of([receipt.stored(key) for key, receipt in present])
        results = await self.broker.publish_all([(one, one.trace) for one in messages])
        done = [
            item.receipt
            for message, result in zip(messages, results, strict=True)
            if result is None
            for item in message.items
        ]
        await asyncio.to_thread(self._forget, done)
        metrics.RELAYED.inc(len(done))
        for message, result in zip(messages, results, strict=True):
            if result is not None:
                metrics.RELAY_FAILED.labels("publish").inc(len(message.items))
                raise result

    def _forget(self, receipt_ids: list[str]) -> None:
        for receipt_id in receipt_ids:
            self.spool.remove(receipt_id)

    async def _reload(self) -> None:
        self._overflowed = False
        names = await asyncio.to_thread(self.spool.waiting)
        fresh = [n for n in names if n not in self._ids and n not in self._unreadable]
        if len(fresh) > HELD_LIMIT:
            self._overflowed = True
        found = 0
        for name in fresh[:HELD_LIMIT]:
            try:
                receipt = await asyncio.to_thread(self.spool.read_receipt, name)
            except FileNotFoundError:
                continue
            except (Unreadable, OSError) as error:
                # It was whole when it was answered: the volume has altered it. It is not lost
                # silently: it stays, it is told, and it does not stop the others.
                self._unreadable.add(name)
                metrics.RELAY_FAILED.labels("read").inc()
                log.error("receipt.unreadable", receipt=name, reason=type(error).__name__)
                continue
            self._held.append(receipt)
            self._ids.add(name)
            found += 1
        if found:
            log.info("relay.recovered", receipts=found)

    def _measure(self) -> None:
        metrics.SPOOL_READY.set(len(self._held))
        oldest = self._held[0].received_at.timestamp() if self._held else wall_seconds()
        metrics.SPOOL_OLDEST_SECONDS.set(max(0.0, wall_seconds() - oldest))
