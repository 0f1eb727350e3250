"""STOW-RS to DICOMweb servers (PS3.18 section 10.5): objects stream from their files."""

import asyncio
import os
import socket
import ssl
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import httpx
import orjson
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dimse.requestor import PeerFault, tls_context
from darkroom_common.dimse.tls import TlsClient
from darkroom_common.dimse.users.store import Unsendable, open_file
from darkroom_common.links.trust import refused_as
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.outcome import Outcome, Verdict
from darkroom_transmit.sending.scu import outcome_of
from darkroom_transmit.sending.sender import Interrupted, Orders
from darkroom_transmit.sending.sources import Source
from darkroom_transmit.sending.stored import NOT_ACCEPTED, outcomes

CHUNK: Final = 256 * 1024
ANSWER_LIMIT: Final = 16 << 20
INSTANCES: Final = 20
BYTES: Final = 64 << 20
"""A request holds so many at most, or one object: what is lost with it is sent again."""
_JSON: Final = "application/dicom+json"
_CONNECTS: Final = 3
_Made = tuple[int, ssl.SSLContext]
_ANSWERED: Final = frozenset({200, 202, 409})
_BY_ITS_OBJECTS: Final = frozenset({400, 406, 422, 500, 502, 504})
"""What a server may answer to a request because of one of its objects."""
_NOT_NOW: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_UNSUPPORTED: Final = 415
_TOO_LARGE: Final = 413
_WORDS: Final = {
    400: "BadRequest",
    401: "NotAuthenticated",
    403: "NotAuthorised",
    404: "ServiceNotFound",
    405: "ServiceNotFound",
}
_WITHIN: Final = frozenset(
    {"ConnectionLost", "Timeout", "AnswerTooLong", "StoreUnavailable", "BadRequest"}
    | {f"HttpStatus{status}" for status in _BY_ITS_OBJECTS}
)


