"""A session that is cancelled while it is set up ends, even if a call forgets the cancellation."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from darkroom_common.amqp.dead import collect_session
from darkroom_common.amqp.rabbitmq import RabbitSource
from darkroom_common.amqp.requests import answer_session
from darkroom_common.topology import METADATA_INDEX, TRANSMIT_REQUESTS


def a_channel(answers: asyncio.Event) -> Any:
    """A channel on which consuming takes until `answers`, and then answers, cancelled or not."""

    async def consume(*_: object, **__: object) -> str:
        asked.set()
        try:
            await answers.wait()
        except asyncio.CancelledError:
            return "tag"  # what asyncio.wait_for of Python 3.11 does
        return "tag"

    asked = asyncio.Event()
    queue = Mock(consume=consume, bind=AsyncMock(), get=consume)
    channel = AsyncMock(declare_queue=AsyncMock(return_value=queue), is_closed=False)
    channel.close_callbacks = Mock()
    channel.asked, channel.queue = asked, queue
    return channel


def source(channel: Any) -> RabbitSource:
    return RabbitSource(channel, channel.queue, METADATA_INDEX, Mock(), {})


async def subscribe(channel: Any) -> None:
    async with source(channel).subscription(1, Mock()):
        await asyncio.Event().wait()


async def take(channel: Any) -> None:
    await source(channel).get()
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "session",
    [
        lambda channel: collect_session(channel, [METADATA_INDEX], AsyncMock()),
        lambda channel: answer_session(channel, TRANSMIT_REQUESTS, AsyncMock(), Mock()),
        subscribe,
        take,
    ],
    ids=["dead letters", "requests", "subscription", "first message"],
)
async def test_a_forgotten_cancellation_is_heeded(
    session: Callable[[Any], Awaitable[None]],
) -> None:
    channel = a_channel(asyncio.Event())
    task = asyncio.ensure_future(session(channel))
    await channel.asked.wait()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=10)
    assert done, "it waits for ever"
    assert task.cancelled()
