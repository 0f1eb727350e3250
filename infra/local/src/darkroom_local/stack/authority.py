"""The certificates of one machine: an authority of its own, and what it signs, renewed in time.

`tls/ca.pem` is what whoever connects from outside has to trust. Every certificate is good for 90
days and renewed with 30 left, the authority for ten years and followed by another with two left:
`ca.pem` then holds both.
"""

import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from darkroom_common.clock import utc_now
from darkroom_local.engines.process import Account, unprivileged_account
from darkroom_local.engines.tls import TlsPair
from darkroom_local.stack.keyring import write_secret
from darkroom_local.stack.layout import Layout

NODE: Final = "node"
"""What the services show, to each other and to others."""
OWNERS: Final = {NODE: (), "postgres": ("postgres", "nobody"), "rabbitmq": ("rabbitmq", "nobody")}
"""Of each certificate, the users of whom the first that there is reads its key."""
_VALID: Final = timedelta(days=90)
_RENEWED: Final = timedelta(days=30)
_AUTHORITY_VALID: Final = timedelta(days=3650)
_AUTHORITY_FOLLOWED: Final = timedelta(days=730)
_EARLIER: Final = timedelta(hours=1)
"""Before now, for peers whose clock is behind."""
_ALWAYS: Final = ("localhost", "127.0.0.1", "::1")


def names_of_here(more: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names and addresses that this machine is called by, and those given."""
    found = dict.fromkeys((*_ALWAYS, socket.gethostname(), socket.getfqdn(), *more))
    return tuple(name for name in found if name)


@dataclass(frozen=True)
class Authority:
    """Signs for the names of this machine.

    Attributes:
        layout: where everything lies.
        names: and addresses that certificates are good for.
    """

    layout: Layout
    names: tuple[str, ...]

    def pair(self, owner: str) -> TlsPair:
        """Return the files of one of `OWNERS`."""
        here = self.layout.tls / owner
        return TlsPair(self.layout.tls / "ca.pem", here / "server.pem", here / "server.key")

    def renew(self, *, every: bool = False) -> list[str]:
        """Make what is missing, of other names, or about to expire; or all of it.

        Returns:
            Of whom there is a new certificate.
        """
        self.layout.tls.mkdir(mode=0o755, exist_ok=True)
        followed = self._follow()
        made = []
        for owner, users in OWNERS.items():
            if every or followed or self._is_due(self.pair(owner)):
                self._sign(owner, unprivileged_account(*users) if users else None)
                made.append(owner)
        return made

    @property
    def _key(self) -> Path:
        return self.layout.secrets / "authority.key"

    def _trusted(self) -> list[x509.Certificate]:
        """Return the authorities that have not expired, the newest first."""
        file = self.layout.tls / "ca.pem"
        if not file.exists() or not self._key.exists():
            return []
        found = x509.load_pem_x509_certificates(file.read_bytes())
        return [one for one in found if one.not_valid_after_utc > utc_now()]

    def _follow(self) -> bool:
        """Make an authority when there is none that lasts; tell whether."""
        trusted = self._trusted()
        if trusted and trusted[0].not_valid_after_utc - utc_now() > _AUTHORITY_FOLLOWED:
            return False
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"Darkroom of {socket.gethostname()}"[:64])
        made = (
            _begun(name, name, key.public_key(), _AUTHORITY_VALID)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_secret(self._key, _pem_of(key).decode())
        pems = [one.public_bytes(Encoding.PEM) for one in (made, *trusted)]
        _write(self.layout.tls / "ca.pem", b"".join(pems), 0o644, None)
        return True

    def _is_due(self, pair: TlsPair) -> bool:
        if not pair.certificate.exists() or not pair.key.exists():
            return True
        shown = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        named = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        left = shown.not_valid_after_utc - utc_now()
        return left < _RENEWED or list(named) != [_general(name) for name in self.names]

    def _sign(self, owner: str, account: Account | None) -> None:
        issuer_key = load_pem_private_key(self._key.read_bytes(), None)
        issuer = x509.load_pem_x509_certificate((self.layout.tls / "ca.pem").read_bytes())
        if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self._key} is not of an elliptic curve")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(f"darkroom {owner}")
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        made = (
            _begun(subject, issuer.subject, key.public_key(), _VALID)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([_general(name) for name in self.names]), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
                critical=False,
            )
            .sign(issuer_key, hashes.SHA256())
        )
        pair = self.pair(owner)
        pair.key.parent.mkdir(mode=0o755, exist_ok=True)
        # The key first: who looks between the two finds a pair that does not fit, and keeps his.
        _write(pair.key, _pem_of(key), 0o600, account)
        _write(pair.certificate, made.public_bytes(Encoding.PEM), 0o644, account)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, valid: timedelta
) -> x509.CertificateBuilder:
    now: datetime = utc_now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + valid)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    """Return what a key is for; newer clients refuse an authority that does not say so."""
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int, account: Account | None) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        if account:
            os.fchown(file.fileno(), account.uid, account.gid)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
