"""Keys of encrypted columns and of blind indexes (MET-02).

Columns are encrypted by pgcrypto in SQL: `pgp_sym_encrypt(value, key, PGP_OPTIONS)` with the key
as a bind parameter and its id beside the column. Searching uses blind tokens: HMAC-SHA-256 under a
key of the field, cut to 16 bytes, over the normalised value and over the prefixes of its words.
What leaks (equality and prefix equality of values) is stated in docs/security.md.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Self

from darkroom_common.errors import ConfigurationError

_MAX_SMALLINT: Final = 32767
PGP_OPTIONS: Final = "cipher-algo=aes256, s2k-mode=0, compress-algo=0"
KEY_BYTES: Final = 32
TOKEN_BYTES: Final = 16
PREFIX_LIMIT: Final = 16
"""Characters of a word that have a prefix token; the rest is checked after decrypting."""
_RUN_BYTES: Final = 8
_RUNS_REMEMBERED: Final = 20_000


_MARKS: Final = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a"
    "\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f"
    "\U000e0100-\U000e01ef\u00ad\u200b-\u200f\u2060\ufeff]+"
)
"""Accents, points of vowels and variants, and what is not seen: what a letter or an ideograph is
the same without.

Not so the voicing of kana, and the tones and vowels of Thai and of Indian scripts.
"""
_LETTERS: Final = {
    **str.maketrans("łøđħŧıŋð", "lodhtind"),
    **str.maketrans({"æ": "ae", "œ": "oe", "þ": "th"}),
    **{katakana: katakana - 0x60 for katakana in (*range(0x30A1, 0x30F7), 0x30FD, 0x30FE)},
}
"""Letters whose stroke is no mark of its own, and katakana as hiragana: a reading is a reading."""


def _key(text: str, setting: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{setting}: a key is {KEY_BYTES} random bytes in base64")
    return key


def decode_key(text: str, *, setting: str) -> bytes:
    """Return the 32 bytes of a key given in base64.

    Raises:
        ConfigurationError: names the setting, not the value.
    """
    return _key(text.strip(), setting)


@dataclass(frozen=True, repr=False)
class PhiKeys:
    """The keys of encrypted columns, by id; new values take the current one."""

    current: int
    keys: dict[int, str]

    @classmethod
    def parse(cls, text: str, *, setting: str = "PHI_KEYS") -> Self:
        """Read `{"current": 1, "keys": {"1": "<base64 of 32 bytes>"}}`.

        Raises:
            ConfigurationError: the form is another; the text holds no key.
        """
        try:
            document = json.loads(text)
            current = int(document["current"])
            keys = {int(number): str(key) for number, key in document["keys"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigurationError(
                setting + ' is {"current": 1, "keys": {"1": "<base64 of 32 random bytes>"}}'
            ) from None
        for number, key in keys.items():
            _key(key, f"{setting} key {number}")
            if not 1 <= number <= _MAX_SMALLINT:
                raise ConfigurationError(f"{setting}: key ids go from 1 to 32767")
        if current not in keys:
            raise ConfigurationError(f"{setting}: the current key {current} is not among the keys")
        return cls(current, keys)

    @property
    def current_key(self) -> str:
        """The passphrase for new values."""
        return self.keys[self.current]

    def by_id(self) -> list[str]:
        """Return passphrases for `($n::text[])[key_id]` in SQL: index 1 is key 1, gaps are ''."""
        return [self.keys.get(number, "") for number in range(1, max(self.keys) + 1)]


def normalise(value: str) -> str:
    """Return the form in which values are compared: no diacritics, case folded, one space.

    Full and half width are the same, and so are katakana and hiragana. A person name keeps its `^`;
    ideographic and phonetic groups keep their `=`.
    """
    folded = value.lower() if value.isascii() else _folded(value)
    return " ".join(folded.split()).strip(" ^")


def _folded(value: str) -> str:
    marked = unicodedata.normalize("NFKD", value)
    plain = unicodedata.normalize("NFC", _MARKS.sub("", marked).casefold())
    return plain.translate(_LETTERS)


def words(normalised: str) -> list[str]:
    """Return the words of a normalised value: runs of letters and digits."""
    return "".join(c if c.isalnum() else " " for c in normalised).split()


class BlindIndex:
    """Makes the tokens of the searchable fields."""

    def __init__(self, master: bytes) -> None:
        self._master = master
        self._keys: dict[str, bytes] = {}
        self._runs: dict[tuple[str, str], int] = {}

    def _field_key(self, field: str) -> bytes:
        key = self._keys.get(field)
        if key is None:
            key = hmac.digest(self._master, f"blind:{field}".encode(), hashlib.sha256)
            self._keys[field] = key
        return key

    def token(self, field: str, kind: str, text: str) -> bytes:
        """Return the 16-byte token of a text of one field; `kind`: `value`, `prefix`, `run`."""
        data = f"{kind}:{text}".encode()
        return hmac.digest(self._field_key(field), data, hashlib.sha256)[:TOKEN_BYTES]

    def exact(self, field: str, value: str) -> bytes:
        """Return the token that equal values share after normalising."""
        return self.token(field, "value", normalise(value))

    def prefix(self, field: str, start: str) -> bytes:
        """Return the token of a word prefix (already normalised), cut to `PREFIX_LIMIT`."""
        return self.token(field, "prefix", start[:PREFIX_LIMIT])

    def run(self, field: str, text: str) -> int:
        """Return the token, of 64 bits with a sign, of neighbouring characters of a field.

        What names and numbers are made of comes again and again: it is remembered.
        """
        found = self._runs.get((field, text))
        if found is None:
            token = self.token(field, "run", text)
            found = int.from_bytes(token[:_RUN_BYTES], signed=True)
            if len(self._runs) >= _RUNS_REMEMBERED:
                self._runs.clear()
            self._runs[field, text] = found
        return found

    def tokens(self, field: str, value: str) -> set[bytes]:
        """Return all tokens of a stored value: itself and every prefix of its words."""
        normalised = normalise(value)
        if not normalised:
            return set()
        found = {self.token(field, "value", normalised)}
        for word in words(normalised):
            for end in range(1, min(len(word), PREFIX_LIMIT) + 1):
                found.add(self.token(field, "prefix", word[:end]))
        return found
