"""One TCP connection with a peer, at either end: blocking reads and writes that always end.

It belongs to one thread. The kernel's time-outs are a short tick: each tick looks at the deadline
and at `interrupt`, so that a read or a write costs one system call.
"""

import hashlib
import socket
import ssl
import struct
from contextlib import suppress
from select import select
from typing import Any, Final

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dimse.tls import openssl_word
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.errors import DarkroomError

BUFFER: Final = 512 * 1024
"""Bytes of one read; the buffer is used again and again."""
TICK: Final = 1.0  # seconds
SEND_LIMIT: Final = 30.0
"""Seconds in which a peer must take something of what is sent."""
_LEAST_TICK: Final = 0.001
_LINGER: Final = 1.0
_LINGER_BYTES: Final = 1 << 20
_TIMEVAL: Final = struct.Struct("@ll")
_SEALED: Final = 128 * 1024
"""Bytes of TLS records that are read or written at a time."""
TIME_LIMIT: Final = "time-limit"
_monotonic: Final = SYSTEM_CLOCK.monotonic


class PeerGone(DarkroomError):
    """The connection is closed, or the peer took too long. `code` is fit for a log."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class HandshakeFailed(PeerGone):
    """The peer speaks no TLS, too old TLS, or shows no certificate that is good here."""


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
        self._ticks: dict[int, float] = {}
        plain.settimeout(None)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def _tick(self, option: int, left: float) -> None:
        """Let the kernel wait for a tick, or for what is left of it."""
        seconds = max(_LEAST_TICK, min(TICK, left))
        if self._ticks.get(option) != seconds:
            self._ticks[option] = seconds
            value = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6))
            self._socket.setsockopt(socket.SOL_SOCKET, option, value)

    def _receive(self, view: memoryview, flags: int = 0) -> int | None:
        """Return how many bytes came, or None when a tick passed without any.

        Raises:
            PeerGone: closed or reset.
            ProtocolError: `interrupt` was called.
        """
        try:
            count = self._socket.recv_into(view, 0, flags)
            # The kernel leaves quick acknowledgement by itself: a peer that writes a PDU in two
            # steps would then wait 40 ms for each.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except BlockingIOError:
            count = None
        except OSError as error:
            raise PeerGone("connection-lost") from error
        if self._interrupted:
            raise ProtocolError("shutting-down")
        if count == 0:
            raise PeerGone("connection-closed")
        return count

    def read(self, deadline: float) -> memoryview:
        """Return what comes next, as a view that the next `read` overwrites.

        Raises:
            PeerGone: closed, reset, or nothing came before `deadline` on the monotonic clock.
            ProtocolError: `interrupt` was called.
        """
        if self._view is None:
            self._view = memoryview(bytearray(BUFFER))
        while True:
            left = deadline - _monotonic()
            if left <= 0:
                raise PeerGone(TIME_LIMIT)
            self._tick(socket.SO_RCVTIMEO, left)
            count = self._receive(self._view)
            if count is not None:
                return self._view[:count]

    def read_at_once(self) -> memoryview | None:
        """Return what has come already, as `read` does; None when there is nothing."""
        if self._view is None:
            self._view = memoryview(bytearray(BUFFER))
        count = self._receive(self._view, socket.MSG_DONTWAIT)
        return None if count is None else self._view[:count]

    def read_exactly(self, size: int, deadline: float) -> bytes:
        """Return `size` bytes, all of them before `deadline` on the monotonic clock.

        Raises:
            PeerGone: closed, reset or too slow.
        """
        found = bytearray(size)
        view = memoryview(found)
        while view:
            left = deadline - _monotonic()
            if left <= 0:
                raise PeerGone(TIME_LIMIT)
            self._tick(socket.SO_RCVTIMEO, left)
            view = view[self._receive(view) or 0 :]
        return bytes(found)

    def send(
        self,
        *parts: bytes | memoryview,
        deadline: float | None = None,
        patience: float = SEND_LIMIT,
    ) -> None:
        """Send all, in one system call where the kernel has room.

        Args:
            parts: what is sent.
            deadline: on the monotonic clock, for all of it.
            patience: seconds in which the peer must take something.

        Raises:
            PeerGone: closed, reset, or the peer does not read.
            ProtocolError: `interrupt` was called.
        """
        self._send(list(parts), _monotonic() + patience, deadline, patience)

    def _send(self, left: list[Any], until: float, deadline: float | None, patience: float) -> None:
        while left:
            ends = until if deadline is None else min(until, deadline)
            self._tick(socket.SO_SNDTIMEO, ends - _monotonic())
            try:
                count = self._socket.sendmsg(left) if len(left) > 1 else self._socket.send(left[0])
            except BlockingIOError:
                if _monotonic() >= ends:
                    raise PeerGone(TIME_LIMIT) from None
            except OSError as error:
                raise PeerGone("connection-lost") from error
            else:
                while left and count >= len(left[0]):
                    count -= len(left.pop(0))
                if not left:
                    return
                left[0] = memoryview(left[0])[count:]
                now = _monotonic()
                until = now + patience
                if deadline is not None and now >= deadline:
                    raise PeerGone(TIME_LIMIT)
            if self._interrupted:
                raise ProtocolError("shutting-down")

    def is_quiet(self) -> bool:
        """Tell whether nothing has come that was not read: no byte, and no end."""
        with suppress(OSError, ValueError):
            return not self._interrupted and not select([self._socket], [], [], 0)[0]
        return False

    def hang_up(self, last: bytes = b"") -> None:
        """Send a last word and close, so that the word is not lost to a reset."""
        try:
            self._say_goodbye(last)
            self._socket.shutdown(socket.SHUT_WR)
            self._drain()
        except (OSError, ProtocolError, PeerGone):
            pass  # whoever has gone hears nothing
        finally:
            self._socket.close()

    def _say_goodbye(self, last: bytes) -> None:
        if last:
            self._tick(socket.SO_SNDTIMEO, TICK)
            self._socket.sendall(last)

    def _drain(self) -> None:
        deadline = _monotonic() + _LINGER
        left = _LINGER_BYTES
        while left > 0 and (wait := deadline - _monotonic()) > 0:
            self._tick(socket.SO_RCVTIMEO, wait)
            found = len(self._socket.recv(1 << 16))
            if not found:
                return
            left -= found

    def interrupt(self) -> None:
        """End the thread's current read or write from another thread."""
        self._interrupted = True
        with suppress(OSError):  # it may have ended by itself
            self._socket.shutdown(socket.SHUT_RD)

    def close(self, last: bytes = b"") -> None:
        """Close at once, after a last word that may be lost."""
        with suppress(OSError, PeerGone):
            self._say_goodbye(last)
        self._socket.close()


