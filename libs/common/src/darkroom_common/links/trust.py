"""How exactly certificates are held to RFC 5280, the same under every Python.

Python 3.13 asks of what `ssl.create_default_context` checks that certificates follow RFC 5280 in
all points (OpenSSL's X509_V_FLAG_X509_STRICT); older ones do not. Among what many authorities of
hospitals lack is the extension key usage (section 4.2.1.3) and the key identifiers (4.2.1.1 and
4.2.1.2). Here it is said each time, so that the version of Python decides nothing.
"""

import ssl
from pathlib import Path
from typing import Final, TypeGuard

_STRICT_ALONE: Final = range(80, 94)
"""X509_V_ERR_PATHLEN_INVALID_FOR_NON_CA to X509_V_ERR_EXTENSIONS_REQUIRE_VERSION_3."""


def hold(context: ssl.SSLContext, *, strict: bool) -> None:
    """Say whether a context asks that certificates follow RFC 5280 in all points."""
    if strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    else:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT


def trusting(ca: Path | None = None, *, strict: bool) -> ssl.SSLContext:
    """Return what checks certificate and name of a server that is called.

    Args:
        ca: PEM file of authorities; None: those of the system.
        strict: whether certificates have to follow RFC 5280 in all points.

    Raises:
        OSError: the file cannot be read, or holds no certificates (`ssl.SSLError` is one).
    """
    context = ssl.create_default_context(cafile=ca)
    hold(context, strict=strict)
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
