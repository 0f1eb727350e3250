"""The signed licence document: a JWS (RFC 7515) in compact form, by Ed25519 (RFC 8037).

Its protected header is `{"alg": "EdDSA", "typ": "darkroom-licence", "kid": <one of our keys>}`; the
payload is a `Document` as JSON. What is not signed by a key of LICENCE_PUBLIC_KEYS says nothing.
"""

import base64
import binascii
import datetime as dt
import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from darkroom_common.errors import ConfigurationError, PermanentError

LONGEST: Final = 64 * 1024
"""Characters of a document."""
TYPE: Final = "darkroom-licence"
_PARTS: Final = 3
_KEY_BYTES: Final = 32
Limit = Literal["destinations", "printers", "users"]
PublicKeys = Mapping[str, Ed25519PublicKey]


class InvalidLicence(PermanentError):
    """A document cannot be used; the text says why, for people."""


class Document(BaseModel):
    """What a licence entitles to. Fields that it has beside these are ignored.

    Attributes:
        issued_at: the issuer's time: Odoo signs a new document for every question.
        valid_until: the first moment that it no longer covers; None: it does not end.
        features: names; `*` is all of them, also later ones.
        limits: how many there may be; what is not named has no limit.
        installation: whose it is; empty: whoever has it.
        nonce: of the question that Odoo has answered with it; empty in a file.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    licence_id: str = Field(min_length=1, max_length=64)
    customer: str = Field(default="", max_length=200)
    installation: str = Field(default="", max_length=64)
    nonce: str = Field(default="", max_length=64)
    issued_at: AwareDatetime
    valid_from: AwareDatetime
    valid_until: AwareDatetime | None = None
    features: tuple[str, ...] = Field(default=("*",), max_length=100)
    limits: dict[Limit, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _makes_sense(self) -> "Document":
        if self.valid_until is not None and self.valid_until <= self.valid_from:
            raise ValueError("it ends before it begins")
        if any(limit < 0 for limit in self.limits.values()):
            raise ValueError("a limit is negative")
        return self


def public_keys(given: Mapping[str, str]) -> dict[str, Ed25519PublicKey]:
    """Return the keys of a setting: base64 of 32 bytes by the name of the key.

    Raises:
        ConfigurationError: one is no such key.
    """
    found = {}
    for name, text in given.items():
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != _KEY_BYTES:
            raise ConfigurationError(
                f"LICENCE_PUBLIC_KEYS: {name} is not base64 of {_KEY_BYTES} bytes"
            )
        found[name] = Ed25519PublicKey.from_public_bytes(raw)
    return found


def read(text: str, keys: PublicKeys, *, installation: str) -> Document:
    """Return a document that is signed by one of our keys and is this installation's.

    Whether it is in force is for `decision` to say.

    Raises:
        InvalidLicence: says why not.
    """
    if len(text) > LONGEST:
        raise InvalidLicence("the licence document is too long")
    parts = text.strip().split(".")
    if len(parts) != _PARTS:
        raise InvalidLicence("this is no licence document")
    header = _json(parts[0])
    if header.get("alg") != "EdDSA" or header.get("typ") != TYPE or "crit" in header:
        raise InvalidLicence("this is no licence document")
    key = keys.get(str(header.get("kid")))
    if key is None:
        raise InvalidLicence("the licence document is signed by a key that is not known here")
    try:
        key.verify(_decoded(parts[2]), f"{parts[0]}.{parts[1]}".encode("ascii"))
    except (InvalidSignature, UnicodeEncodeError):
        raise InvalidLicence("the licence document is not as it was signed") from None
    try:
        document = Document.model_validate(_json(parts[1]))
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, one["loc"])) or one["msg"] for one in error.errors())
        raise InvalidLicence(f"the licence document is not understood: {fields}") from None
    if document.installation not in ("", installation):
        raise InvalidLicence("the licence document is that of another installation")
    return document


def sign(document: Document, key: Ed25519PrivateKey, *, name: str) -> str:
    """Return a document as its issuer hands it out."""
    header = _encoded(json.dumps({"alg": "EdDSA", "typ": TYPE, "kid": name}).encode())
    payload = _encoded(document.model_dump_json().encode())
    return f"{header}.{payload}.{_encoded(key.sign(f'{header}.{payload}'.encode()))}"


def in_force(document: Document, at: dt.datetime) -> bool:
    """Return whether a document covers a moment."""
    return document.valid_from <= at and (document.valid_until is None or at < document.valid_until)


def _json(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_decoded(part))
    except (ValueError, RecursionError):
        raise InvalidLicence("this is no licence document") from None
    if not isinstance(value, dict):
        raise InvalidLicence("this is no licence document")
    return value


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidLicence("this is no licence document") from None


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
