"""F14: one message among many on which its consumer dies."""

import asyncio
import sys
from pathlib import Path

import aio_pika
import pytest

from darkroom_common.amqp.publisher import declare_exchanges
from darkroom_common.amqp.rabbitmq import RabbitBroker, declare
from darkroom_common.topology import CRASH_LIMIT
from tests.integration.common.dying_consumer import QUEUE
from tests.support.builders import an_instance_stored


async def lines_of(process: asyncio.subprocess.Process, lines: list[str]) -> None:
    assert process.stdout is not None
    lines += [line.decode().strip() async for line in process.stdout]


@pytest.mark.timeout(240)
async def test_only_the_message_that_kills_its_consumer_is_dead(amqp_url: str) -> None:
    events = [an_instance_stored() for _ in range(100)]
    poison = events[40].id
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
                await asyncio.sleep(0.1)
            if process.returncode is None:
                process.kill()
            deaths += await process.wait() == 139
            await reading
            assert deaths <= CRASH_LIMIT, "the poison is never set aside"
        assert found.message_id == poison
        assert "died" in str(found.headers["x-darkroom-reason"])
        assert await dead.get(no_ack=True, fail=False) is None
        ids = {event.id for event in events}
        assert ids & set(handled) == ids - {poison}