@dataclass
class StowSender:
    """Stores over HTTP; one client for each destination in force."""

    tls: TlsClient
    _clients: dict[str, tuple[_Made, httpx.AsyncClient]] = field(default_factory=dict)

    async def send(
        self, destination: Destination, sources: Sequence[Source], orders: Orders
    ) -> None:
        """See `Sender.send`."""
        client = await self._client(destination)
        for group in _groups(sources):
            if orders.stop.is_set():
                return
            if not await self._store(client, destination, group, orders):
                return

    async def _store(
        self,
        client: httpx.AsyncClient,
        destination: Destination,
        sources: Sequence[Source],
        orders: Orders,
    ) -> bool:
        """Send one request and tell the outcomes; return whether the next may follow."""
        sources = [source for source in sources if _is_there(source, orders)]
        if not sources:
            return True
        with _interrupting(sources):
            status, answer = await self._post(client, destination, sources, orders)
        if status == _TOO_LARGE and len(sources) > 1:
            for source in sources:
                if orders.stop.is_set() or not await self._store(
                    client, destination, [source], orders
                ):
                    return False
            return True
        if status in (_TOO_LARGE, _UNSUPPORTED):
            word = NOT_ACCEPTED if status == _UNSUPPORTED else "TooLarge"
            for source in sources:
                orders.tell(source, Outcome(Verdict.FAILED, word))
            return True
        _raise_for(status)
        syntaxes = {source.sop_instance_uid: source.transfer_syntax_uid for source in sources}
        found = outcomes(answer, syntaxes)
        for source in sources:
            orders.tell(source, found[source.sop_instance_uid])
        return all(outcome.verdict is not Verdict.RETRY for outcome in found.values())

    async def _post(
        self,
        client: httpx.AsyncClient,
        destination: Destination,
        sources: Sequence[Source],
        orders: Orders,
    ) -> tuple[int, dict[str, Any] | None]:
        boundary = uuid.uuid4().hex
        heads = [_part_head(boundary, source, first=not n) for n, source in enumerate(sources)]
        end = f"\r\n--{boundary}--\r\n".encode()
        length = sum(len(head) for head in heads) + sum(source.size for source in sources)
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(length + len(end)),
            "Accept": _JSON,
        }

        async def body() -> AsyncIterator[bytes]:
            for head, source in zip(heads, sources, strict=True):
                yield head
                async for chunk in _file(source, orders):
                    yield chunk
            yield end

        async def once() -> tuple[int, dict[str, Any] | None]:
            extensions = extensions_of(destination)
            async with client.stream(
                "POST", "studies", content=body(), headers=headers, extensions=extensions
            ) as response:
                answer = await _answer(response)
                if response.status_code in _BY_ITS_OBJECTS:
                    raise fault_of(response.status_code)
                return response.status_code, answer

        # Only connecting is tried again here, when nothing has been sent; the job does the rest.
        retrying = AsyncRetrying(
            stop=stop_after_attempt(_CONNECTS),
            wait=wait_random_exponential(multiplier=0.1, max=1),
            retry=retry_if_exception_type((httpx.ConnectError, httpx.ConnectTimeout)),
            reraise=True,
        )
        with http_faults():
            return await retrying(once)

    async def echo(self, destination: Destination, executor: Executor) -> None:  # noqa: ARG002 - the interface
        """Ask for at most one study, and read nothing of it."""
        client = await self._client(destination)
        with http_faults():
            async with client.stream(
                "GET",
                "studies",
                params={"limit": "1"},
                headers={"Accept": _JSON},
                extensions=extensions_of(destination),
            ) as response:
                status = response.status_code
        if not httpx.codes.is_success(status):
            _raise_for(status)

    async def _client(self, destination: Destination) -> httpx.AsyncClient:
        made = destination.version, tls_context(self.tls, destination.spec.tls)
        known = self._clients.get(destination.name)
        if known is not None:
            if known[0] == made:
                return known[1]
            del self._clients[destination.name]
            await known[1].aclose()
        client = self._open(destination, made[1])
        self._clients[destination.name] = made, client
        return client

    @staticmethod
    def _open(destination: Destination, context: ssl.SSLContext) -> httpx.AsyncClient:
        spec = destination.spec
        auth = None
        headers = {}
        if spec.auth.kind == "basic":
            auth = httpx.BasicAuth(spec.auth.username, destination.secret)
        elif spec.auth.kind == "bearer":
            headers["Authorization"] = f"Bearer {destination.secret}"
        return httpx.AsyncClient(
            base_url=f"{(spec.url or '').rstrip('/')}/",
            auth=auth,
            headers=headers,
            verify=context,
            timeout=httpx.Timeout(spec.answer_seconds, connect=spec.connect_seconds),
            limits=httpx.Limits(max_connections=spec.max_associations, keepalive_expiry=30),
            follow_redirects=False,  # a login is for the server that was named
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        for _, client in self._clients.values():
            await client.aclose()
        self._clients.clear()


@asynccontextmanager
async def open_stow_sender(tls: TlsClient) -> AsyncIterator[StowSender]:
    """Open the sender for the length of a block."""
    sender = StowSender(tls)
    try:
        yield sender
    finally:
        await sender.close()


def extensions_of(destination: Destination) -> dict[str, str]:
    """Return what httpx needs to know beside the URL: whom the certificate names."""
    name = destination.spec.tls.server_name
    return {"sni_hostname": name} if name else {}


def _groups(sources: Sequence[Source]) -> Iterator[list[Source]]:
    group: list[Source] = []
    size = 0
    for source in sources:
        if group and (len(group) == INSTANCES or size + source.size > BYTES):
            yield group
            group, size = [], 0
        group.append(source)
        size += source.size
    if group:
        yield group


def _is_there(source: Source, orders: Orders) -> bool:
    """Return whether a file can be sent; tell when it cannot."""
    try:
        os.close(open_file(source))
    except Unsendable as error:
        orders.tell(source, outcome_of(error))
        return False
    return True


def _part_head(boundary: str, source: Source, *, first: bool) -> bytes:
    # Without `transfer-syntax`, which Orthanc takes for another media type: the file meta has it.
    lines = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n"
    # A head of its own: the stored one tells where the object came from.
    meta = FileMeta(source.sop_class_uid, source.sop_instance_uid, source.transfer_syntax_uid)
    return (b"" if first else b"\r\n") + lines.encode("latin-1") + encode_head(meta)


async def _file(source: Source, orders: Orders) -> AsyncIterator[bytes]:
    """Yield the data set."""
    left = source.size
    try:
        file: BinaryIO = await asyncio.to_thread(open, source.path, "rb")
    except OSError as error:
        raise PeerFault("StoreUnavailable") from error
    try:
        file.seek(source.offset)
        while left:
            chunk = await asyncio.to_thread(file.read, min(CHUNK, left))
            if not chunk:
                raise PeerFault("StoreUnavailable")  # it was whole a moment ago
            left -= len(chunk)
            if wait := orders.throttle.reserve(len(chunk)):
                await asyncio.sleep(wait)
            yield chunk
    finally:
        file.close()


async def _answer(response: httpx.Response) -> dict[str, Any] | None:
    """Return the data set of an answer; None when there is none that can be read."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise PeerFault("AnswerTooLong")
    if response.status_code not in _ANSWERED:
        return None
    try:
        found = orjson.loads(bytes(body))
    except orjson.JSONDecodeError:
        return None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    return found if isinstance(found, dict) else None


def _raise_for(status: int) -> None:
    if status not in _ANSWERED:
        raise fault_of(status)


def fault_of(status: int) -> PeerFault:
    """Return what a status of HTTP that is no success means."""
    if status in _NOT_NOW:
        return PeerFault(f"HttpStatus{status}")
    return PeerFault(_WORDS.get(status, f"HttpStatus{status}"), transient=False)


def _why_not_connected(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case ssl.SSLCertVerificationError():
                return refused_as(cause)
            case ssl.SSLError():
                return "TlsFailed"
            case socket.gaierror():
                return "HostUnknown"
        cause = cause.__cause__ or cause.__context__
    return "ConnectionRefused"


@contextmanager
def _interrupting(sources: Sequence[Source]) -> Iterator[None]:
    """Say of a request that has failed within its objects, or may have by one, which they were."""
    try:
        yield
    except PeerFault as fault:
        if fault.reason in _WITHIN:
            raise Interrupted(fault, sources) from fault
        raise


@contextmanager
def http_faults() -> Iterator[None]:
    """Translate what httpx raises; its texts may hold addresses, never more."""
    try:
        yield
    except httpx.ConnectTimeout as error:
        raise PeerFault("ConnectTimeout") from error
    except httpx.ConnectError as error:
        raise PeerFault(_why_not_connected(error)) from error
    except httpx.TimeoutException as error:
        raise PeerFault("Timeout") from error
    except httpx.TransportError as error:
        raise PeerFault("ConnectionLost") from error
