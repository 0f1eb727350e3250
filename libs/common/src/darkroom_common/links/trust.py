"""How exactly certificates are held to RFC 5280, the same under every Python.

Python 3.13 asks of what `ssl.create_default_context` checks that certificates follow RFC 5280 in
all points (OpenSSL's X509_V_FLAG_X509_STRICT); older ones do not. Among what many authorities of
hospitals lack is the extension key usage (section 4.2.1.3) and the key identifiers (4.2.1.1 and
4.2.1.2). Here it is said each time, so that the version of Python decides nothing.
"""

import ssl
from pathlib import Path
from typing import Any, Final, TypeGuard

from cryptography import x509

from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import common as metrics

CALLING: Final = "calling"
"""What the metrics call what is trusted of, and shown to, servers that are no DICOM nodes."""
log = get_logger(__name__)
_STRICT_ALONE: Final = range(80, 94)
"""X509_V_ERR_PATHLEN_INVALID_FOR_NON_CA to X509_V_ERR_EXTENSIONS_REQUIRE_VERSION_3."""


def hold(context: ssl.SSLContext, *, strict: bool) -> None:
    """Say whether a context asks that certificates follow RFC 5280 in all points."""
    if strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    else:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT


class Trust(ssl.SSLContext):
    """Checks certificate and name of servers that are called; takes renewed files by itself.

    It may be given to a library for good: its files are looked at before each handshake. While a
    changed one cannot be used, what was read before stays. An authority that is taken out of the
    file is trusted until the process starts again.
    """

    _ca: Path | None
    _pair: tuple[Path, Path | None] | None
    _stamps: tuple[object, ...]

    def read(self, ca: Path | None, pair: tuple[Path, Path | None] | None) -> None:
        """Read the files, for the first time.

        Raises:
            OSError: one cannot be read, or holds nothing of its kind (`ssl.SSLError` is one).
        """
        self._ca, self._pair = ca, pair
        self._stamps = self._stamp()
        self._load()
        if ca is None:
            self.load_default_certs(ssl.Purpose.SERVER_AUTH)

    def _load(self) -> None:
        if self._ca is not None:
            self.load_verify_locations(self._ca)
        if self._pair is not None:
            self.load_cert_chain(*self._pair)
            shown = x509.load_pem_x509_certificates(self._pair[0].read_bytes())[0]
            metrics.CERTIFICATE_EXPIRES.labels(CALLING).set(shown.not_valid_after_utc.timestamp())

    def _stamp(self) -> tuple[object, ...]:
        paths = (self._ca, *(self._pair or ()))
        return tuple(None if path is None else stamp(path) for path in paths)

    def _look(self) -> None:
        stamps = self._stamp()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._load()
        except OSError as error:
            metrics.CERTIFICATE_REFUSED.labels(CALLING).inc()
            log.error("certificate.refused", reason=type(error).__name__, kept=True)
        else:
            log.info("certificate.renewed", listener=CALLING)

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        """As `ssl.SSLContext.wrap_bio`, with the files as they are now."""
        self._look()
        return super().wrap_bio(*given, **named)

    def wrap_socket(self, *given: Any, **named: Any) -> ssl.SSLSocket:
        """As `ssl.SSLContext.wrap_socket`, with the files as they are now."""
        self._look()
        return super().wrap_socket(*given, **named)


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file does; None while it is not there."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def trusting(
    ca: Path | None = None, pair: tuple[Path, Path | None] | None = None, *, strict: bool
) -> ssl.SSLContext:
    """Return what checks certificate and name of a server that is called.

    Args:
        ca: PEM file of authorities; None: those of the system.
        pair: certificate and key that are shown when the server asks for one.
        strict: whether certificates have to follow RFC 5280 in all points.

    Raises:
        OSError: a file cannot be read, or holds nothing of its kind (`ssl.SSLError` is one).
    """
    context = Trust(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as Python 3.13 has it
    hold(context, strict=strict)
    context.read(ca, pair)
    return context


def is_strictness(error: BaseException | None) -> TypeGuard[ssl.SSLCertVerificationError]:
    """Tell whether a certificate was refused for a point of RFC 5280 that lenience passes over."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _STRICT_ALONE


def refused_as(error: ssl.SSLCertVerificationError) -> str:
    """Return the word by which jobs, logs and metrics know a refused certificate of a peer."""
    return "CertificateNotStrict" if is_strictness(error) else "CertificateRefused"


def refusal(error: ssl.SSLCertVerificationError, setting: str) -> str:
    """Return why a certificate was refused, and with which setting it would not be.

    Args:
        error: of the handshake; of its words only OpenSSL's are told, one of a closed set.
        setting: that asks for strictness.
    """
    if not is_strictness(error):
        return error.verify_message
    return (
        f"{error.verify_message}: a certificate does not follow RFC 5280 in all points; until it"
        f" is replaced, {setting}=false takes it"
    )
