"""One suite for RabbitMQ and for the broker in memory: what services may rely on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import PublishError

from darkroom_common.amqp.broker import Broker, BrokerUnavailable, NoReply, Received, Unroutable
from darkroom_common.amqp.connection import broker_errors
from darkroom_common.amqp.publisher import declare_exchanges
from darkroom_common.amqp.rabbitmq import RabbitBroker, declare
from darkroom_common.errors import DependencyUnavailable, PermanentError
from darkroom_common.health import Unhealthy
from darkroom_common.messages.api import ValidateLicence
from darkroom_common.messages.base import Message, Reply, Request
from darkroom_common.messages.ingest import InstancesStored
from darkroom_common.messages.licensing import LicenceChecked
from darkroom_common.messages.resources import DELETE, DeleteResource, delete
from darkroom_common.messages.transmit import EchoDestination
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_common.telemetry import traces
from darkroom_common.testing.memory_broker import MemoryBroker
from darkroom_common.topology import RETRY_TIERS, RequestQueue, WorkQueue
from tests.support.builders import a_stored_item, instances_stored
from tests.support.waiting import nothing_more, succeeds, until

QUICK = {tier: timedelta(milliseconds=80) for tier in RETRY_TIERS}
QUEUE = WorkQueue("test.work", (InstancesStored,), prefetch=20, tiers=("5s", "30s"))
ASKED = RequestQueue("test.requests", (EchoDestination, DELETE[DESTINATIONS]))
LIMIT = 20.0


class Bench:
    """A broker, and the few things that a test must look at behind its interface."""

    def __init__(self, broker: Broker, url: str | None) -> None:
        self.broker = broker
        self._url = url

    async def dead(self) -> list[tuple[str, str]]:
        if isinstance(self.broker, MemoryBroker):
            return self.broker.dead_letters(QUEUE)
        found = []
        async with await aio_pika.connect(self._url) as connection, connection.channel() as channel:
            queue = await channel.get_queue(QUEUE.dead)
            while (message := await queue.get(no_ack=True, fail=False)) is not None:
                found.append((message.message_id or "", str(message.headers["x-darkroom-reason"])))
        return found

    async def put_raw(self, *, type_: str, body: bytes) -> None:
        if isinstance(self.broker, MemoryBroker):
            self.broker.put_raw(QUEUE, type_=type_, body=body)
            return
        async with await aio_pika.connect(self._url) as connection, connection.channel() as channel:
            message = aio_pika.Message(body, type=type_, message_id="raw")
            await channel.default_exchange.publish(message, QUEUE.name)


@pytest.fixture(params=["memory", "rabbitmq"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "memory":
        yield Bench(MemoryBroker(delays=QUICK), None)
        return
    url = request.getfixturevalue("amqp_url")
    broker = RabbitBroker(url, service="test", delays=QUICK)
    yield Bench(broker, url)
    await broker.close()


class Seen:
    """Remembers what a handler got, and fails as told."""

    def __init__(self, fail: Callable[[Message, int], Exception | None] | None = None) -> None:
        self.ids: list[str] = []
        self._fail = fail
        self._changed = asyncio.Condition()

    async def __call__(self, message: Message) -> None:
        self.ids.append(message.id)
        async with self._changed:
            self._changed.notify_all()
        error = self._fail(message, self.ids.count(message.id)) if self._fail else None
        if error is not None:
            raise error

    async def batch(self, received: Sequence[Received]) -> None:
        for one in received:
            await self(one.message)

    async def count(self, number: int) -> None:
        async with asyncio.timeout(LIMIT), self._changed:
            await self._changed.wait_for(lambda: len(self.ids) >= number)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def publish(broker: Broker, *messages: Message) -> None:
    """Publish when the consumer's queue is there."""
    for message in messages:
        await succeeds(partial(broker.publish, message), Unroutable, limit=LIMIT)


