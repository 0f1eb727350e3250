"""A fixture that opens connections of sockets alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.http_line import Client


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Any]]:
    """Open connections, from any address of this machine, that are closed at the end."""
    async with AsyncExitStack() as stack:

        async def opened(port: int, address: str = "127.0.0.1") -> Client:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(address, 0)
            )
            stack.callback(writer.close)
            return Client(reader, writer)

        yield opened
