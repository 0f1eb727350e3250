"""A storage SCP written from the standard alone that answers as a test tells it, well or badly."""

import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from darkroom_local.engines.ports import LOOPBACK
from tests.support.waiting import LIMIT, dawdle

SILENT = -1
"""Instead of a status: say nothing for ever."""
ABORT = -2
"""Instead of a status: A-ABORT."""
CLOSE = -3
"""Instead of a status: close the connection."""
RESET = -4
"""Instead of a status: a TCP reset."""
RELEASE = -5
"""Instead of a status: A-RELEASE-RQ."""
ANSWER_AND_ABORT = -6
"""Success, then A-ABORT."""
ANSWER_AND_RELEASE = -7
"""Success, then A-RELEASE-RQ."""


@dataclass(frozen=True)
class Stored:
    """A data set that has arrived whole."""

    sop_instance_uid: str
    sha256: str
    transfer_syntax: str
    at: float
    size: int


@dataclass
class Script:
    """What the peer does."""

    reject: tuple[int, int, int] | None = None
    refuses: Callable[[list[tuple[str, list[str]]]], tuple[int, int, int] | int | None] = (
        lambda _offered: None
    )
    """A rejection, or `ABORT`, of what is offered: (abstract syntax, transfer syntaxes)."""
    silent: bool = False  # accepts the connection, says nothing
    abort_after_bytes: int | None = None  # of one connection, then A-ABORT
    refused_syntaxes: frozenset[str] = frozenset()
    refused_classes: frozenset[str] = frozenset()
    status: Callable[[str, int], int] = lambda _uid, _count: 0
    """Of (SOP instance UID, how often it has come)."""
    wrong_message_id: bool = False
    max_length: int = 16384
    within: Callable[[str], int | None] = lambda _uid: None
    """What to do instead of taking more than the first bytes of a data set, of its UID."""
    delay: float = 0.0
    most: int | None = None  # associations; above a transient rejection


