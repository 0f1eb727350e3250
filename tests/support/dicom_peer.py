"""A sender written from the standard alone (PS3.8 section 9.3): it sends encoded data sets as they
are, and says exactly what it was answered.
"""

import socket
import ssl
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from pydicom.uid import ExplicitVRLittleEndian

from darkroom_local.engines.ports import LOOPBACK
from tests.support.builders import CT

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
ECHO = "1.2.840.10008.1.1"


class Rejected(Exception):
    """A-ASSOCIATE-RJ: (result, source, reason), PS3.8 section 9.3.4."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(f"rejected: {result}, {source}, {reason}")
        self.answer = (result, source, reason)


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0, number, len(value)) + value


def _uid(text: str) -> bytes:
    raw = text.encode()
    return raw + b"\x00" * (len(raw) % 2)


def command(elements: bytes) -> bytes:
    return _element(0, struct.pack("<L", len(elements))) + elements


class Association:
    """One association as requestor."""

    def __init__(
        self,
        port: int,
        contexts: dict[int, tuple[str, str]],
        *,
        called: str = "DARKROOM",
        calling: str = "SCANNER",
        timeout: float = 30.0,
        host: str = LOOPBACK,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="localhost")
        offered = b"".join(
            _item(
                0x20,
                struct.pack(">BBBB", number, 0, 0, 0)
                + _item(0x30, abstract.encode())
                + _item(0x40, syntax.encode()),
            )
            for number, (abstract, syntax) in contexts.items()
        )
        user = _item(0x51, struct.pack(">L", 16384)) + _item(0x52, b"2.25.1")
        body = (
            struct.pack(">HH", 1, 0)
            + called.encode().ljust(16)
            + calling.encode().ljust(16)
            + bytes(32)
            + _item(0x10, APPLICATION_CONTEXT.encode())
            + offered
            + _item(0x50, user)
        )
        try:
            self._socket.sendall(struct.pack(">BBL", 1, 0, len(body)) + body)
            kind, answer = self._read_pdu()
        except BaseException:
            self._socket.close()
            raise
        if kind == 3:
            self._socket.close()
            raise Rejected(answer[1], answer[2], answer[3])
        if kind != 2:
            self._socket.close()
            raise ConnectionResetError(f"PDU {kind} instead of A-ASSOCIATE-AC")
        self.results = self._results(answer)
        self._message = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._socket.sendall(struct.pack(">BBLL", 5, 0, 4, 0))
                self._read_pdu()
        except OSError:
            pass  # the peer has gone: so has the association
        finally:
            self._socket.close()

    @staticmethod
    def _results(answer: bytes) -> dict[int, int]:
        found = {}
        position = 68
        while position < len(answer):
            kind, _, length = struct.unpack_from(">BBH", answer, position)
            if kind == 0x21:
                found[answer[position + 4]] = answer[position + 6]
            position += 4 + length
        return found

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self._socket.recv(size - len(found))
            if not piece:
                raise ConnectionResetError("closed by the peer")
            found += piece
        return found

    def _read_pdu(self) -> tuple[int, bytes]:
        kind, _, length = struct.unpack(">BBL", self._read(6))
        return kind, self._read(length)

    def _send(
        self, context: int, control: int, data: bytes, size: int = 16372, *, more: bool = False
    ) -> None:
        pieces = [data[i : i + size] for i in range(0, len(data), size)] or [b""]
        for number, piece in enumerate(pieces):
            last = 2 if number == len(pieces) - 1 and not more else 0
            head = struct.pack(">LBB", len(piece) + 2, context, control | last)
            self._socket.sendall(struct.pack(">BBL", 4, 0, len(piece) + 6) + head + piece)

    def _status(self) -> int:
        kind, body = self._read_pdu()
        if kind != 4:
            raise ConnectionResetError(f"PDU {kind} instead of a response")
        data, position = body[6:], 0
        while position < len(data):
            _, number, length = struct.unpack_from("<HHL", data, position)
            if number == 0x0900:
                return int(struct.unpack_from("<H", data, position + 8)[0])
            position += 8 + length
        raise AssertionError("a response without a status")

    def echo(self, context: int) -> int:
        self._message += 1
        elements = (
            _element(0x0002, _uid(ECHO))
            + _element(0x0100, struct.pack("<H", 0x0030))
            + _element(0x0110, struct.pack("<H", self._message))
            + _element(0x0800, struct.pack("<H", 0x0101))
        )
        self._send(context, 1, command(elements))
        return self._status()

    def store(self, context: int, sop_class: str, uid: str, data_set: bytes) -> int:
        self._request_store(context, sop_class, uid)
        self._send(context, 0, data_set)
        return self._status()

    def _request_store(self, context: int, sop_class: str, uid: str) -> None:
        self._message = self._message % 65000 + 1
        elements = (
            _element(0x0002, _uid(sop_class))
            + _element(0x0100, struct.pack("<H", 0x0001))
            + _element(0x0110, struct.pack("<H", self._message))
            + _element(0x0700, struct.pack("<H", 0))
            + _element(0x0800, struct.pack("<H", 0))
            + _element(0x1000, _uid(uid))
        )
        self._send(context, 1, command(elements))

    def store_large(self, context: int, sop_class: str, uid: str, parts: Iterable[bytes]) -> int:
        """Store one object whose bytes are made while it is sent."""
        self._request_store(context, sop_class, uid)
        for part in parts:
            self._send(context, 0, part, more=True)
        self._send(context, 0, b"")
        return self._status()


def send(
    port: int,
    objects: Iterable[tuple[str, bytes]],
    *,
    sop_class: str = CT,
    transfer_syntax: str = str(ExplicitVRLittleEndian),
    tls: ssl.SSLContext | None = None,
) -> dict[str, int | None]:
    """Send (SOP instance UID, encoded data set) pairs; return UID to status, None when cut off."""
    answers: dict[str, int | None] = {}
    left = list(objects)
    try:
        with Association(port, {1: (sop_class, transfer_syntax)}, tls=tls) as association:
            while left:
                uid, data_set = left[0]
                answers[uid] = association.store(1, sop_class, uid, data_set)
                left.pop(0)
    except OSError:
        answers |= {uid: None for uid, _ in left}
    return answers
