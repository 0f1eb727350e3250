"""The relay: nothing is forgotten before it is stored and published."""

import asyncio
import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from darkroom_common.amqp.broker import BrokerUnavailable
from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.messages.events import InstancesStored
from darkroom_common.objects.keys import DEFAULT_TEMPLATE, KeyTemplate
from darkroom_common.objects.receipt import Receipt
from darkroom_common.objects.spool import Spool
from darkroom_common.objects.store import FileSystemStore, ObjectMissing, StoreUnavailable
from darkroom_common.telemetry.metrics import ingest as metrics
from darkroom_common.testing.memory_broker import MemoryBroker
from darkroom_common.topology import METADATA_INDEX
from darkroom_ingest.relaying import relay as relay_module
from darkroom_ingest.relaying.relay import Relay
from tests.support.builders import CT, a_data_set, encode
from tests.support.waiting import until

EXPLICIT = "1.2.840.10008.1.2.1"


class FailingStore(FileSystemStore):
    """A store that is away when it is told to be."""

    away = False

    async def put_files(self, files: Sequence[tuple[str, Path]]) -> None:
        if self.away:
            raise StoreUnavailable("away")
        await super().put_files(files)


class Bench:
    def __init__(self, root: Path) -> None:
        self.spool = Spool(root / "spool")
        (root / "objects").mkdir()
        self.store = FailingStore(root / "objects")
        self.broker = MemoryBroker()
        self.queue = self.broker.declare(METADATA_INDEX)
        keys = KeyTemplate.parse(DEFAULT_TEMPLATE, pseudonym_key=b"k" * 32)
        self.relay = Relay(self.spool, self.store, self.broker, keys)

    def receive(self) -> Receipt:
        data_set = a_data_set()
        incoming = self.spool.begin()
        head = encode_head(
            FileMeta(CT, str(data_set.SOPInstanceUID), EXPLICIT, "SCANNER", "DARKROOM")
        )
        self.spool.write(incoming, head, encode(data_set))
        self.spool.commit(incoming)
        return self.spool.read_receipt(incoming.receipt_id)

    async def until_empty(self) -> None:
        await until(lambda: not self.spool.waiting())

    def published(self) -> list[str]:
        """Return the receipts of all objects that were told of."""
        return [item.receipt for batch in self.batches() for item in batch.items]

    def batches(self) -> list[InstancesStored]:
        batches = [one for one in self.broker.published if isinstance(one, InstancesStored)]
        assert len(batches) == len(self.broker.published)
        return batches


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_stored_then_published_then_forgotten(bench: Bench) -> None:
    receipts = [bench.receive() for _ in range(5)]
    for receipt in receipts:
        bench.relay.add(receipt)
    running = asyncio.create_task(bench.relay.run())
    await bench.until_empty()
    running.cancel()
    assert sorted(bench.published()) == sorted(receipt.id for receipt in receipts)
    for item in (item for batch in bench.batches() for item in batch.items):
        assert await bench.store.size(item.object_key) == item.size + item.data_set_offset


async def test_what_an_earlier_run_has_left_is_relayed(bench: Bench) -> None:
    left = bench.receive()
    running = asyncio.create_task(bench.relay.run())
    await bench.until_empty()
    running.cancel()
    assert bench.published() == [left.id]


@pytest.mark.parametrize("part", ["store", "broker"])
async def test_an_outage_keeps_the_receipts(bench: Bench, part: str) -> None:
    bench.store.away = part == "store"
    bench.broker.outage = part == "broker"
    receipt = bench.receive()
    running = asyncio.create_task(bench.relay.run())
    await asyncio.sleep(0.3)
    assert bench.spool.waiting() == [receipt.id]
    assert bench.published() == []
    bench.store.away = bench.broker.outage = False
    await bench.until_empty()
    running.cancel()
    assert bench.published() == [receipt.id]


async def test_a_binding_that_is_gone_is_no_loss(bench: Bench) -> None:
    del bench.broker.queues[METADATA_INDEX.name]
    receipt = bench.receive()
    running = asyncio.create_task(bench.relay.run())
    await asyncio.sleep(0.3)
    assert bench.spool.waiting() == [receipt.id]
    bench.broker.declare(METADATA_INDEX)
    await bench.until_empty()
    running.cancel()
    assert bench.published() == [receipt.id]


async def test_more_than_it_holds_in_memory_is_read_from_the_directory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "HELD_LIMIT", 3)
    receipts = [bench.receive() for _ in range(10)]
    for receipt in receipts:
        bench.relay.add(receipt)
    running = asyncio.create_task(bench.relay.run())
    await bench.until_empty()
    running.cancel()
    assert sorted(bench.published()) == sorted(receipt.id for receipt in receipts)


async def test_an_altered_file_stays_and_stops_nobody(bench: Bench) -> None:
    altered, good = bench.receive(), bench.receive()
    bench.spool.path(altered.id).write_bytes(b"altered")
    running = asyncio.create_task(bench.relay.run())
    await until(lambda: bench.spool.waiting() == [altered.id])
    running.cancel()
    assert bench.published() == [good.id]


