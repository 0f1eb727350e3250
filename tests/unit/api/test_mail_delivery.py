"""What no mail server gets: a word without TLS, or more time than a delivery has."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from darkroom_api.mail import delivery
from darkroom_api.mail.delivery import Delivery, MailServer
from tests.support.waiting import LIMIT

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CLAIMS: Any = SimpleNamespace(table=SimpleNamespace(on_waiting=lambda _: None))


class Job(SimpleNamespace):
    """An e-mail that waits."""

    id = "0" * 32


@asynccontextmanager
async def delivering(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Delivery]:
    """Deliver to a server that talks so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    mail: Any = SimpleNamespace(kind=SimpleNamespace(again=lambda *given: given[2]))
    where = MailServer("127.0.0.1", port, "starttls", None, "", None, "darkroom@a.example")
    made = Delivery(CLAIMS, mail, where, "")
    monkeypatch.setattr(made, "_message", lambda _: None)
    async with server:
        yield made


async def test_without_starttls_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 a.example ESMTP\r\n")
        while line := await reader.readline():
            heard.append(line[:4].upper())
            writer.write(b"250 a.example\r\n")

    async with delivering(talk, monkeypatch) as made:
        ending: Any = await made.attempt(Job())  # type: ignore[arg-type]
    assert ending.startswith("The mail server cannot be reached")
    assert set(heard) <= {b"EHLO", b"HELO", b"QUIT"}


async def test_a_server_that_goes_on_greeting_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "WHOLE_SECONDS", 0.3)
    left = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.ensure_future(reader.read())
        while not ended.done():
            writer.write(b"220-wait\r\n")
            await asyncio.wait([ended], timeout=0.05)
        left.set()

    async with delivering(talk, monkeypatch) as made:
        ending: Any = await made.attempt(Job())  # type: ignore[arg-type]
        assert ending == "The mail server does not answer in time."
        await asyncio.wait_for(left.wait(), LIMIT)
