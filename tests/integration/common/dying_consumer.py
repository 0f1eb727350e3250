"""A consumer that dies, as by a fault in a C library, when it meets one certain message."""

import asyncio
import os
import sys

from darkroom_common.amqp.rabbitmq import RabbitBroker
from darkroom_common.messages.base import Message
from darkroom_common.messages.events import InstancesStored
from darkroom_common.topology import WorkQueue

QUEUE = WorkQueue("test.dying", (InstancesStored,), prefetch=100)


async def consume(url: str, poison: str) -> None:
    async def handle(message: Message) -> None:
        assert isinstance(message, InstancesStored)
        await asyncio.sleep(0.001)
        for item in message.items:
            if item.receipt == poison:
                os._exit(139)
        for item in message.items:
            print(item.receipt, flush=True)

    await RabbitBroker(url, service="dying").consume(QUEUE, handle, concurrency=8)


if __name__ == "__main__":
    asyncio.run(consume(sys.argv[1], sys.argv[2]))
