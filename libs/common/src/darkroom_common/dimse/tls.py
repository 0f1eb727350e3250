"""DICOM over TLS, as a server and as a client (PS3.15 B.12, BCP 195: RFC 8996 and RFC 9325).

TLS 1.2 with forward secrecy and authenticated encryption only, or TLS 1.3. No compression, no
renegotiation, no resumption: a handshake once an association costs little, and tickets would have
to be shared by the processes.
"""

import hashlib
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from cryptography import x509

from darkroom_common.dimse.connection import TICK, Connection, PeerGone
from darkroom_common.errors import ConfigurationError
from darkroom_common.telemetry.logs import get_logger

log = get_logger(__name__)
_CIPHERS: Final = ":".join(  # RFC 9325 section 4.2, and ChaCha20 (RFC 7905)
    f"ECDHE-{signature}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for signature in ("ECDSA", "RSA")
)
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_SEALED: Final = 128 * 1024
"""Bytes of one read from the network."""
Stamps = tuple[tuple[int, int, int] | None, ...]


class BadCertificate(ConfigurationError):
    """Certificate, key or list of authorities cannot be used. The text says why."""


@dataclass(frozen=True)
class TlsFiles:
    """Where the PEM files lie, and what is asked of clients.

    Attributes:
        certificate: of this node, followed by those that lead to the root.
        key: its private key, without a password.
        client_ca: authorities of clients' certificates.
        clients: whether a client has to show a certificate; with `ignored` none is asked for.
        minimum: the least version.
    """

    certificate: Path
    key: Path
    client_ca: Path | None
    clients: Literal["ignored", "optional", "required"]
    minimum: Literal["1.2", "1.3"]


@dataclass(frozen=True)
class _Loaded:
    context: ssl.SSLContext
    expires: datetime


class TlsServer:
    """The certificate in force. A changed file is taken for the next handshakes, if it is good.

    `trouble` says why the files that are there now are not in force; it is empty when they are.
    """

    def __init__(self, files: TlsFiles) -> None:
        self.trouble = ""
        self._files = files
        self._stamps: Stamps = ()
        self._loaded: _Loaded | None = None
        self.look()

    @property
    def context(self) -> ssl.SSLContext | None:
        """What the next handshake uses; None when there has been no good certificate yet."""
        return None if self._loaded is None else self._loaded.context

    @property
    def expires(self) -> datetime | None:
        """When the certificate in force expires."""
        return None if self._loaded is None else self._loaded.expires

    def look(self) -> bool:
        """Load the files if they are others than at the last look; return whether that failed."""
        stamps = self._stamp()
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        first = self._loaded is None
        try:
            self._loaded = _load(self._files, first=first)
        except BadCertificate as error:
            self.trouble = str(error)
            log.error("certificate.refused", reason=self.trouble, kept=not first)
            return True
        self.trouble = ""
        log.info("certificate.in_force", expires=self._loaded.expires.isoformat())
        return False

    def _stamp(self) -> Stamps:
        return tuple(
            _stamp(path)
            for path in (self._files.certificate, self._files.key, self._files.client_ca)
            if path is not None
        )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def _load(files: TlsFiles, *, first: bool) -> _Loaded:
    """Return a context for these files.

    Args:
        files: what to load.
        first: there is nothing to keep instead, so that an expired certificate is taken.

    Raises:
        BadCertificate: they cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[files.minimum]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    at = files.certificate
    try:
        expires = x509.load_pem_x509_certificates(at.read_bytes())[0].not_valid_after_utc
        at = files.key
        at.read_bytes()
        context.load_cert_chain(files.certificate, files.key, _no_password)
        if files.clients != "ignored" and files.client_ca is not None:
            at = files.client_ca
            context.load_verify_locations(files.client_ca)
            context.verify_mode = (
                ssl.CERT_REQUIRED if files.clients == "required" else ssl.CERT_OPTIONAL
            )
    except ssl.SSLError as error:
        raise BadCertificate(f"{at}: {_word(error)}") from error
    except OSError as error:
        raise BadCertificate(f"{at}: {error.strerror}") from error
    except (ValueError, x509.InvalidVersion) as error:
        raise BadCertificate(f"{at}: no PEM certificate, or no key without a password") from error
    if expires <= datetime.now(UTC):
        if not first:
            raise BadCertificate(f"{files.certificate}: expired on {expires.isoformat()}")
        log.error("certificate.expired", expires=expires.isoformat())
    return _Loaded(context, expires)


@dataclass(frozen=True)
class TlsTrust:
    """How a client checks a server, and what it shows of itself.

    Attributes:
        authorities: PEM text of those that the server's certificate must lead to; empty: the
            file `ca`, or without one those of the system.
        certificate: PEM file of our own, for servers that ask for one.
        key: its private key.
    """

    authorities: str
    ca: Path | None
    certificate: Path | None
    key: Path | None
    minimum: Literal["1.2", "1.3"]


def client_context(trust: TlsTrust) -> ssl.SSLContext:
    """Return a context for connections to one server; its name or address is checked, too.

    Raises:
        BadCertificate: a file or text cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = _VERSIONS[trust.minimum]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    at = "authorities"
    try:
        if trust.authorities:
            context.load_verify_locations(cadata=trust.authorities)
        elif trust.ca is not None:
            at = str(trust.ca)
            context.load_verify_locations(trust.ca)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if trust.certificate is not None and trust.key is not None:
            at = str(trust.certificate)
            context.load_cert_chain(trust.certificate, trust.key, _no_password)
    except ssl.SSLError as error:
        raise BadCertificate(f"{at}: {_word(error)}") from error
    except OSError as error:
        raise BadCertificate(f"{at}: {error.strerror}") from error
    except ValueError as error:
        raise BadCertificate(f"{at}: no PEM certificate, or no key without a password") from error
    return context


def _no_password() -> str:
    raise ValueError  # else OpenSSL would ask on the terminal


def _word(error: ssl.SSLError) -> str:
    """Return OpenSSL's name of an error, which is one of a closed set."""
    return (error.reason or type(error).__name__).lower().replace("_", "-").replace(" ", "-")


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
                raise HandshakeFailed(_word(error)) from error
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
            raise PeerGone(_word(error)) from error
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
            raise PeerGone(_word(error)) from error
        self._flush()