async def dead_of(bench: Bench, number: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    async def all_found() -> bool:
        found.extend(await bench.dead())
        return len(found) >= number

    await until(all_found, limit=LIMIT)
    return found


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
    await bench.broker.publish(LicenceChecked(state="unconfigured"))


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
        while len(reasons) < 2:
            reasons |= {reason for _, reason in await dead_of(bench, 1)}
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
        mixed.insert(7, (LicenceChecked(state="unconfigured"), trace))
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


async def ask(broker: Broker, message: Request, *, limit: float = LIMIT) -> Reply:
    """Ask when the queue is there."""
    return await succeeds(partial(broker.request, message, limit=limit), Unroutable, limit=LIMIT)


async def test_a_request_gets_the_reply_of_its_own(bench: Bench) -> None:
    async def handler(message: Request) -> Reply:
        assert isinstance(message, EchoDestination)
        await asyncio.sleep(0.01 * (ord(message.name[-1]) % 3))
        return Reply(outcome="done", body={"name": message.name})

    with pytest.raises(Unroutable):
        await bench.broker.request(EchoDestination(name="A"), limit=5)
    async with running(bench.broker.answer(ASKED, handler)):
        names = [f"PACS-{n}" for n in range(30)]
        replies = await asyncio.gather(*(ask(bench.broker, EchoDestination(name=n)) for n in names))
    assert [reply.body["name"] for reply in replies] == names
    assert {reply.outcome for reply in replies} == {"done"}


async def test_who_is_well_takes_requests_and_messages(bench: Bench) -> None:
    handled = asyncio.Event()

    async def answer(message: Request) -> Reply:
        return Reply(outcome="done")

    async def handle(message: Message) -> None:
        assert isinstance(message, InstancesStored)
        handled.set()

    async with (
        running(bench.broker.answer(ASKED, answer)),
        running(bench.broker.consume(QUEUE, handle)),
        asyncio.timeout(LIMIT),
    ):
        await succeeds(bench.broker.check, Unhealthy, limit=LIMIT)
        reply = await bench.broker.request(EchoDestination(name="A"), limit=LIMIT)
        assert reply.outcome == "done"
        await bench.broker.publish(instances_stored())
        await handled.wait()


async def test_what_a_request_handler_raises_is_a_reply(bench: Bench) -> None:
    errors = {
        "a": PermanentError("there is none"),
        "b": DependencyUnavailable("PostgreSQL: away"),
        "c": ZeroDivisionError("Doe^John"),
    }

    async def handler(message: Request) -> Reply:
        assert isinstance(message, DeleteResource)
        raise errors[message.name]

    async with running(bench.broker.answer(ASKED, handler)):
        replies = [await ask(bench.broker, delete(DESTINATIONS, name)) for name in "abc"]
    assert [(reply.outcome, reply.reason) for reply in replies] == [
        ("invalid", "there is none"),
        ("unavailable", "PostgreSQL: away"),
        ("failed", "ZeroDivisionError"),
    ]


async def test_nobody_answers_in_time_and_the_request_is_dropped(bench: Bench) -> None:
    seen: list[str] = []
    release = asyncio.Event()

    async def stuck(message: Request) -> Reply:
        await release.wait()
        return Reply(outcome="done")

    async def handler(message: Request) -> Reply:
        assert isinstance(message, EchoDestination)
        seen.append(message.name)
        return Reply(outcome="done")

    async with running(bench.broker.answer(ASKED, stuck, concurrency=1)):
        with pytest.raises(NoReply):
            await ask(bench.broker, EchoDestination(name="slow"), limit=0.3)
        release.set()
    with pytest.raises(NoReply):  # nobody takes it at all
        await bench.broker.request(EchoDestination(name="late"), limit=0.3)
    async with running(bench.broker.answer(ASKED, handler)):
        await ask(bench.broker, EchoDestination(name="now"))
    assert "late" not in seen
    assert seen[-1] == "now"
