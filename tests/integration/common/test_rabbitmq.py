"""What is published is on disk and routed, or the publisher says so: on a real RabbitMQ."""

from collections.abc import AsyncIterator
from datetime import timedelta

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pamqp.common import FieldValue

from darkroom_common.amqp.broker import BrokerUnavailable, Unroutable
from darkroom_common.amqp.connection import Link
from darkroom_common.amqp.consumer import Delivery
from darkroom_common.amqp.dead import DeadLetter
from darkroom_common.amqp.publisher import Publisher
from darkroom_common.amqp.rabbitmq import RabbitBroker, RabbitSource, declare
from darkroom_common.amqp.retry import ATTEMPT, DELIVERY_COUNT, QUEUE, REASON, Dead, Retry
from darkroom_common.topology import METADATA_INDEX, RETRY_TIERS
from tests.support.builders import a_stored_item, instances_stored
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(60)
TIER = next(iter(RETRY_TIERS))
"""A tier of the queue's; its delay in these tests is a moment."""


class Bench:
    """A publisher, and the queue that its messages come to."""

    def __init__(self, channel: AbstractChannel, link: Link) -> None:
        self.channel = channel
        self.publisher = Publisher(link, app_id="test")

    async def first(self, name: str = METADATA_INDEX.name) -> AbstractIncomingMessage:
        queue = await self.channel.get_queue(name, ensure=False)
        return await until(lambda: queue.get(no_ack=True, fail=False), name)

    async def source(self) -> RabbitSource:
        queue = await self.channel.get_queue(METADATA_INDEX.name)
        delays = dict.fromkeys(RETRY_TIERS, timedelta(milliseconds=20))
        return RabbitSource(self.channel, queue, METADATA_INDEX, self.publisher, delays)


@pytest.fixture
async def bench(amqp_url: str) -> AsyncIterator[Bench]:
    link = Link(amqp_url, service="test", purpose="publish")
    async with await aio_pika.connect(amqp_url) as connection:
        made = Bench(await connection.channel(), link)
        await made.publisher._open()  # the exchanges
        await declare(made.channel, METADATA_INDEX)
        yield made
    await link.close()


def lasts(message: AbstractIncomingMessage) -> bool:
    return message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT


async def test_one_and_many_survive_a_restart_and_say_what_they_are(bench: Bench) -> None:
    one = instances_stored(a_stored_item())
    await bench.publisher.publish(one, headers={"traceparent": "t"})
    found = await bench.first()
    assert lasts(found)
    assert (found.message_id, found.type, found.body) == (one.id, one.TYPE, one.to_body())
    assert (found.app_id, found.headers["traceparent"]) == ("test", "t")
    many = [instances_stored(a_stored_item()) for _ in range(3)]
    assert await bench.publisher.publish_all([(each, {}) for each in many]) == [None] * 3
    got = [await bench.first() for _ in many]
    assert all(lasts(each) for each in got)
    assert [each.message_id for each in got] == [each.id for each in many]


async def test_what_no_queue_takes_is_told_and_harms_no_other(bench: Bench) -> None:
    queue = await bench.channel.get_queue(METADATA_INDEX.name)
    message = instances_stored(a_stored_item())
    await queue.unbind(message.EXCHANGE.value, message.TYPE)
    channel = await bench.publisher._open()
    with pytest.raises(Unroutable):
        await bench.publisher.publish(message)
    (outcome,) = await bench.publisher.publish_all([(message, {})])
    assert isinstance(outcome, Unroutable)
    with pytest.raises(Unroutable):
        await bench.publisher.send(aio_pika.Message(b""), exchange="", routing_key="nobody's")
    await queue.bind(message.EXCHANGE.value, message.TYPE)
    await bench.publisher.publish(message)
    assert (await bench.first()).message_id == message.id
    assert await bench.publisher._open() is channel, "the channel was well"


