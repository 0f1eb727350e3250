"""F14: one message among many on which its consumer dies."""

import asyncio
import sys
from pathlib import Path

import aio_pika
import pytest

from darkroom_common.amqp.consumer import CAREFUL_FROM
from darkroom_common.amqp.publisher import declare_exchanges
from darkroom_common.amqp.rabbitmq import RabbitBroker, declare
from darkroom_common.messages.events import InstancesStored
from darkroom_common.topology import CRASH_LIMIT
from tests.integration.common.dying_consumer import QUEUE
from tests.support.builders import a_stored_item, instances_stored
from tests.support.waiting import lasting


async def lines_of(process: asyncio.subprocess.Process, lines: list[str]) -> None:
    assert process.stdout is not None
    lines += [line.decode().strip() async for line in process.stdout]


async def only_the_poison_is_dead(amqp_url: str, *, size: int, messages: int) -> int:
    """Consume messages of so many objects, one of which kills its consumer; return how often."""
    events = [instances_stored(*(a_stored_item() for _ in range(size))) for _ in range(messages)]
    items = [item.receipt for event in events for item in event.items]
    poison = events[messages * 2 // 5].items[-1].receipt
    broker = RabbitBroker(amqp_url, service="test")
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        await declare_exchanges(channel)
        await declare(channel, QUEUE)
        await asyncio.gather(*(broker.publish(event) for event in events))
        await broker.close()
        dead = await channel.get_queue(QUEUE.dead)
        handled: list[str] = []
        deaths, found = 0, None
        while found is None:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.integration.common.dying_consumer",
                amqp_url,
                poison,
                stdout=asyncio.subprocess.PIPE,
                cwd=Path(__file__).parents[3],
            )
            reading = asyncio.create_task(lines_of(process, handled))
            while process.returncode is None and found is None:
                found = await dead.get(no_ack=True, fail=False)
                await lasting(0.1)
            if process.returncode is None:
                process.kill()
            deaths += await process.wait() == 139
            await reading
            assert deaths <= CRASH_LIMIT + 2 * CAREFUL_FROM, "the poison is never set aside"
        buried = InstancesStored.from_body(found.body)
        assert [item.receipt for item in buried.items] == [poison]
        assert "died" in str(found.headers["x-darkroom-reason"])
        assert await dead.get(no_ack=True, fail=False) is None
        assert set(items) & set(handled) == set(items) - {poison}
    return deaths


@pytest.mark.timeout(240)
@pytest.mark.parametrize("size", [1, 4], ids=["alone", "in a batch"])
async def test_only_the_object_that_kills_its_consumer_is_dead(amqp_url: str, size: int) -> None:
    assert await only_the_poison_is_dead(amqp_url, size=size, messages=50)
