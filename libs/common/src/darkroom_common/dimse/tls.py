"""DICOM over TLS, as a server and as a client (PS3.15 B.12, BCP 195: RFC 8996 and RFC 9325).

TLS 1.2 with forward secrecy and authenticated encryption only, or TLS 1.3. No compression, no
renegotiation, no resumption: a handshake once an association costs little, and tickets would have
to be shared by the processes.
"""

import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.errors import ConfigurationError, Unhealthy
from darkroom_common.links.trust import hold, stamp
from darkroom_common.specs.destinations import Tls
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics

log = get_logger(__name__)
_CIPHERS: Final = ":".join(  # RFC 9325 section 4.2, and ChaCha20 (RFC 7905)
    f"ECDHE-{signature}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for signature in ("ECDSA", "RSA")
)
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
CLIENT: Final = "dicom-tls-client"
"""What the metrics call the certificate that we show as a client."""
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
        strict: whether clients' certificates have to follow RFC 5280 in all points.
    """

    certificate: Path
    key: Path
    client_ca: Path | None
    clients: Literal["ignored", "optional", "required"]
    minimum: Literal["1.2", "1.3"]
    strict: bool = True


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

    def lasting_context(self) -> ssl.SSLContext:
        """Return a context for a server that is given one for good.

        Each of its handshakes uses what is in force by then.

        Raises:
            BadCertificate: there has been no good certificate yet.
        """
        context = self.context
        if context is None:
            raise BadCertificate(self.trouble)
        context.sni_callback = self._switch  # called without a name as well (RFC 6066 section 3)
        return context

    async def check(self) -> None:
        """Tell whether the files that are there are in force.

        Raises:
            Unhealthy: they are not, or the certificate has expired.
        """
        if self.trouble:
            raise Unhealthy(f"an older certificate is in force: {self.trouble}")
        if self.expires is not None and self.expires <= SYSTEM_CLOCK.now():
            raise Unhealthy(f"the certificate has expired on {self.expires.isoformat()}")

    def _switch(self, handshake: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
        del name
        handshake.context = self.context or first

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
            stamp(path)
            for path in (self._files.certificate, self._files.key, self._files.client_ca)
            if path is not None
        )


def _load(files: TlsFiles, *, first: bool) -> _Loaded:
    """Return a context for these files.

    Args:
        files: what to load.
        first: there is nothing to keep instead, so that an expired certificate is taken.

    Raises:
        BadCertificate: they cannot be used.
    """
    context = _bare_context(ssl.PROTOCOL_TLS_SERVER, files.minimum)
    hold(context, strict=files.strict)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    with _readable(str(files.certificate)) as at:
        expires = _load_chain(context, files.certificate, files.key, at, first=first)
        if files.clients != "ignored" and files.client_ca is not None:
            at.path = str(files.client_ca)
            context.load_verify_locations(files.client_ca)
            required = files.clients == "required"
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return _Loaded(context, expires)


@dataclass
class _At:
    path: str


@contextmanager
def _readable(path: str) -> Iterator[_At]:
    """Say of which file it is that it cannot be used."""
    at = _At(path)
    try:
        yield at
    except ssl.SSLError as error:
        raise BadCertificate(f"{at.path}: {openssl_word(error)}") from error
    except OSError as error:
        raise BadCertificate(f"{at.path}: {error.strerror}") from error
    except (ValueError, x509.InvalidVersion) as error:
        reason = "no PEM certificate, or no key without a password"
        raise BadCertificate(f"{at.path}: {reason}") from error


def _bare_context(protocol: Any, minimum: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = _VERSIONS[minimum]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    return context


def _load_chain(
    context: ssl.SSLContext, certificate: Path, key: Path, at: _At, *, first: bool
) -> datetime:
    """Load certificate and key; return when the certificate expires."""
    at.path = str(certificate)
    expires = x509.load_pem_x509_certificates(certificate.read_bytes())[0].not_valid_after_utc
    at.path = str(key)
    key.read_bytes()
    context.load_cert_chain(certificate, key, _no_password)
    _check_expiry(certificate, expires, first=first)
    return expires


def _load_pfx(context: ssl.SSLContext, path: Path, password: str, *, first: bool) -> datetime:
    """Load certificate and key of a PKCS #12 file (RFC 7292); return when it expires."""
    try:
        held = pkcs12.load_pkcs12(path.read_bytes(), password.encode() or None)
    except ValueError as error:
        raise BadCertificate(f"{path}: no PKCS #12 file, or another password") from error
    if held.key is None or held.cert is None:
        raise BadCertificate(f"{path}: it lacks a certificate with its key")
    encoded = held.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for one in (held.cert, *held.additional_certs):
        encoded += one.certificate.public_bytes(Encoding.PEM)
    # OpenSSL reads files alone; this one is in memory, and gone when it is closed.
    with os.fdopen(os.memfd_create("certificate", os.MFD_CLOEXEC), "wb") as file:
        file.write(encoded)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=_no_password)
    expires = held.cert.certificate.not_valid_after_utc
    _check_expiry(path, expires, first=first)
    return expires


