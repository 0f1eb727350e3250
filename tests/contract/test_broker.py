"""One suite for RabbitMQ and for the broker in memory: what services may rely on of messages."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import PublishError

from darkroom_common.amqp.broker import BrokerUnavailable, Received, Unroutable
from darkroom_common.amqp.connection import broker_errors
from darkroom_common.amqp.publisher import declare_exchanges
from darkroom_common.amqp.rabbitmq import RabbitBroker, declare
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.messages.base import Message
from darkroom_common.messages.commands import ValidateLicence
from darkroom_common.messages.events import InstanceQuarantined, InstancesStored
from darkroom_common.telemetry import traces
from darkroom_common.topology import WorkQueue
from tests.contract.bench import LIMIT, QUEUE, Bench, Seen, dead_of, publish, running
from tests.support.builders import a_stored_item, instances_stored
from tests.support.waiting import nothing_more, succeeds, until


def a_fact() -> InstanceQuarantined:
    """Return one that no queue is bound to."""
    return InstanceQuarantined(
        receipt=a_stored_item().receipt,
        reason="not-dicom",
        status=0xC000,
        size=1,
        calling_ae_title="CT",
    )


async def test_a_message_arrives_once_with_what_it_carried(bench: Bench) -> None:
    seen: list[Message] = []
    arrived = asyncio.Event()

    async def handler(message: Message) -> None:
        seen.append(message)
        arrived.set()

    event = instances_stored()
    async with running(bench.broker.consume(QUEUE, handler)):
        await publish(bench.broker, event)
        async with asyncio.timeout(LIMIT):
            await arrived.wait()
    assert seen == [event]


async def test_what_no_queue_takes_is_an_error(bench: Bench) -> None:
    with pytest.raises(Unroutable):
        await bench.broker.publish(instances_stored())


async def test_a_fact_that_nobody_must_hear_may_go_unheard(bench: Bench) -> None:
    await bench.broker.publish(a_fact())


async def test_a_failure_comes_back_after_its_tier_and_counts(bench: Bench) -> None:
    seen = Seen(lambda _, times: RuntimeError("no") if times < 3 else None)
    event = instances_stored()
    async with running(bench.broker.consume(QUEUE, seen)):
        await publish(bench.broker, event)
        await seen.count(3)
        await nothing_more(0.3)
    assert seen.ids == [event.id] * 3
    assert await bench.dead() == []


async def test_after_the_last_tier_a_message_is_dead_with_the_reason(bench: Bench) -> None:
    seen = Seen(lambda *_: RuntimeError("Planted^Name in a library's words"))
    event = instances_stored()
    async with running(bench.broker.consume(QUEUE, seen)):
        await publish(bench.broker, event)
        dead = await dead_of(bench, 1)
    assert seen.ids == [event.id] * 3
    assert dead == [(event.id, "gave up after 3 attempts: RuntimeError")]


async def test_a_permanent_error_is_dead_at_once(bench: Bench) -> None:
    seen = Seen(lambda *_: PermanentError("it names nothing"))
    event = instances_stored()
    async with running(bench.broker.consume(QUEUE, seen)):
        await publish(bench.broker, event)
        dead = await dead_of(bench, 1)
    assert seen.ids == [event.id]
    assert dead == [(event.id, "PermanentError: it names nothing")]


@pytest.mark.parametrize(
    ("type_", "body"), [("nobody.knows.v9", b"{}"), (InstancesStored.TYPE, b"{not json")]
)
async def test_what_cannot_be_read_is_dead_and_nobody_sees_it(
    bench: Bench, type_: str, body: bytes
) -> None:
    seen = Seen()
    async with running(bench.broker.consume(QUEUE, seen)):
        await publish(bench.broker, event := instances_stored())
        await bench.put_raw(type_=type_, body=body)
        dead = await dead_of(bench, 1)
    assert seen.ids == [event.id]
    assert dead[0][1].startswith("InvalidMessage")


async def test_one_poison_message_among_good_ones_dies_alone(bench: Bench) -> None:
    events = [instances_stored() for _ in range(30)]
    poison = events[11].id
    seen = Seen(lambda message, _: PermanentError("poison") if message.id == poison else None)
    async with running(bench.broker.consume_batches(QUEUE, seen.batch, size=10, linger=0.05)):
        await publish(bench.broker, *events)
        dead = await dead_of(bench, 1)
        await seen.count(30)
        await nothing_more(0.2)
    assert [message_id for message_id, _ in dead] == [poison]
    assert {event.id for event in events} == set(seen.ids)


class Items:
    """Handles batches item by item in the way of a transaction, and keeps what took effect."""

    def __init__(self, bad: dict[str, Exception]) -> None:
        self.bad = bad
        self.done: list[str] = []
        self.attempts: list[tuple[int, int]] = []
        self.arrived = asyncio.Event()

    async def __call__(self, received: Sequence[Received]) -> None:
        self.arrived.set()
        receipts = []
        for one in received:
            assert isinstance(one.message, InstancesStored)
            self.attempts.append((one.attempt, len(one.message.items)))
            receipts += [item.receipt for item in one.message.items]
        for receipt in receipts:
            if receipt in self.bad:
                raise self.bad[receipt]
        self.done += [receipt for receipt in receipts if receipt not in self.done]


async def test_a_bad_item_of_a_batch_is_split_off_and_dies_alone(bench: Bench) -> None:
    batches = [instances_stored(*(a_stored_item() for _ in range(20))) for _ in range(2)]
    all_items = [item.receipt for batch in batches for item in batch.items]
    bad = all_items[7]
    handler = Items({bad: RuntimeError("no")})
    async with running(bench.broker.consume_batches(QUEUE, handler, size=10, linger=0.05)):
        await publish(bench.broker, *batches)
        ((message_id, reason),) = await dead_of(bench, 1)
    assert reason == "gave up after 3 attempts: RuntimeError"
    assert message_id not in {batch.id for batch in batches}
    assert sorted(handler.done) == sorted(set(all_items) - {bad})
    assert [size for attempt, size in handler.attempts if attempt] == [1, 1]


async def test_each_bad_item_of_a_batch_has_its_own_end(bench: Bench) -> None:
    (*good, first, last) = items = [a_stored_item() for _ in range(9)]
    dead_at_once = PermanentError("it names nothing")
    handler = Items({first.receipt: dead_at_once, last.receipt: RuntimeError("no")})
    async with running(bench.broker.consume_batches(QUEUE, handler, size=10, linger=0)):
        await publish(bench.broker, instances_stored(*items))
        reasons: set[str] = set()

        async def both_ended() -> bool:
            reasons.update(reason for _, reason in await bench.dead())
            return len(reasons) == 2

        await until(both_ended, limit=LIMIT)
    assert reasons == {"PermanentError: it names nothing", "gave up after 3 attempts: RuntimeError"}
    assert sorted(handler.done) == sorted(item.receipt for item in good)


async def test_a_message_of_an_earlier_release_that_waits_is_handled(bench: Bench) -> None:
    item = a_stored_item()
    body = item.model_dump_json().replace("{", f'{{"id": "{item.receipt}", ', 1).encode()
    handler = Items({})
    async with running(bench.broker.consume_batches(QUEUE, handler, size=10, linger=0)):
        await publish(bench.broker, instances_stored())
        await handler.arrived.wait()
        await bench.put_raw(type_="dicom.instance.stored.v1", body=body)
        await until(lambda: item.receipt in handler.done, limit=LIMIT)
    assert await bench.dead() == []


async def test_an_earlier_binding_is_taken_away(amqp_url: str) -> None:
    earlier = "test.given.up.v1"
    queue = WorkQueue("test.unbound", (InstancesStored,), prefetch=5, unbinds=(earlier,))
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel(on_return_raises=True)
        declared = await declare(channel, replace(queue, unbinds=()))
        await declared.bind("darkroom.events", routing_key=earlier)
        exchange = await channel.get_exchange("darkroom.events")
        await exchange.publish(aio_pika.Message(b"{}"), earlier)
        for _ in range(2):
            await declare(channel, queue)
        with pytest.raises(PublishError):
            await exchange.publish(aio_pika.Message(b"{}"), earlier)
        assert await declared.get(fail=False) is not None  # what has waited is still there


async def test_a_dependency_that_is_away_costs_no_attempt(bench: Bench) -> None:
    away = True

    def fail(*_: object) -> Exception | None:
        return DependencyUnavailable("database") if away else None

    seen = Seen(fail)
    events = [instances_stored() for _ in range(5)]
    async with running(bench.broker.consume_batches(QUEUE, seen.batch, size=5, linger=0.05)):
        await publish(bench.broker, *events)
        await seen.count(2)
        away = False
        await seen.count(7)
        await until(lambda: set(seen.ids) == {event.id for event in events}, limit=LIMIT)
    assert await bench.dead() == []


async def test_cancelling_leaves_the_message_to_the_next_consumer(bench: Bench) -> None:
    started = asyncio.Event()

    async def never(_: Message) -> None:
        started.set()
        await asyncio.Event().wait()

    event = instances_stored()
    async with running(bench.broker.consume(QUEUE, never)):
        await publish(bench.broker, event)
        async with asyncio.timeout(LIMIT):
            await started.wait()
    seen = Seen()
    async with running(bench.broker.consume(QUEUE, seen)):
        await seen.count(1)
    assert seen.ids == [event.id]


async def test_two_consumers_share_a_queue(bench: Bench) -> None:
    first, second = Seen(), Seen()
    events = [instances_stored() for _ in range(60)]

    async def slow(message: Message) -> None:
        await first(message)
        await asyncio.sleep(0.01)

    async with (
        running(bench.broker.consume(QUEUE, slow, concurrency=1)),
        running(bench.broker.consume(QUEUE, second, concurrency=1)),
    ):
        await publish(bench.broker, *events)
        await until(lambda: len(first.ids) + len(second.ids) >= 60, limit=LIMIT)
    assert sorted(first.ids + second.ids) == sorted(event.id for event in events)


async def test_batches_are_filled_and_bounded(bench: Bench) -> None:
    sizes: list[int] = []
    done = asyncio.Event()

    async def handler(received: Sequence[Received]) -> None:
        sizes.append(len(received))
        await asyncio.sleep(0.05)
        if sum(sizes) == 40:
            done.set()

    async with running(bench.broker.consume_batches(QUEUE, handler, size=10, linger=0.1)):
        await publish(bench.broker, *(instances_stored() for _ in range(40)))
        async with asyncio.timeout(LIMIT):
            await done.wait()
    assert max(sizes) <= 10
    assert len(sizes) < 40


async def test_the_trace_goes_with_the_message(bench: Bench) -> None:
    got: list[dict[str, str]] = []
    arrived = asyncio.Event()

    async def handler(received: Sequence[Received]) -> None:
        got.extend(one.trace for one in received)
        arrived.set()

    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with running(bench.broker.consume_batches(QUEUE, handler, size=1, linger=0)):
        await publish(bench.broker, first := instances_stored())
        async with asyncio.timeout(LIMIT):
            await arrived.wait()
        arrived.clear()
        await bench.broker.publish(instances_stored(), headers={"traceparent": trace})
        async with asyncio.timeout(LIMIT):
            await arrived.wait()
    assert first.id
    assert got == [{}, {"traceparent": trace}]
    assert traces.extract(got[1])


async def test_a_cancellation_that_nobody_asked_for_is_a_lost_connection() -> None:
    with pytest.raises(BrokerUnavailable), broker_errors():
        raise asyncio.CancelledError

    async def cancelled() -> None:
        with broker_errors():
            await asyncio.Event().wait()

    task = asyncio.create_task(cancelled())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_full_queue_refuses_and_the_channel_goes_on(amqp_url: str) -> None:
    broker = RabbitBroker(amqp_url, service="test")
    full = WorkQueue("test.full", (InstancesStored,), prefetch=1)
    try:
        async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
            arguments: Any = {**full.arguments, "x-max-length": 1}
            await declare_exchanges(channel)
            queue = await channel.declare_queue(full.name, durable=True, arguments=arguments)
            await queue.bind("darkroom.events", routing_key=InstancesStored.TYPE)
            with pytest.raises(BrokerUnavailable, match="refused"):
                for _ in range(200):  # a quorum queue looks at its length now and then
                    await broker.publish(instances_stored())
            await queue.purge()
            await succeeds(partial(broker.publish, instances_stored()), BrokerUnavailable)
    finally:
        await broker.close()


async def test_many_are_published_at_once_and_each_outcome_is_told(bench: Bench) -> None:
    seen: list[Message] = []

    async def handler(message: Message) -> None:
        seen.append(message)

    events = [instances_stored() for _ in range(300)]
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    assert await bench.broker.publish_all([]) == []
    told = await bench.broker.publish_all([(events[0], trace)])
    assert [type(one) for one in told] == [Unroutable]
    async with running(bench.broker.consume(QUEUE, handler)):
        await publish(bench.broker, events[0])
        mixed: list[tuple[Message, dict[str, str]]] = [(event, trace) for event in events[1:]]
        mixed.insert(7, (a_fact(), trace))
        many = bench.broker.publish_all(mixed[:150]), bench.broker.publish_all(mixed[150:])
        outcomes = await asyncio.gather(*many, bench.broker.publish(instances_stored()))
        assert [one for part in outcomes if part for one in part if one is not None] == []
        await until(lambda: len(seen) >= 301, limit=LIMIT)
    assert {message.id for message in seen} >= {event.id for event in events}


async def test_an_unroutable_one_among_many_does_not_stop_the_others(bench: Bench) -> None:
    seen: list[Message] = []

    async def handler(message: Message) -> None:
        seen.append(message)

    event = instances_stored()
    lost = [ValidateLicence(), ValidateLicence()]
    async with running(bench.broker.consume(QUEUE, handler)):
        await publish(bench.broker, instances_stored())
        told = await bench.broker.publish_all([(lost[0], {}), (event, {}), (lost[1], {})])
        assert [type(one) for one in told] == [Unroutable, type(None), Unroutable]
        await until(lambda: event in seen, limit=LIMIT)
