"""One TCP connection of a peer: blocking reads and writes that always end.

It belongs to the thread of its association. The kernel's receive time-out is a short tick: each
tick looks at the time limits, so that a read costs one system call.
"""

import socket
import struct
import time
from contextlib import suppress
from typing import Final

from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.errors import DarkroomError

BUFFER: Final = 512 * 1024
"""Bytes of one read; the buffer is used again and again."""
TICK: Final = 1.0  # seconds
SEND_LIMIT: Final = 30.0
_LINGER: Final = 1.0
_LINGER_BYTES: Final = 1 << 20
_TIMEVAL: Final = struct.Struct("@ll")


class PeerGone(DarkroomError):
    """The connection is closed, or the peer took too long. `code` is fit for a log."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Connection:
    """Reads and writes one connection.

    Args:
        plain: a connected socket; it is closed by `close` or `hang_up`.
        host: the peer's address.

    Attributes:
        protection: version of TLS; empty without.
        certificate_sha256: of the certificate that the peer has shown; empty without.
    """

    def __init__(self, plain: socket.socket, host: str) -> None:
        self.host = host
        self.protection = ""
        self.certificate_sha256 = ""
        self._socket = plain
        self._view: memoryview | None = None
        self._interrupted = False
        plain.settimeout(None)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._set_time(socket.SO_SNDTIMEO, SEND_LIMIT)
        self._set_time(socket.SO_RCVTIMEO, TICK)

    def _set_time(self, option: int, seconds: float) -> None:
        value = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, option, value)

    def _receive(self, view: memoryview) -> int | None:
        """Return how many bytes came, or None when a tick passed without any.

        Raises:
            PeerGone: closed or reset.
            ProtocolError: `interrupt` was called.
        """
        try:
            count = self._socket.recv_into(view)
            # The kernel leaves quick acknowledgement by itself: a peer that writes a PDU in two
            # steps would then wait 40 ms for each.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except BlockingIOError:
            return None
        except OSError as error:
            raise PeerGone("connection-lost") from error
        if self._interrupted:
            raise ProtocolError("shutting-down")
        if not count:
            raise PeerGone("connection-closed")
        return count

    def read(self, limit: float) -> memoryview:
        """Return what comes next, as a view that the next `read` overwrites.

        Raises:
            PeerGone: closed, reset, or nothing came for `limit` seconds.
        """
        if self._view is None:
            self._view = memoryview(bytearray(BUFFER))
        waited = 0.0
        while (count := self._receive(self._view)) is None:
            waited += TICK
            if waited + TICK > limit:
                raise PeerGone("time-limit")
        return self._view[:count]

    def read_exactly(self, size: int, deadline: float) -> bytes:
        """Return `size` bytes, all of them before `deadline` on the monotonic clock.

        Raises:
            PeerGone: closed, reset or too slow.
        """
        found = bytearray(size)
        view = memoryview(found)
        while view:
            if time.monotonic() > deadline:
                raise PeerGone("time-limit")
            view = view[self._receive(view) or 0 :]
        return bytes(found)

    def send(self, data: bytes) -> None:
        """Send all, in one system call where the kernel has room.

        Raises:
            PeerGone: closed, reset, or the peer does not read.
        """
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise PeerGone("connection-lost") from error

    def hang_up(self, last: bytes = b"") -> None:
        """Send a last word and close, so that the word is not lost to a reset."""
        try:
            self._say_goodbye(last)
            self._socket.shutdown(socket.SHUT_WR)
            self._drain()
        except OSError:
            pass  # whoever has gone hears nothing
        finally:
            self._socket.close()

    def _say_goodbye(self, last: bytes) -> None:
        if last:
            self._socket.sendall(last)

    def _drain(self) -> None:
        deadline = time.monotonic() + _LINGER
        left = _LINGER_BYTES
        self._set_time(socket.SO_RCVTIMEO, _LINGER)
        while left > 0 and time.monotonic() < deadline:
            found = len(self._socket.recv(1 << 16))
            if not found:
                return
            left -= found

    def interrupt(self) -> None:
        """End the thread's current read from another thread."""
        self._interrupted = True
        with suppress(OSError):  # it may have ended by itself
            self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Close at once."""
        self._socket.close()
