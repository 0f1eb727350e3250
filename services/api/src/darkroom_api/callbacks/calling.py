"""Calls a receiver once: with time limits, to an address that may be called, following nothing.

Each attempt has a connection of its own, since the name is resolved anew for each. Of an answer the
status and `Retry-After` are read; its body may be of any length and is left.
"""

import asyncio
import email.utils
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore

from darkroom_api.callbacks.addresses import AddressRefused, Allowed
from darkroom_common.clock import monotonic, utc_now
from darkroom_common.errors import ConfigurationError
from darkroom_common.links.trust import is_strictness, refusal, trusting

GONE: Final = 410
_MULTIPLE: Final = 300
_REFUSED: Final = 400
LONGEST_WAIT: Final = 86_400.0
_DRAINED: Final = 16 << 10
"""Bytes of a body that are read, so that a receiver does not see its answer cut off."""


@dataclass(frozen=True)
class Answer:
    """What has become of a call.

    Attributes:
        status: of the answer; None when there was none.
        reason: for people, without anything that the receiver has said; empty for a status of 2xx.
        wait: seconds that the receiver wants to be left alone for.
        seconds: that it took.
    """

    status: int | None
    reason: str = ""
    wait: float = 0.0
    seconds: float = 0.0

    @property
    def taken(self) -> bool:
        """Whether the receiver has it."""
        return not self.reason


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to addresses that may be called."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self, host: str, port: int, *rest: Any, **more: Any
    ) -> httpcore.AsyncNetworkStream:
        """Connect; the name stays the one that a certificate has to be for."""
        address = await self._allowed.resolve(host, port)
        return await self._backend.connect_tcp(address, port, *rest, **more)

    async def connect_unix_socket(
        self, path: str, *_: Any, **__: Any
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no URL leads here."""
        raise AddressRefused(path)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True)
class Caller:
    """Calls receivers.

    Attributes:
        allowed: addresses.
        plain: whether http is good enough.
        context: of TLS; the certificate has to be for the name in the URL.
    """

    allowed: Allowed
    plain: bool
    context: ssl.SSLContext

    async def call(
        self, url: str, headers: Mapping[str, str], body: bytes, *, limit: float
    ) -> Answer:
        """POST a body; return what has become of it, within `limit` seconds."""
        began = monotonic()
        try:
            async with asyncio.timeout(limit):
                answer = await self._call(url, headers, body)
        except TimeoutError:
            answer = Answer(None, "It does not answer in time.")
        except AddressRefused:
            answer = Answer(
                None, "Its address is private or special; CALLBACK_NETWORKS may allow it."
            )
        except (OSError, httpcore.NetworkError, httpcore.TimeoutException) as error:
            answer = Answer(None, _unreachable(error))
        except httpcore.ProtocolError:
            answer = Answer(None, "What it answers is not HTTP.")
        return Answer(answer.status, answer.reason, answer.wait, monotonic() - began)

    async def _call(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        parts = urlsplit(url)
        if parts.scheme != "https" and not self.plain:
            return Answer(None, "It is not https; CALLBACK_HTTP may allow that.")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        to = httpcore.URL(
            scheme=parts.scheme.encode(),
            host=(parts.hostname or "").encode(),
            port=parts.port,
            target=target.encode(),
        )
        sent = {
            "host": parts.netloc,
            "content-type": "application/json",
            "content-length": str(len(body)),
            "user-agent": "Darkroom",
            "accept-encoding": "identity",
            "connection": "close",
            **headers,
        }
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=self.context,
                max_keepalive_connections=0,
                network_backend=_Guarded(self.allowed),
            ) as pool,
            pool.stream("POST", to, headers=list(sent.items()), content=body) as response,
        ):
            answer = _answer(response.status, dict(response.headers))
            await _drain(response)
        return answer


async def _drain(response: httpcore.Response) -> None:
    read = 0
    try:
        async for part in response.aiter_stream():
            read += len(part)
            if read > _DRAINED:
                return
    except (httpcore.NetworkError, httpcore.ProtocolError):
        return  # the status is what was asked for


def _answer(status: int, headers: Mapping[bytes, bytes]) -> Answer:
    if status < _MULTIPLE:
        return Answer(status)
    wait = _seconds(
        next((value for name, value in headers.items() if name.lower() == b"retry-after"), b"")
    )
    if status < _REFUSED:
        return Answer(status, f"It answers {status}; no redirect is followed.", wait)
    return Answer(status, f"It answers {status}.", wait)


def _seconds(said: bytes) -> float:
    """Return what Retry-After asks for (RFC 9110 section 10.2.3); 0 for what is neither."""
    text = said.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), LONGEST_WAIT)
    try:
        until = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if until.tzinfo is None:
        return 0.0
    return min(max((until - utc_now()).total_seconds(), 0.0), LONGEST_WAIT)


def _unreachable(error: Exception) -> str:
    """Return why nothing was answered, by kind: the text of an error may name anything."""
    causes: list[BaseException] = [error]
    while (further := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(further)
    for one in filter(is_strictness, causes):
        return f"Its certificate is refused: {refusal(one, 'TLS_STRICT')}."
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in causes):
        return "Its certificate is not one of this name, or of no authority that is known."
    if any(isinstance(one, ssl.SSLError) for one in causes):
        return "It does not speak TLS as we do."
    kind = type(causes[-1]).__name__
    return f"It cannot be reached: {kind}."


def tls_context(ca: Path | None, *, strict: bool = True) -> ssl.SSLContext:
    """Return what certificates are checked with.

    Raises:
        ConfigurationError: the file of authorities cannot be used.
    """
    try:
        return trusting(ca, strict=strict)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError("CALLBACK_CA: no certificates can be read") from error
