"""A consumer that dies, as by a fault in a C library, when it meets one certain message."""

import asyncio
import os
import sys

from darkroom_common.amqp.rabbitmq import RabbitBroker
from darkroom_common.messages.base import Message
from darkroom_common.messages.ingest import InstanceStored
from darkroom_common.topology import WorkQueue

QUEUE = WorkQueue("test.dying", (InstanceStored,), prefetch=100)


async def consume(url: str, poison: str) -> None:
    async def handle(message: Message) -> None:
        await asyncio.sleep(0.001)
        if message.id == poison:
            os._exit(139)
        print(message.id, flush=True)  # noqa: T201 - what the test reads

    await RabbitBroker(url, service="dying").consume(QUEUE, handle, concurrency=8)


if __name__ == "__main__":
    asyncio.run(consume(sys.argv[1], sys.argv[2]))