class TlsConnection(Connection):
    """A connection within TLS. Reads and writes of the socket are those of `Connection`."""

    _tls: ssl.SSLObject
    _sealed: memoryview

    def open(self, context: ssl.SSLContext, deadline: float, *, server_name: str = "") -> None:
        """Do the handshake, before `deadline` on the monotonic clock.

        Args:
            context: of a server, or of a client.
            deadline: for all of it.
            server_name: as a client, whom the certificate of the server must name.

        Raises:
            HandshakeFailed: the peer is not one for this port.
            PeerGone: closed, reset or too slow.
        """
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._sealed = memoryview(bytearray(_SEALED))
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=not server_name,
            server_hostname=server_name or None,
        )
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                with suppress(PeerGone):
                    self._flush(deadline)  # the alert
                raise HandshakeFailed(openssl_word(error)) from error
            else:
                break
            left = deadline - _monotonic()
            if left <= 0:
                raise PeerGone(TIME_LIMIT)
            self._flush(deadline)
            self._tick(socket.SO_RCVTIMEO, left)
            self._take_sealed()
        self._flush(deadline)
        certificate = self._tls.getpeercert(binary_form=True)
        if certificate:
            self.certificate_sha256 = hashlib.sha256(certificate).hexdigest()
        self.protection = str(self._tls.version())

    def _take_sealed(self, flags: int = 0) -> bool:
        """Wait up to a tick for more from the network; return whether something came."""
        count = super()._receive(self._sealed, flags)
        if count is None:
            return False
        self._incoming.write(self._sealed[:count])
        return True

    def _receive(self, view: memoryview, flags: int = 0) -> int | None:
        """As `Connection._receive`, with what the records hold."""
        began = _monotonic()
        while not (count := self._unseal(view)):
            if not self._take_sealed(flags) or _monotonic() - began > TICK:
                return None
        return count

    def _unseal(self, view: memoryview) -> int:
        """Return how many bytes of what has come are now in `view`: those of many records."""
        count = 0
        try:
            while count < len(view):
                size: Any = self._tls.read(len(view) - count, view[count:])
                if not size:  # close_notify
                    if count:
                        break
                    raise PeerGone("connection-closed")
                count += size
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise PeerGone(openssl_word(error)) from error
        self._flush()  # what TLS itself has to say, such as a new key
        return count

    def _flush(self, deadline: float | None = None) -> None:
        if self._outgoing.pending:
            super().send(self._outgoing.read(), deadline=deadline)

    def _say_goodbye(self, last: bytes) -> None:
        with suppress(ssl.SSLError):  # it would like to have the peer's goodbye, too
            if last:
                self._tls.write(last)
            self._tls.unwrap()
        super()._say_goodbye(self._outgoing.read())

    def send(
        self,
        *parts: bytes | memoryview,
        deadline: float | None = None,
        patience: float = SEND_LIMIT,
    ) -> None:
        """As `Connection.send`."""
        for part in parts:
            for start in range(0, len(part), _SEALED):
                try:
                    self._tls.write(part[start : start + _SEALED])
                except ssl.SSLError as error:
                    raise PeerGone(openssl_word(error)) from error
                super().send(self._outgoing.read(), deadline=deadline, patience=patience)
