"""The order in which promises are made, stated once: durable, then known, then let go.

`STEPS` is that order. A path may leave steps out; what it does, it does in this order, and no step
that lets go of something is reached when one before it has failed.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aio_pika
import pytest

from darkroom_common.amqp import consumer as consumer_module
from darkroom_common.amqp.broker import BrokerUnavailable, Received
from darkroom_common.amqp.consumer import CAREFUL_FROM, HOLD_LIMIT, Consumer, Delivery
from darkroom_common.amqp.publisher import copy_for
from darkroom_common.amqp.retry import DELIVERY_COUNT, Dead, Retry
from darkroom_common.errors import DependencyUnavailable, PermanentError, TransientError
from darkroom_common.messages.base import Message
from darkroom_common.objects import directory
from darkroom_common.objects.spool import Spool, SpoolFailed
from darkroom_common.topology import CRASH_LIMIT, METADATA_INDEX
from tests.support.builders import a_stored_item, instances_stored
from tests.support.waiting import LIMIT

OPEN: Final = Path("/proc/self/fd")
STEPS: Final = (
    *("write", "handle", "fsync", "rename", "sync directory", "defer", "bury", "scatter"),
    *("confirmed", "acknowledge"),
)


class Steps(list[str]):
    """What was done, in its order."""

    broken: str = ""

    def done(self, step: str) -> None:
        """Record a step, or fail at it."""
        assert step in STEPS
        if step == self.broken:
            raise BrokerUnavailable(f"lost at {step}")
        self.append(step)

    def in_order(self) -> bool:
        """Whether no step came after one that has to follow it."""
        places = [STEPS.index(step) for step in self]
        return places == sorted(places)


class Recorded:
    """A queue with one message, as its consumer sees it; it records how that is settled."""

    def __init__(self, *deliveries: Delivery) -> None:
        self.steps = Steps()
        self._waiting = list(deliveries)
        self.acknowledged: list[Delivery] = []
        self.retries: list[Retry] = []

    async def get(self) -> Delivery | None:
        return self._waiting.pop(0) if self._waiting else None

    def subscription(
        self, prefetch: int, deliver: Callable[[Delivery], None]
    ) -> AbstractAsyncContextManager[None]:
        raise BrokerUnavailable("the queue is empty")  # ends the session: all has been handled

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.steps.done("acknowledge")
        self.acknowledged.extend(deliveries)

    async def defer(self, delivery: Delivery, retry: Retry) -> None:
        self.steps.done("defer")
        self.steps.done("confirmed")
        self.retries.append(retry)

    async def scatter(self, delivery: Delivery, messages: Sequence[Message]) -> None:
        self.steps.done("scatter")
        self.steps.done("confirmed")

    async def bury(self, delivery: Delivery, dead: Dead) -> None:
        self.steps.done("bury")
        self.steps.done("confirmed")


def a_delivery(items: int = 1, headers: Mapping[str, object] | None = None) -> Delivery:
    message = instances_stored(*(a_stored_item() for _ in range(items)))
    return Delivery(1, message.TYPE, message.id, message.to_body(), headers or {})


async def settled(source: Recorded, *errors: Exception) -> int:
    """Let a consumer settle what there is; its handler raises these errors, one after another."""
    left = list(errors)
    calls = 0

    async def handle(_: Sequence[Received]) -> None:
        nonlocal calls
        calls += 1
        source.steps.done("handle")
        if left:
            raise left.pop(0)

    with pytest.raises(BrokerUnavailable):
        await Consumer(METADATA_INDEX, handle).run(source)
    return calls


UNREADABLE = Delivery(1, "unknown.v9", "x", b"{}", {})
DEADLY = {DELIVERY_COUNT: CRASH_LIMIT}
SUSPECT = {DELIVERY_COUNT: CAREFUL_FROM}
HARMLESS = {DELIVERY_COUNT: CAREFUL_FROM - 1}


@pytest.mark.parametrize(
    ("delivery", "error", "steps"),
    [
        (a_delivery(), None, ["handle", "acknowledge"]),
        (a_delivery(), TransientError("x"), ["handle", "defer", "confirmed", "acknowledge"]),
        (a_delivery(), PermanentError("x"), ["handle", "bury", "confirmed", "acknowledge"]),
        (UNREADABLE, None, ["bury", "confirmed", "acknowledge"]),
        (a_delivery(1, DEADLY), None, ["bury", "confirmed", "acknowledge"]),
        (a_delivery(3, DEADLY), None, ["scatter", "confirmed", "acknowledge"]),
        (a_delivery(3, SUSPECT), None, ["scatter", "confirmed", "acknowledge"]),
        (a_delivery(1, SUSPECT), None, ["handle", "acknowledge"]),
        (a_delivery(3, HARMLESS), None, ["handle", "acknowledge"]),
    ],
    ids=[
        *("done", "retried", "refused", "unreadable", "deadly", "deadly batch"),
        *("suspect batch", "suspect", "batch"),
    ],
)
async def test_a_message_is_acknowledged_once_it_is_kept_elsewhere(
    delivery: Delivery, error: Exception | None, steps: list[str]
) -> None:
    source = Recorded(delivery)
    await settled(source, *([error] if error else []))
    assert source.steps == steps
    assert source.steps.in_order()
    assert source.acknowledged == [delivery]


async def test_after_a_suspect_the_next_is_taken_with_care_too() -> None:
    suspects = [a_delivery(1, SUSPECT), a_delivery(1, SUSPECT)]
    source = Recorded(*suspects, a_delivery(), a_delivery())
    assert await settled(source) == 3, "until the first that is above suspicion"
    assert source.acknowledged[:2] == suspects


class Delivering(Recorded):
    """A queue that delivers by itself, and whose session ends when all is acknowledged."""

    def __init__(self, *deliveries: Delivery) -> None:
        super().__init__()
        self._coming = deliveries

    @asynccontextmanager
    async def subscription(
        self, prefetch: int, deliver: Callable[[Delivery], None]
    ) -> AsyncIterator[None]:
        for one in self._coming:
            deliver(one)
        yield

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await super().ack(deliveries)
        if len(self.acknowledged) == len(self._coming):
            raise BrokerUnavailable("the queue is empty")


async def test_what_is_delivered_is_handled_and_one_that_fails_fails_alone() -> None:
    deliveries = [a_delivery() for _ in range(3)]
    source = Delivering(*deliveries)
    handled: list[int] = []

    async def handle(received: Sequence[Received]) -> None:
        handled.append(len(received))
        if deliveries[1].message_id in [each.message.id for each in received]:
            raise PermanentError("x")

    consumer = Consumer(METADATA_INDEX, handle, size=3, linger=0.01)
    async with asyncio.timeout(LIMIT):
        with pytest.raises(BrokerUnavailable, match="lost its session"):
            await consumer.run(source)
    assert handled == [3, 1, 1, 1]
    assert source.acknowledged == deliveries
    assert source.steps == ["acknowledge", "bury", "confirmed", "acknowledge", "acknowledge"]
    assert consumer.idle


@pytest.mark.parametrize("broken", ["defer", "bury", "confirmed", "scatter"])
async def test_what_was_not_confirmed_is_not_acknowledged(broken: str) -> None:
    headers = DEADLY if broken == "scatter" else {}
    error = TransientError("x") if broken in {"defer", "confirmed"} else PermanentError("x")
    source = Recorded(a_delivery(3 if broken == "scatter" else 1, headers))
    source.steps.broken = broken
    await settled(source, error)
    assert "acknowledge" not in source.steps


async def test_of_a_batch_the_failing_item_alone_is_put_off() -> None:
    source = Recorded(a_delivery(4))
    # All four, both, the first pair, its first: it alone fails; the others are well.
    fails = [TransientError("x")] * 3
    await settled(source, *fails)
    assert source.steps[-1] == "acknowledge"
    assert source.steps.count("defer") == 1
    assert source.steps.count("acknowledge") == 1


async def test_a_message_is_held_no_longer_than_the_broker_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(consumer_module, "monotonic", lambda: now[0])
    source = Recorded(a_delivery())
    consumer: Any = None
    calls = 0

    async def away(_: Sequence[Received]) -> None:
        nonlocal calls
        calls += 1
        consumer._gate._opened.set()  # no pause between the probes
        now[0] += HOLD_LIMIT / 2
        raise DependencyUnavailable("PostgreSQL: away")

    consumer = Consumer(METADATA_INDEX, away)
    monkeypatch.setattr(consumer._gate, "close", lambda **_: None)
    with pytest.raises(BrokerUnavailable, match="held too long"):
        await consumer.run(source)
    assert calls == 3, "after the limit, and not before"
    assert HOLD_LIMIT < 30 * 60, "the broker takes messages back after 30 minutes"
    assert source.steps == []


def test_every_copy_survives_a_restart_of_the_broker() -> None:
    copy = copy_for(b"x", message_id="1", message_type="t", headers={})
    assert copy.delivery_mode is aio_pika.DeliveryMode.PERSISTENT


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """What a spool does to its volume."""
    found = Steps()
    kept = directory.OpenDirectory
    move, fdatasync, sync, writev = kept.move, os.fdatasync, kept.sync, os.writev

    def record(step: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def done(*arguments: Any) -> Any:
            result = real(*arguments)
            if step == found.broken:
                raise OSError(5, "Input/output error")
            found.done(step)
            return result

        return done

    monkeypatch.setattr(os, "writev", record("write", writev))
    monkeypatch.setattr(os, "fdatasync", record("fsync", fdatasync))
    monkeypatch.setattr(kept, "move", record("rename", move))
    monkeypatch.setattr(kept, "sync", record("sync directory", sync))
    return found


def test_a_received_file_is_durable_before_its_name_and_its_name_before_the_answer(
    tmp_path: Path, steps: Steps
) -> None:
    spool = Spool(tmp_path)
    steps.clear()
    incoming = spool.begin()
    spool.write(incoming, b"x")
    spool.commit(incoming)
    assert steps == ["write", "fsync", "rename", "sync directory"]
    assert steps.in_order()


@pytest.mark.parametrize("broken", ["fsync", "rename", "sync directory"])
def test_nothing_is_kept_of_what_did_not_become_durable(
    tmp_path: Path, steps: Steps, broken: str
) -> None:
    spool = Spool(tmp_path)
    incoming = spool.begin()
    spool.write(incoming, b"x")
    steps.broken = broken
    with pytest.raises(SpoolFailed):
        spool.commit(incoming)
    spool.abandon(incoming)
    assert spool.waiting() == []
    assert spool.failed


def test_names_are_made_durable_by_a_sync_of_their_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, synced = os.fsync, []

    def fsync(descriptor: int) -> None:
        synced.append(os.path.realpath(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    kept = directory.OpenDirectory(tmp_path)
    kept.sync()
    assert synced == [str(tmp_path.resolve())]
    del kept
    synced.clear()
    directory.sync_directory(tmp_path)
    assert synced == [str(tmp_path.resolve())]
    left = {os.path.realpath(one) for one in OPEN.iterdir()}
    assert str(tmp_path.resolve()) not in left, "and it does not stay open"
