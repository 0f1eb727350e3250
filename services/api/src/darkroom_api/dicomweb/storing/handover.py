"""Hands a body on to ingest as it comes; nothing of it is looked at here, or kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from pydantic import ValidationError

from darkroom_common.errors import ConfigurationError, DependencyUnavailable
from darkroom_common.links.inner import InnerClient
from darkroom_common.stow.handover import PATH, PROOF, STUDY, Outcome, Proof
from darkroom_common.telemetry import traces

CONNECT_SECONDS: Final = 5.0
ROOM_SECONDS: Final = 20.0
"""For ingest to say that it has room: as many bodies as it takes may be on their way."""
SETTLE_SECONDS: Final = 120.0
"""From the last byte to the outcome: what came as metadata and bulk data is made up then."""
WRITE_SECONDS: Final = 60.0
_HEAD: Final = 16 * 1024
_ANSWER: Final = 64 << 20
_CONTINUE: Final = 100


class NotTaken(Exception):
    """Ingest does not take the body; the status says why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class Handover:
    """Where ingest takes bodies.

    Attributes:
        host: of any of its replicas.
        port: of the same.
        proof: by which it knows us.
        tls: how it is called within TLS; None: plainly.
    """

    host: str
    port: int
    proof: Proof
    tls: InnerClient | None = None

    async def store(self, content_type: str, study: str, body: AsyncIterator[bytes]) -> Outcome:
        """Return what has become of a body.

        Args:
            content_type: of the request.
            study: of the path; empty: none is named.
            body: is not asked for a byte before ingest has room.

        Raises:
            NotTaken: 400 or 415, for what it is; 503, there is no room.
            DependencyUnavailable: ingest is away, or has gone: what it has not told of may be
                stored or not, and can be sent again.
        """
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    self.host,
                    self.port,
                    limit=_HEAD,
                    ssl=None if self.tls is None else self.tls.context(),
                )
        except (OSError, TimeoutError, ConfigurationError) as error:
            raise _away() from error
        try:
            return await self._exchange(reader, writer, content_type, study, body)
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError, ValueError) as error:
            raise _away() from error
        finally:
            writer.transport.abort()  # all was said, or it is to be seen that not all was

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        content_type: str,
        study: str,
        body: AsyncIterator[bytes],
    ) -> Outcome:
        writer.write(self._request(content_type, study))
        async with asyncio.timeout(ROOM_SECONDS):
            status, _ = await _head(reader)
        if status != _CONTINUE:
            raise NotTaken(status)
        answer = asyncio.create_task(_head(reader))
        try:
            with suppress(ConnectionError):  # it may have answered already, which is read below
                await _send(writer, body, answer)
            async with asyncio.timeout(SETTLE_SECONDS):
                status, length = await answer
        finally:
            answer.cancel()
            await asyncio.wait([answer])
        if status != HTTPStatus.OK:
            raise NotTaken(status)
        async with asyncio.timeout(SETTLE_SECONDS):
            return _outcome(await reader.readexactly(length))

    def _request(self, content_type: str, study: str) -> bytes:
        fields = {
            "host": f"{self.host}:{self.port}",
            "content-type": content_type,
            "transfer-encoding": "chunked",
            "expect": "100-continue",
            PROOF: self.proof.make(content_type, study),
            **({STUDY: study} if study else {}),
            **traces.inject(),
        }
        lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _send(
    writer: asyncio.StreamWriter, body: AsyncIterator[bytes], answer: asyncio.Task[tuple[int, int]]
) -> None:
    """Hand a body on, as far as it is read: not any further once it is answered."""
    async for chunk in body:
        if answer.done():
            return
        if chunk:
            writer.writelines((b"%x\r\n" % len(chunk), chunk, b"\r\n"))
            async with asyncio.timeout(WRITE_SECONDS):
                await writer.drain()
    writer.write(b"0\r\n\r\n")


async def _head(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Return the status of an answer and the bytes of its body.

    Raises:
        ValueError: it is none.
    """
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status, length = int(lines[0].split(" ")[1]), 0
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    if length > _ANSWER:
        raise ValueError("an answer is too long")
    return status, length


def _outcome(body: bytes) -> Outcome:
    try:
        return Outcome.model_validate_json(body)
    except ValidationError as error:
        raise _away() from error


def _away() -> DependencyUnavailable:
    return DependencyUnavailable("ingest does not take bodies of STOW")