async def test_a_crash_between_publish_and_forget_publishes_the_same_receipt_again(
    bench: Bench,
) -> None:
    receipt = bench.receive()
    (event,) = InstancesStored.of([receipt.stored("an/earlier/key")])
    await bench.relay.broker.publish(event, headers={})
    running = asyncio.create_task(bench.relay.run())
    await bench.until_empty()
    running.cancel()
    assert bench.published() == [receipt.id, receipt.id]


async def test_the_store_never_overwrites_and_never_leaves_its_root(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    store = FileSystemStore(tmp_path / "objects")
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"one")
    two.write_bytes(b"two")
    await store.put_files([("a/b", one)])
    await store.put_files([("a/b", two)])
    assert await store.read("a/b") == b"one"
    assert await store.read("a/b", start=1, length=1) == b"n"
    assert b"".join([chunk async for chunk in store.stream("a/b", start=1)]) == b"ne"
    with pytest.raises(ObjectMissing):
        await store.read("a/c")
    for key in ("../x", "/x", "a//b", "a/./b", "a/\x00"):
        with pytest.raises(Exception, match="empty or dotted"):
            await store.put_files([(key, one)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["objects", "one", "two"]


async def test_a_file_that_is_gone_holds_up_no_other_and_is_not_told(bench: Bench) -> None:
    first, gone, last = (bench.receive() for _ in range(3))
    bench.spool.remove(gone.id)  # another process of an earlier version has relayed it
    await bench.relay.relay([first, gone, last])
    assert sorted(bench.published()) == sorted([first.id, last.id])
    assert bench.spool.waiting() == []


async def test_what_was_not_confirmed_stays_in_the_spool(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipts = [bench.receive() for _ in range(2)]

    async def refuse(messages: Sequence[object]) -> list[BrokerUnavailable]:
        return [BrokerUnavailable("away") for _ in messages]

    monkeypatch.setattr(bench.broker, "publish_all", refuse)
    with pytest.raises(BrokerUnavailable):
        await bench.relay.relay(receipts)
    assert bench.spool.waiting() == sorted(receipt.id for receipt in receipts)


async def test_what_is_told_twice_is_relayed_once(bench: Bench) -> None:
    receipt = bench.receive()
    for _ in range(3):
        bench.relay.add(receipt)
    running = asyncio.create_task(bench.relay.run())
    await bench.until_empty()
    running.cancel()
    assert bench.published() == [receipt.id]


async def test_what_comes_while_it_rests_wakes_it(bench: Bench) -> None:
    """Told by name, or only that there is something: and it rests again afterwards."""
    running = asyncio.create_task(bench.relay.run())
    for tell in (bench.relay.add, lambda _: bench.relay.look()) * 2:
        await until(lambda: not bench.relay._arrived.is_set() and not bench.relay._held)
        receipt = bench.receive()
        tell(receipt)
        await bench.until_empty()
        assert bench.published()[-1] == receipt.id
    running.cancel()
    assert len(bench.published()) == 4


async def test_what_has_come_in_the_meantime_goes_together(bench: Bench) -> None:
    """The pause is after the word that something has come, so that more may come with it."""
    running = asyncio.create_task(bench.relay.run())
    await until(lambda: not bench.relay._arrived.is_set() and not bench.relay._overflowed)
    for _ in range(3):
        bench.relay.add(bench.receive())
    await bench.until_empty()
    running.cancel()
    assert [len(one.items) for one in bench.batches()] == [3]


async def test_the_directory_is_read_again_only_when_there_may_be_more(bench: Bench) -> None:
    looks = 0
    waiting = bench.spool.waiting

    def counted() -> list[str]:
        nonlocal looks
        looks += 1
        return waiting()

    bench.spool.waiting = counted  # type: ignore[method-assign]
    for _ in range(3):
        bench.relay.add(bench.receive())
    running = asyncio.create_task(bench.relay.run())
    await until(lambda: len(bench.published()) == 3 and not bench.relay._held)
    await until(lambda: not bench.relay._overflowed)
    for _ in range(3):
        bench.relay.add(bench.receive())
        await until(lambda: not bench.relay._held)
    running.cancel()
    assert looks == 1, "the first look, for what an earlier run has left"


async def test_operators_see_how_much_waits_and_how_old_it_is(bench: Bench) -> None:
    def seconds() -> float:
        return float(metrics.SPOOL_OLDEST_SECONDS._value.get())

    bench.relay._measure()
    assert metrics.SPOOL_READY._value.get() == 0
    assert seconds() < 1
    old = bench.receive()
    made = dataclasses.replace(old, received_at=old.received_at - timedelta(seconds=100))
    bench.relay.add(made)
    bench.relay.add(bench.receive())
    bench.relay._measure()
    assert metrics.SPOOL_READY._value.get() == 2
    assert 100 <= seconds() < 160
