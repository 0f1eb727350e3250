"""One HTTPS request to Odoo, tried again for as long as that may help.

The certificate is checked against the authorities of the system or those of ODOO_CA. Nothing is
followed to another place, and no more of an answer is read than a licence can have.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from darkroom_common.errors import ConfigurationError
from darkroom_common.links.trust import is_strictness, refusal, trusting
from darkroom_licensing.odoo.faults import NotNow, OdooUnreachable

SECONDS: Final = 0.5
"""For each try, from the first byte to the last (LIC-01)."""
TRIES: Final = 3
ANSWER_LIMIT: Final = 256 * 1024
_LATER: Final = frozenset({408, 425, 429, 502, 503, 504})
_AGENT: Final = "darkroom-licensing"


@dataclass(frozen=True)
class Answered:
    """An answer, whatever its status.

    Attributes:
        body: as JSON has it; None when it is not JSON.
    """

    status: int
    body: Any


def tls(ca: Path | None, *, strict: bool = True) -> ssl.SSLContext:
    """Return what checks the certificate.

    Raises:
        ConfigurationError: the file of authorities cannot be read.
    """
    try:
        return trusting(ca, strict=strict)
    except OSError as error:
        raise ConfigurationError(f"ODOO_CA: {error.strerror or 'no certificates'}") from error


class Wire:
    """Posts JSON to paths of one server.

    Args:
        client: it is closed by whoever has made it.
        url: of the server.
        pause: seconds between tries at most, doubled from a tenth.
    """

    def __init__(self, client: httpx.AsyncClient, url: str, *, pause: float = 1.0) -> None:
        self._client = client
        self._url = url.rstrip("/")
        self._pause = pause

    async def post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str], *, again: bool = True
    ) -> Answered:
        """Return the answer to a request.

        Args:
            path: from the root of the server.
            body: as JSON.
            headers: beside those of every request.
            again: whether it may be done twice.

        Raises:
            OdooUnreachable: says why.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(NotNow),
            stop=stop_after_attempt(TRIES if again else 1),
            wait=wait_random_exponential(multiplier=0.1, max=self._pause),
            reraise=True,
        )
        try:
            return await retrying(self._once, path, json.dumps(body).encode(), headers)
        except NotNow as error:
            raise OdooUnreachable(str(error)) from error

    async def _once(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        sent = {"Content-Type": "application/json; charset=utf-8", "User-Agent": _AGENT, **headers}
        try:
            async with (
                asyncio.timeout(SECONDS),
                self._client.stream(
                    "POST", f"{self._url}{path}", content=body, headers=sent
                ) as response,
            ):
                if response.status_code in _LATER:
                    raise NotNow(f"it answers {response.status_code}")
                return Answered(response.status_code, await _read(response))
        except TimeoutError as error:
            raise NotNow(f"no answer within {SECONDS:g} s") from error
        except httpx.TransportError as error:
            cause = _cause(error)
            if cause is not None:
                why = f": {refusal(cause, 'TLS_STRICT')}" if is_strictness(cause) else ""
                raise OdooUnreachable(f"its certificate is not trusted{why}") from error
            raise NotNow(f"no connection ({type(error).__name__})") from error
        except httpx.DecodingError as error:
            raise OdooUnreachable("its answer cannot be read") from error


async def _read(response: httpx.Response) -> Any:
    received = bytearray()
    async for piece in response.aiter_bytes():
        received += piece
        if len(received) > ANSWER_LIMIT:
            raise OdooUnreachable("its answer is too long")
    try:
        return json.loads(received)
    except (ValueError, RecursionError):
        return None


def _cause(error: BaseException) -> ssl.SSLCertVerificationError | None:
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
    return None
