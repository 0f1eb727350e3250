"""A certificate authority of a test, and what it signs."""

import asyncio
import hashlib
import ssl
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from darkroom_common.links.trust import trusting
from darkroom_local.engines.ports import LOOPBACK

_DAY = timedelta(days=1)
SIGNS = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
"""RFC 5280 section 4.2.1.3: what an authority does."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    @property
    def sha256(self) -> str:
        pem = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return hashlib.sha256(pem.public_bytes(serialization.Encoding.DER)).hexdigest()

    def replace(self, other: "Pair") -> None:
        """Put another pair into these files, each at once, the key first."""
        for mine, its in ((self.key, other.key), (self.certificate, other.certificate)):
            fresh = mine.with_suffix(".new")
            fresh.write_bytes(its.read_bytes())
            fresh.replace(mine)


class Authority:
    """Signs certificates for localhost.

    Args:
        directory: where files are put.
        strict: it follows RFC 5280 in all points; otherwise it lacks the extension key usage.
    """

    def __init__(self, directory: Path, *, strict: bool = True) -> None:
        self.directory = directory
        self._strict = strict
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.file = directory / "ca.pem"
        made = self._certificate(self._name, self._key.public_key(), _DAY, ca=True)
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def sign(self, name: str, valid: timedelta = _DAY) -> Pair:
        """Make a pair; a negative `valid` has expired so long ago."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._certificate(subject, key.public_key(), valid, ca=False)
        pair = Pair(self.directory / f"{name}.pem", self.directory / f"{name}.key")
        pair.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, valid: timedelta, *, ca: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * _DAY)
            .not_valid_after(now + valid)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if ca and self._strict:
            made = made.add_extension(SIGNS, critical=True)
        return made.sign(self._key, hashes.SHA256())

    def client(self, pair: Pair | None = None) -> ssl.SSLContext:
        """A client that trusts this authority."""
        context = trusting(self.file, strict=self._strict)
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        return context


async def shown(port: int, context: ssl.SSLContext) -> tuple[str, str]:
    """Return the version of TLS that a port agrees to, and the SHA-256 of what it shows."""
    _, writer = await asyncio.open_connection(
        LOOPBACK, port, ssl=context, server_hostname="localhost"
    )
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    version, certificate = tls.version(), tls.getpeercert(binary_form=True)
    writer.transport.abort()
    assert version is not None
    assert certificate is not None
    return version, hashlib.sha256(certificate).hexdigest()


async def new_versions_only(port: int, ca: Path) -> None:
    """Check that a port speaks TLS 1.2 and 1.3, and none of those before."""

    def client(version: ssl.TLSVersion) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(ca))
        context.set_ciphers("ALL:@SECLEVEL=0")  # else our own side refuses
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        return context

    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        spoken, _ = await shown(port, client(version))
        assert spoken == version.name.replace("_", ".")
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        # asyncio's servers close without sending the alert that others send.
        with pytest.raises((ssl.SSLError, ConnectionResetError)) as refusal:
            await shown(port, client(version))
        reason = getattr(refusal.value, "reason", None)
        assert reason in {None, "TLSV1_ALERT_PROTOCOL_VERSION"}
