"""What a worker and the main process tell each other, one message a packet.

The socket between them is private to the two. A worker never waits long for the main process: what
it cannot say is found in the spool, since every file there says for itself what it is.
"""

import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter

from darkroom_common.objects.receipt import Receipt
from darkroom_common.telemetry.merged import Row

PACKET: Final = 1 << 18
"""Bytes of the longest message."""
_PATIENCE: Final = struct.pack("@ll", 0, 50_000)  # 50 ms
_RECEIPT: Final = b"R"
_METRICS: Final = b"M"
_FAILED: Final = b"F"
_DRAIN: Final = b"D"
_RECEIPTS: Final = TypeAdapter(Receipt)
_ROWS: Final = TypeAdapter(list[Row])


@dataclass(frozen=True)
class Started:
    """The worker accepts associations."""


@dataclass(frozen=True)
class Missed:
    """There are receipts in the spool that could not be told."""


@dataclass(frozen=True)
class Drain:
    """Refuse new objects, finish, end; within so many seconds."""

    limit: float


@dataclass(frozen=True)
class Leave:
    """Accept nobody, serve who is here as ever, and end when all have gone."""


@dataclass(frozen=True)
class Failed:
    """The spool's volume has failed: nothing more is taken by anyone until a restart."""

    reason: str


@dataclass(frozen=True)
class Counted:
    """The samples of the worker's metrics."""

    rows: list[Row]


_WORDS: Final[Mapping[bytes, Started | Missed | Leave]] = {
    b"S": Started(),
    b"O": Missed(),
    b"L": Leave(),
}
Report = Receipt | Started | Missed | Failed | Counted | Drain | Leave


def encode(report: Report) -> bytes:
    """Return a report as a message."""
    match report:
        case Receipt():
            return _RECEIPT + _RECEIPTS.dump_json(report)
        case Counted(rows):
            return _METRICS + json.dumps(rows).encode()
        case Failed(reason):
            return _FAILED + reason.encode()
        case Drain(limit):
            return _DRAIN + str(limit).encode()
        case Started() | Missed() | Leave():
            return next(word for word, one in _WORDS.items() if one == report)


def decode(message: bytes) -> Report:
    """Return the report that a message says; both ends are of one release."""
    kind, body = message[:1], message[1:]
    match kind:
        case b"R":
            return _RECEIPTS.validate_json(body)
        case b"M":
            return Counted(_ROWS.validate_json(body))
        case b"F":
            return Failed(body.decode())
        case b"D":
            return Drain(float(body))
        case word if word in _WORDS:
            return _WORDS[word]
        case _:
            raise ValueError(f"unknown report {kind!r}")


class Reporter:
    """Tells the main process, from any thread of a worker."""

    def __init__(self, to_main: socket.socket) -> None:
        self._socket = to_main
        to_main.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)
        self._missed = False

    def tell(self, report: Report) -> None:
        """Send a report, or remember that a receipt could not be told."""
        try:
            self._socket.send(encode(report))
        except OSError:
            self._missed = self._missed or isinstance(report, Receipt)

    def make_up(self) -> None:
        """Say that something was missed, if so; call it now and then."""
        if self._missed:
            self._missed = False
            try:
                self._socket.send(encode(Missed()))
            except OSError:
                self._missed = True
