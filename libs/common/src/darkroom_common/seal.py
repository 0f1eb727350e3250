"""Seals what may not be read on its way or where it lies: PHI in replies, passwords of peers.

AES-256-GCM under a key derived (HKDF-SHA-256) from a key of PHI_KEYS for one purpose. The purpose
is authenticated, so that what was sealed for one place opens in no other.
"""

import base64
import binascii
import os
import struct
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from darkroom_common.errors import PermanentError
from darkroom_common.postgres.phi import PhiKeys

_VERSION: Final = "s1"
_NONCE: Final = 12
REMEMBERED: Final = 100
"""Derived keys that are kept."""


class Unsealable(PermanentError):
    """It was sealed for something else, under a key that PHI_KEYS lacks, or was altered."""


class Seal:
    """Seals and opens JSON values with the keys that the services share."""

    def __init__(self, keys: PhiKeys) -> None:
        self._keys = keys
        self._ciphers: dict[tuple[int, str], AESGCM] = {}

    def _cipher(self, number: int, purpose: str) -> AESGCM:
        known = self._ciphers.get((number, purpose))
        if known is not None:
            return known
        text = self._keys.keys.get(number)
        if text is None:
            raise Unsealable("PHI_KEYS lacks the key of a sealed value")
        derive = HKDF(SHA256(), 32, salt=None, info=f"darkroom seal {purpose}".encode())
        cipher = AESGCM(derive.derive(base64.b64decode(text)))
        if len(self._ciphers) >= REMEMBERED:
            self._ciphers.clear()
        self._ciphers[number, purpose] = cipher
        return cipher

    def seal(self, value: Any, *, purpose: str) -> str:
        """Return a JSON value as text that only `open` for the same purpose can read."""
        nonce = os.urandom(_NONCE)
        number = self._keys.current
        closed = self._cipher(number, purpose).encrypt(nonce, orjson.dumps(value), purpose.encode())
        return f"{_VERSION}.{number}.{base64.urlsafe_b64encode(nonce + closed).decode()}"

    def seal_bytes(self, value: bytes, *, purpose: str) -> bytes:
        """Return bytes that only `open_bytes` for the same purpose can read."""
        nonce = os.urandom(_NONCE)
        number = self._keys.current
        closed = self._cipher(number, purpose).encrypt(nonce, value, purpose.encode())
        return struct.pack(">H", number) + nonce + closed

    def open_bytes(self, sealed: bytes, *, purpose: str) -> bytes:
        """Return the bytes that were sealed.

        Raises:
            Unsealable: see there.
        """
        body = sealed[2 + _NONCE :]
        try:
            cipher = self._cipher(struct.unpack_from(">H", sealed)[0], purpose)
            return cipher.decrypt(sealed[2 : 2 + _NONCE], body, purpose.encode())
        except (ValueError, struct.error, InvalidTag) as error:
            raise Unsealable("sealed bytes cannot be opened") from error

    def open(self, text: str, *, purpose: str) -> Any:
        """Return what was sealed.

        Raises:
            Unsealable: see there.
        """
        try:
            version, number, body = text.split(".")
            raw = base64.urlsafe_b64decode(body)
            if version != _VERSION:
                raise Unsealable("a sealed value of an unknown version")
            cipher = self._cipher(int(number), purpose)
            return orjson.loads(cipher.decrypt(raw[:_NONCE], raw[_NONCE:], purpose.encode()))
        except (ValueError, binascii.Error, InvalidTag) as error:
            raise Unsealable("a sealed value cannot be opened") from error