class ScriptedPeer:
    """Listens in threads of its own for the length of a `with` block."""

    def __init__(
        self, script: Script | None = None, *, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.script = script or Script()
        self.stored: list[Stored] = []
        self.connections: list[float] = []
        self.open = 0
        self.most_open = 0
        self._counts: dict[str, int] = {}
        self._tls = tls
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((LOOPBACK, port), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        acceptor = threading.Thread(target=self._accept, daemon=True)
        acceptor.start()
        self._threads.append(acceptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._ending.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for one in self._sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(LIMIT)

    @property
    def uids(self) -> list[str]:
        return [one.sop_instance_uid for one in self.stored]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections.append(time.monotonic())
                self._sockets.add(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        connection = plain
        try:
            if self.script.silent:
                self._ending.wait()
                return
            if self._tls is not None:
                connection = self._tls.wrap_socket(plain, server_side=True)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                full = self.script.most is not None and self.open > self.script.most
            try:
                _Served(self, connection).run(full=full)
            finally:
                with self._lock:
                    self.open -= 1
        except (OSError, EOFError):
            pass  # the other side has gone, or the test is over
        finally:
            connection.close()
            with self._lock:
                self._sockets.discard(plain)

    def arrived(self, stored: Stored) -> int:
        with self._lock:
            self.stored.append(stored)
            count = self._counts.get(stored.sop_instance_uid, 0) + 1
            self._counts[stored.sop_instance_uid] = count
        return count

    def until_ended(self) -> None:
        self._ending.wait()


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _items(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from(">BxH", data, at)
        found.append((kind, data[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


def _offered(body: bytes) -> list[tuple[str, list[str]]]:
    found = []
    for kind, value in _items(body[68:]):
        if kind == 0x20:
            inner = _items(value[4:])
            abstract = next(v for k, v in inner if k == 0x30).decode()
            found.append((abstract, [v.decode() for k, v in inner if k == 0x40]))
    return found


@dataclass
class _Served:
    """One connection."""

    peer: ScriptedPeer
    connection: socket.socket
    taken: int = 0
    contexts: dict[int, tuple[str, str]] = field(default_factory=dict)

    def _read(self, size: int) -> bytes:
        found = bytearray()
        limit = self.peer.script.abort_after_bytes
        while len(found) < size:
            piece = self.connection.recv(min(size - len(found), 1 << 16))
            if not piece:
                raise EOFError
            found += piece
            self.taken += len(piece)
            if limit is not None and self.taken > limit:
                self.connection.sendall(struct.pack(">BxLxxBB", 7, 4, 2, 0))
                raise EOFError
        return bytes(found)

    def _pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxL", self._read(6))
        return kind, self._read(length)

    def run(self, *, full: bool) -> None:
        kind, body = self._pdu()
        assert kind == 1
        script = self.peer.script
        if self._refuses(body, (2, 3, 2) if full else script.reject):
            return
        self.connection.sendall(self._answer(body))
        command, data_set = b"", bytearray()
        fields: dict[int, bytes] = {}
        while True:
            kind, body = self._pdu()
            if kind == 5:
                self.connection.sendall(struct.pack(">BxLL", 6, 4, 0))
                return
            if kind == 7:
                return
            at = 0
            while at < len(body):
                length, context, control = struct.unpack_from(">LBB", body, at)
                value = body[at + 6 : at + 4 + length]
                at += 4 + length
                if control & 1:
                    command += value
                    if control & 2:
                        fields, command = self._fields(command), b""
                        if struct.unpack("<H", fields[0x0100])[0] == 0x0030:
                            self._respond(context, fields, 0)
                else:
                    self._look(fields)
                    data_set += value
                    if control & 2:
                        self._store(context, fields, bytes(data_set))
                        data_set.clear()

    def _store(self, context: int, fields: dict[int, bytes], data_set: bytes) -> None:
        script = self.peer.script
        if script.delay:
            dawdle(script.delay)
        uid = fields[0x1000].decode().strip("\x00 ")
        digest = hashlib.sha256(data_set).hexdigest()
        stored = Stored(uid, digest, self.contexts[context][1], time.monotonic(), len(data_set))
        status = script.status(uid, self.peer.arrived(stored))
        if status in (ANSWER_AND_ABORT, ANSWER_AND_RELEASE):
            self._respond(context, fields, 0)
            self._end(ABORT if status == ANSWER_AND_ABORT else RELEASE)
        if status < 0:
            self._end(status)
        self._respond(context, fields, status)

    def _refuses(self, body: bytes, rejection: tuple[int, int, int] | None) -> bool:
        refused = rejection or self.peer.script.refuses(_offered(body))
        if refused == ABORT:
            self._end(ABORT)
        if isinstance(refused, tuple):
            self.connection.sendall(struct.pack(">BxLxBBB", 3, 4, *refused))
        return refused is not None

    def _look(self, fields: dict[int, bytes]) -> None:
        end = self.peer.script.within(fields[0x1000].decode().strip("\x00 "))
        if end is not None:
            self._end(end)

    def _end(self, how: int) -> None:
        if how == SILENT:
            self.peer.until_ended()
        elif how == ABORT:
            self.connection.sendall(struct.pack(">BxLxxBB", 7, 4, 0, 0))
        elif how == RELEASE:
            self.connection.sendall(struct.pack(">BxLL", 5, 4, 0))
            with suppress(OSError):
                self.connection.settimeout(1.0)
                self._pdu()
        elif how == RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise EOFError

    def _answer(self, body: bytes) -> bytes:
        script = self.peer.script
        results = b""
        numbers = (value[0] for kind, value in _items(body[68:]) if kind == 0x20)
        for number, (abstract, syntaxes) in zip(numbers, _offered(body), strict=True):
            good = [uid for uid in syntaxes if uid not in script.refused_syntaxes]
            result = 3 if abstract in script.refused_classes else 0 if good else 4
            chosen = (good or syntaxes)[0]
            if result == 0:
                self.contexts[number] = abstract, chosen
            head = struct.pack(">BxBx", number, result)
            results += _item(0x21, head + _item(0x40, chosen.encode()))
        user = _item(0x51, struct.pack(">L", script.max_length)) + _item(0x52, b"2.25.2")
        whole = body[:68] + _item(0x10, b"1.2.840.10008.3.1.1.1") + results + _item(0x50, user)
        return struct.pack(">BxL", 2, len(whole)) + whole

    @staticmethod
    def _fields(command: bytes) -> dict[int, bytes]:
        found = {}
        at = 0
        while at < len(command):
            _, number, length = struct.unpack_from("<HHL", command, at)
            found[number] = command[at + 8 : at + 8 + length]
            at += 8 + length
        return found

    def _respond(self, context: int, fields: dict[int, bytes], status: int) -> None:
        def element(number: int, value: bytes) -> bytes:
            return struct.pack("<HHL", 0, number, len(value)) + value

        (asked,) = struct.unpack("<H", fields[0x0100])
        (message,) = struct.unpack("<H", fields[0x0110])
        if self.peer.script.wrong_message_id:
            message += 7
        body = (
            element(0x0100, struct.pack("<H", asked | 0x8000))
            + element(0x0120, struct.pack("<H", message))
            + element(0x0800, struct.pack("<H", 0x0101))
            + element(0x0900, struct.pack("<H", status))
        )
        command = element(0, struct.pack("<L", len(body))) + body
        head = struct.pack(">LBB", len(command) + 2, context, 3)
        self.connection.sendall(struct.pack(">BxL", 4, len(command) + 6) + head + command)
