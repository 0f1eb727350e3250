"""Objects that are sealed where they lie: written in one go, read from any place.

An object begins with `DRS1`, the number of a key of PHI_KEYS (two bytes, big endian) and a salt.
The key of the object is derived from these and its purpose (HKDF-SHA-256, RFC 5869). What follows
are pieces of `PIECE` bytes, each under AES-256-GCM with a nonce that says its place and whether it
is the last one (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015). A piece
that was altered, moved, left out, or cut off at the end does not open.
"""

import base64
import os
import struct
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import BinaryIO, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from darkroom_common.objects.interface import ObjectStore
from darkroom_common.postgres.phi import KEY_BYTES, PhiKeys
from darkroom_common.seal import Unsealable

PIECE: Final = 64 * 1024
_MAGIC: Final = b"DRS1"
_SALT: Final = 32
_TAG: Final = 16
_NONCE: Final = struct.Struct(">7xIB")
_HEAD: Final = len(_MAGIC) + 2 + _SALT
_AT_ONCE: Final = 16
"""Pieces that are read from the store at once."""


def _cipher(keys: PhiKeys, head: bytes, purpose: str) -> AESGCM:
    magic, number, salt = head[:4], head[4:6], head[6:]
    text = keys.keys.get(int.from_bytes(number, "big"))
    if magic != _MAGIC or len(salt) != _SALT or text is None:
        raise Unsealable("a sealed object is damaged, or PHI_KEYS lacks its key")
    derive = HKDF(SHA256(), KEY_BYTES, salt=salt, info=f"darkroom object {purpose}".encode())
    return AESGCM(derive.derive(base64.b64decode(text)))


def sealed(keys: PhiKeys, content: Iterable[bytes], *, purpose: str) -> Iterator[bytes]:
    """Yield what is to be stored of a content that may be of any length."""
    head = _MAGIC + keys.current.to_bytes(2, "big") + os.urandom(_SALT)
    cipher = _cipher(keys, head, purpose)
    yield head
    held, number = bytearray(), 0
    for data in content:
        held += data
        while len(held) > PIECE:  # not the last one: something follows
            yield cipher.encrypt(_NONCE.pack(number, 0), bytes(held[:PIECE]), None)
            del held[:PIECE]
            number += 1
    yield cipher.encrypt(_NONCE.pack(number, 1), bytes(held), None)


def opened(keys: PhiKeys, file: BinaryIO, *, purpose: str) -> Iterator[bytes]:
    """Yield the content of what `sealed` has made, from its beginning on, for a thread.

    Raises:
        Unsealable: it is for another purpose, under a key that is not among `keys`, or damaged.
    """
    cipher = _cipher(keys, file.read(_HEAD), purpose)
    piece, number = file.read(PIECE + _TAG), 0
    while following := file.read(PIECE + _TAG):
        yield _decrypted(cipher, piece, number, last=False)
        piece, number = following, number + 1
    yield _decrypted(cipher, piece, number, last=True)


def _decrypted(cipher: AESGCM, piece: bytes, number: int, *, last: bool) -> bytes:
    try:
        return cipher.decrypt(_NONCE.pack(number, last), piece, None)
    except (InvalidTag, ValueError) as error:
        raise Unsealable("a piece of a sealed object was altered or cut off") from error


class SealedObject:
    """An object that was sealed, opened for reading.

    Attributes:
        size: bytes of its content.
    """

    def __init__(self, store: ObjectStore, key: str, cipher: AESGCM, whole: int) -> None:
        body = whole - _HEAD
        self._store = store
        self._key = key
        self._cipher = cipher
        self._pieces = max(1, -(-body // (PIECE + _TAG)))
        self.size = body - self._pieces * _TAG

    @classmethod
    async def open(cls, store: ObjectStore, key: str, *, keys: PhiKeys, purpose: str) -> Self:
        """Return a sealed object of a store.

        Raises:
            ObjectMissing, StoreUnavailable: as the store.
            Unsealable: it is for another purpose, under a key that PHI_KEYS lacks, or damaged. Of
                what lies beyond its head that is seen when it is read.
        """
        whole = await store.size(key)
        head = await store.read(key, length=_HEAD)
        cipher = _cipher(keys, head, purpose)
        if whole < _HEAD + _TAG or 0 < (whole - _HEAD) % (PIECE + _TAG) < _TAG:
            raise Unsealable("a sealed object is cut off")
        return cls(store, key, cipher, whole)

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start`; only what is whole.

        Raises:
            StoreUnavailable: as the store.
            Unsealable: a piece is not as it was written.
        """
        end = start + length
        for first in range(start // PIECE, -(-end // PIECE), _AT_ONCE):
            some = range(first, min(first + _AT_ONCE, -(-end // PIECE)))
            at = _HEAD + first * (PIECE + _TAG)
            data = await self._store.read(self._key, start=at, length=len(some) * (PIECE + _TAG))
            for number in some:
                piece = self._opened(data[: PIECE + _TAG], number)
                data = data[PIECE + _TAG :]
                low = max(0, start - number * PIECE)
                yield piece[low : end - number * PIECE]

    def _opened(self, piece: bytes, number: int) -> bytes:
        return _decrypted(self._cipher, piece, number, last=number == self._pieces - 1)