async def test_a_queue_that_is_full_refuses_and_the_publisher_says_so(bench: Bench) -> None:
    arguments: dict[str, FieldValue] = {
        "x-max-length": 1,
        "x-overflow": "reject-publish",
        "x-queue-type": "classic",
    }
    await bench.channel.declare_queue("full", durable=True, arguments=arguments)
    await bench.publisher.send(aio_pika.Message(b"1"), exchange="", routing_key="full")
    with pytest.raises(BrokerUnavailable, match="refused"):
        await bench.publisher.send(aio_pika.Message(b"2"), exchange="", routing_key="full")


async def test_a_channel_that_is_lost_is_opened_anew(bench: Bench) -> None:
    channel = await bench.publisher._open()
    await channel.close()
    again = await bench.publisher._open()
    assert again is not channel
    assert not again.is_closed
    assert await bench.publisher._open() is again
    await bench.publisher._drop(channel)  # an old one: nobody's any more
    assert await bench.publisher._open() is again
    await bench.publisher._drop(again)
    assert again.is_closed


async def test_no_confirm_in_time_drops_the_channel(bench: Bench) -> None:
    slow = Publisher(bench.publisher._link, app_id="test", limit=0)
    with pytest.raises(BrokerUnavailable):
        await slow.publish(instances_stored(a_stored_item()))
    outcomes = await slow.publish_all([(instances_stored(a_stored_item()), {})] * 2)
    assert [type(each) for each in outcomes] == [BrokerUnavailable] * 2
    assert slow._channel is None


def a_delivery() -> Delivery:
    message = instances_stored(a_stored_item(), a_stored_item())
    headers = {"traceparent": "t", DELIVERY_COUNT: 3, "x-death": [], ATTEMPT: 1}
    return Delivery(1, message.TYPE, message.id, message.to_body(), headers)


async def test_a_copy_that_is_put_off_comes_back_to_its_queue(bench: Bench) -> None:
    source, delivery = await bench.source(), a_delivery()
    await source.defer(delivery, Retry(TIER, 2))
    found = await bench.first()
    assert lasts(found)
    assert (found.message_id, found.type, found.body) == (
        delivery.message_id,
        delivery.type,
        delivery.body,
    )
    assert (found.headers[ATTEMPT], found.headers["traceparent"]) == (2, "t")
    assert not found.headers.get(DELIVERY_COUNT), "it has killed nobody since"


async def test_a_dead_copy_says_why_and_where_it_was(bench: Bench) -> None:
    source, delivery = await bench.source(), a_delivery()
    await source.bury(delivery, Dead("of old age"))
    found = await bench.first(METADATA_INDEX.dead)
    assert lasts(found)
    assert (found.message_id, found.body) == (delivery.message_id, delivery.body)
    assert (found.headers[REASON], found.headers[QUEUE]) == ("of old age", METADATA_INDEX.name)
    assert found.headers[ATTEMPT] == 1


async def test_the_parts_of_a_message_are_messages_that_last(bench: Bench) -> None:
    source, delivery = await bench.source(), a_delivery()
    parts = [instances_stored(a_stored_item()) for _ in range(2)]
    await source.scatter(delivery, parts)
    got = [await bench.first() for _ in parts]
    assert all(lasts(each) for each in got)
    assert [(each.message_id, each.body) for each in got] == [(p.id, p.to_body()) for p in parts]


async def test_a_dead_letter_is_put_back_with_its_trace_and_no_attempts(
    bench: Bench, amqp_url: str
) -> None:
    broker = RabbitBroker(amqp_url, service="test")
    delivery = a_delivery()
    letter = DeadLetter(
        queue=METADATA_INDEX.name,
        message_id=delivery.message_id,
        type=delivery.type or "",
        body=delivery.body,
        trace={"traceparent": "t"},
        reason="",
        attempts=3,
        died_at="",
    )
    await broker.put_back(letter)
    found = await bench.first()
    assert lasts(found)
    assert (found.message_id, found.body) == (delivery.message_id, delivery.body)
    assert found.headers["traceparent"] == "t"
    assert ATTEMPT not in found.headers
    await broker.close()
