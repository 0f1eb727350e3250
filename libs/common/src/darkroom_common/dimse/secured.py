"""A connection within TLS, as a server (PS3.15 annex B)."""

import hashlib
import ssl
import time
from contextlib import suppress
from typing import Any, Final

from darkroom_common.dimse.connection import TICK, Connection, PeerGone
from darkroom_common.dimse.tls import openssl_word

_SEALED: Final = 128 * 1024
"""Bytes of one read from the network."""


class HandshakeFailed(PeerGone):
    """The peer speaks no TLS, too old TLS, or shows no certificate that is good here."""


class TlsConnection(Connection):
    """A connection within TLS. Reads and writes of the socket are those of `Connection`."""

    _tls: ssl.SSLObject
    _sealed: memoryview

    def open(self, context: ssl.SSLContext, deadline: float) -> None:
        """Do the handshake, before `deadline` on the monotonic clock.

        Raises:
            HandshakeFailed: the peer is not one for this port.
            PeerGone: closed, reset or too slow.
        """
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._sealed = memoryview(bytearray(_SEALED))
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                with suppress(PeerGone):
                    self._flush()  # the alert
                raise HandshakeFailed(openssl_word(error)) from error
            else:
                break
            if time.monotonic() > deadline:
                raise PeerGone("time-limit")
            self._flush()
            self._take_sealed()
        self._flush()
        certificate = self._tls.getpeercert(binary_form=True)
        if certificate:
            self.certificate_sha256 = hashlib.sha256(certificate).hexdigest()
        self.protection = str(self._tls.version())

    def _take_sealed(self) -> bool:
        """Wait up to a tick for more from the network; return whether something came."""
        count = super()._receive(self._sealed)
        if count is None:
            return False
        self._incoming.write(self._sealed[:count])
        return True

    def _receive(self, view: memoryview) -> int | None:
        """As `Connection._receive`, with what the records hold."""
        began = time.monotonic()
        while not (count := self._unseal(view)):
            if not self._take_sealed() or time.monotonic() - began > TICK:
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

    def _flush(self) -> None:
        if self._outgoing.pending:
            super().send(self._outgoing.read())

    def _say_goodbye(self, last: bytes) -> None:
        if last:
            self._tls.write(last)
        with suppress(ssl.SSLError):  # it would like to have the peer's goodbye, too
            self._tls.unwrap()
        super()._say_goodbye(self._outgoing.read())

    def send(self, data: bytes) -> None:
        """As `Connection.send`."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise PeerGone(openssl_word(error)) from error
        self._flush()