def _check_expiry(certificate: Path, expires: datetime, *, first: bool) -> None:
    if expires <= SYSTEM_CLOCK.now():
        if not first:
            raise BadCertificate(f"{certificate}: expired on {expires.isoformat()}")
        log.error("certificate.expired", expires=expires.isoformat())


class TlsClient:
    """How this host calls servers: files that all share, looked at before each connection.

    A changed file is taken for the next connections; while it is no good, the context that was made
    from the old ones stays.

    Args:
        ca: PEM file of authorities; without it, those of the system.
        certificate: PEM file of our own, for servers that ask for one; or PKCS #12 without `key`.
        key: its private key.
        password: of the PKCS #12 file.
        name: of these connections, in the metrics.
    """

    def __init__(
        self,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        password: str = "",
        name: str = CLIENT,
    ) -> None:
        self._password = password
        self._name = name
        self._files = (ca, certificate, key)
        self._made: dict[tuple[str, bool, bool, str], tuple[Stamps, ssl.SSLContext]] = {}
        self._looked_at: Stamps = ()
        self._lock = threading.Lock()

    def context(self, asked: Tls) -> ssl.SSLContext:
        """Return what a connection is made with; the server's name or address is checked, too.

        Raises:
            BadCertificate: a file or text cannot be used, and there is nothing older.
        """
        key = asked.ca, asked.client_certificate, asked.strict, asked.minimum
        stamps = tuple(stamp(path) for path in self._files if path is not None)
        with self._lock:
            known = self._made.get(key)
            if known is not None and known[0] == stamps:
                return known[1]
            try:
                context = self._load(asked, first=known is None)
            except BadCertificate as error:
                if stamps != self._looked_at:
                    self._looked_at = stamps
                    metrics.CERTIFICATE_REFUSED.labels(self._name).inc()
                    kept = known is not None
                    log.error("certificate.refused", reason=str(error), kept=kept)
                if known is None:
                    raise
                return known[1]
            self._looked_at = stamps
            if known is not None:
                log.info("certificate.renewed", listener=self._name)
            self._made[key] = stamps, context
            return context

    def _load(self, asked: Tls, *, first: bool) -> ssl.SSLContext:
        ca, certificate, key = self._files
        context = _bare_context(ssl.PROTOCOL_TLS_CLIENT, asked.minimum)
        hold(context, strict=asked.strict)
        with _readable("authorities") as at:
            if asked.ca:
                context.load_verify_locations(cadata=asked.ca)
            elif ca is not None:
                at.path = str(ca)
                context.load_verify_locations(ca)
            else:
                context.load_default_certs(ssl.Purpose.SERVER_AUTH)
            if asked.client_certificate and certificate is not None:
                at.path = str(certificate)
                if key is None:
                    expires = _load_pfx(context, certificate, self._password, first=first)
                else:
                    expires = _load_chain(context, certificate, key, at, first=first)
                metrics.CERTIFICATE_EXPIRES.labels(self._name).set(expires.timestamp())
        return context


def _no_password() -> str:
    raise ValueError  # else OpenSSL would ask on the terminal


def openssl_word(error: ssl.SSLError) -> str:
    """Return OpenSSL's name of an error, which is one of a closed set."""
    return (error.reason or type(error).__name__).lower().replace("_", "-").replace(" ", "-")
