r"""Character sets of text (PS3.3 section C.12.1.1.2): what stands in a data set, and what we write.

What is read is never lost, and never U+FFFD: bytes that the declared set does not have are read as
what they most likely are, else they stand as PS3.5 section 6.1.2.3 shows them, `G\374nther`.
Either is flagged. docs/character-sets.md has the tables.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from darkroom_common.dicom import code_extensions
from darkroom_common.dicom.code_extensions import (
    ASCII,
    KATAKANA,
    OCTAL,
    ROMAJI,
    SETS,
    GraphicSet,
    InForce,
    has_escapes,
)

WRONG: Final = "character-set-wrong"
"""Flag of an object whose (0008,0005) names no set of the standard, or not that of its text."""
UNDECLARED: Final = "character-set-undeclared"
"""Flag of an object that has text beyond the default repertoire and no (0008,0005)."""
UTF_8: Final = "ISO_IR 192"
_CODECS: Final = {
    UTF_8: "utf-8",
    "GB18030": "gb18030",
    "GBK": "gbk",
    **{f"windows-{page}": f"cp{page}" for page in (874, 932, 949, 950, *range(1250, 1259))},
    "EUC-JP": "euc_jis_2004",
    "KOI8-R": "koi8_r",
}
"""Sets without code extensions that are not of one byte, and those that are only assumed."""
PAGES: Final = tuple(name for name in _CODECS if name not in (UTF_8, "GB18030", "GBK"))
"""Not of DICOM: what may be assumed of a sender, and is never declared."""
_ALONE: Final = tuple(name for name in _CODECS if name not in PAGES)
_BEYOND: Final = {
    13: "cp932",
    58: "gb18030",
    87: "cp932",
    100: "cp1252",
    101: "cp1250",
    126: "cp1253",
    127: "cp1256",
    138: "cp1255",
    144: "cp1251",
    148: "cp1254",
    149: "cp949",
    159: "cp932",
    166: "cp874",
    203: "cp1252",
}
"""What software that names a set writes beyond it."""
_NAMED: Final = re.compile(
    r"ISO[ _-]*(?:20\d\d)?[ _-]*(?P<ir>IR)?[ _-]*(?P<number>\d{1,3})(?:[ ,].*)?"
)
_PART: Final = re.compile(r"(?:ISO)?[ _-]*8859[ _-]*(?P<part>\d{1,2})")
_PARTS: Final = {
    1: 100,
    2: 101,
    3: 109,
    4: 110,
    5: 144,
    6: 127,
    7: 126,
    8: 138,
    9: 148,
    11: 166,
    15: 203,
}
_OTHER_NAMES: Final = {
    "UTF-8": UTF_8,
    "UTF8": UTF_8,
    "UNICODE": UTF_8,
    "ISO_10646": UTF_8,
    "ISO 2022 GBK": "GBK",
    "GB2312": "GBK",
    "GB 18030": "GB18030",
    "GB-18030": "GB18030",
    "LATIN1": "ISO_IR 100",
    "ASCII": "ISO_IR 6",
    "US-ASCII": "ISO_IR 6",
}
_UTF_8_NUMBER: Final = 192
_KNOWN: Final = frozenset(SETS) - {ROMAJI.number}
_SINGLE: Final = frozenset(number for number in _KNOWN if SETS[number].width == 1)
_STANDARD: Final = frozenset(
    {
        "",
        *_ALONE,
        *(f"ISO_IR {number}" for number in _SINGLE),
        *(f"ISO 2022 IR {number}" for number in _KNOWN),
    }
)
_C1: Final = re.compile(rb"[\x80-\x9f]")
_LETTERLESS: Final = frozenset({100, 148})
"""Sets that have no letters in the lower half of G1: text in them is never whole UTF-8."""


def term(text: str) -> str | None:
    """Return the defined term (PS3.3 tables C.12-2 to C.12-5) that is meant; None for none.

    What real objects have instead of the underscore or of 2022 is taken; without code extensions
    or with them is one: `ISO_IR 100` for either.
    """
    given = text.strip(" \0").upper()
    if not given or given in _ALONE:
        return given
    if given in _OTHER_NAMES:
        return _OTHER_NAMES[given]
    if found := _PART.fullmatch(given):
        number = _PARTS.get(int(found["part"]))
    elif found := _NAMED.fullmatch(given):
        number = int(found["number"])
    else:
        number = None
    if number in _KNOWN:
        return f"ISO_IR {number}"
    return UTF_8 if number == _UTF_8_NUMBER else None


def is_assumable(text: str) -> bool:
    """Tell whether text is what (0008,0005) could hold, or one of `PAGES`."""
    if text in PAGES:
        return True
    terms = text.split("\\")
    return bool(text.strip("\\ ")) and all(term(one) is not None for one in terms)


@dataclass(frozen=True)
class Assumed:
    """What is known of a sender beside what its objects say.

    Attributes:
        name: as `is_assumable` has it; empty: nothing is known.
        always: it holds whatever the objects declare, else only where they declare nothing.
    """

    name: str = ""
    always: bool = False


NOTHING_ASSUMED: Final = Assumed()


class CharacterSet:
    """How the text of a data set, or of an item, is read and written.

    Args:
        declared: the value of (0008,0005), or one of `PAGES`.
        assumed: of the sender.
    """

    def __init__(self, declared: str, assumed: Assumed = NOTHING_ASSUMED) -> None:
        given = [one.strip(" \0") for one in declared.split("\\")]
        terms = [declared] if declared in PAGES else [term(one) for one in given]
        self.flag = "" if declared in PAGES or _STANDARD.issuperset(given) else WRONG
        """What there is to say of the declaration itself."""
        self._undeclared = not any(terms)
        self._assumed = CharacterSet(assumed.name) if assumed.name else None
        self._always = self._assumed is not None and assumed.always
        self._sets: tuple[GraphicSet, ...] = ()
        self._first = InForce()
        self._codec = next((_CODECS[one] for one in terms if one in _CODECS), "")
        self._extended = False
        self.has_ascii = True
        """Whether bytes below 0x80 are ASCII where there is no escape sequence."""
        if self._codec:
            if len(terms) > 1:  # PS3.3 C.12.1.1.2: without code extensions
                self.flag = WRONG
        elif not self._undeclared:
            self._sets = tuple(_set(one) for one in terms if one)
            self._first = _in_force(terms[0])
            self._codec = self._sets[0].codec
            self.has_ascii = self._first.low is ASCII
            self._extended = (
                len(terms) > 1
                or "2022" in declared
                or KATAKANA in self._sets
                or any(one.width > 1 for one in self._sets)
            )

    def decode(self, raw: bytes, vr: str) -> tuple[str, str]:
        """Return the text of an element, and the flag of what is odd about it, or nothing.

        Values are separated by backslashes; a byte that cannot be read has `BACKSLASH` for its own.
        """
        if self._always and self._assumed:
            try:
                return self._assumed.strict(raw, vr), ""
            except UnicodeDecodeError:
                pass
        try:
            text = self.strict(raw, vr)
        except UnicodeDecodeError:
            return self._guess(raw, vr)
        if self._is_utf_8_after_all(raw):
            return raw.decode("utf-8"), WRONG
        return text, ""

    def strict(self, raw: bytes, vr: str) -> str:
        """Return the text of an element.

        Raises:
            UnicodeDecodeError: it is not in this character set.
        """
        if self._undeclared:
            if b"\x1b" in raw and has_escapes(raw):
                raise UnicodeDecodeError("ascii", raw, 0, 1, "code extensions")
            return raw.decode("ascii")
        if self._extended:
            return code_extensions.decode(raw, self._first, vr)
        if self._sets and _C1.search(raw):
            raise UnicodeDecodeError(self._codec, raw, 0, 1, "a control character")
        if b"\x1b" in raw and has_escapes(raw):
            raise UnicodeDecodeError(self._codec, raw, 0, 1, "code extensions")
        return raw.decode(self._codec)

    def _is_utf_8_after_all(self, raw: bytes) -> bool:
        if len(self._sets) != 1 or self._sets[0].number not in _LETTERLESS or raw.isascii():
            return False
        return _is_utf_8(raw)

    def _guess(self, raw: bytes, vr: str) -> tuple[str, str]:
        """Return what text is that is not in the declared character set."""
        odd = UNDECLARED if self._undeclared else WRONG
        if self._assumed is not None:
            try:
                text = self._assumed.strict(raw, vr)
            except UnicodeDecodeError:
                pass
            else:
                return text, "" if self._undeclared else odd
        if has_escapes(raw):
            return code_extensions.decode(raw, self._first, vr, OCTAL), odd
        if _is_utf_8(raw):
            return raw.decode("utf-8"), odd
        return self._read_somehow(raw, vr), odd

    def _read_somehow(self, raw: bytes, vr: str) -> str:
        beyond = [_BEYOND[one.number] for one in self._sets if one.number in _BEYOND]
        beyond += ["gb18030"] * (self._codec == "gbk")
        for codec in beyond:
            try:
                return raw.decode(codec)
            except UnicodeDecodeError:
                continue
        if self._extended:
            return code_extensions.decode(raw, self._first, vr, OCTAL)
        if self._codec == "utf-8" and raw.decode("utf-8", "ignore").isascii():
            return raw.decode("cp1252", OCTAL)
        return raw.decode(beyond[0] if beyond else self._codec or "cp1252", OCTAL)

    def encode(self, text: str, vr: str) -> bytes:
        """Return the bytes of an element's text, values separated by backslashes.

        Raises:
            UnicodeEncodeError: a character is in none of the sets.
        """
        if self._undeclared:
            return text.encode("ascii")
        if self._extended:
            first = self._first
            others = [one for one in self._sets if one not in (first.low, first.high)]
            return code_extensions.encode(text, first, others, vr)
        coded = text.encode(self._codec)
        if self._sets and _C1.search(coded):
            raise UnicodeEncodeError(self._codec, text, 0, len(text), "a control character")
        return coded


def _set(name: str) -> GraphicSet:
    return SETS[int(name.removeprefix("ISO_IR "))]


def _in_force(name: str | None) -> InForce:
    if not name:
        return InForce()
    first = _set(name)
    if first.number == KATAKANA.number:
        return InForce(ROMAJI, KATAKANA)
    return InForce(ASCII, first if first.high else None)


def _is_utf_8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(maxsize=256)
def character_set(declared: str, assumed: Assumed = NOTHING_ASSUMED) -> CharacterSet:
    """Return the character set of a value of (0008,0005)."""
    return CharacterSet(declared, assumed)


class TextReader:
    """Reads the text of one object: `declare` what (0008,0005) says, then `read`.

    Attributes:
        current: what holds for the data set or item that is read now; set by `declare` alone, and
            to what it was by `back_to`.
        has_ascii: whether bytes below 0x80 are ASCII where there is no escape sequence.
        flags: of everything odd that was read.
    """

    __slots__ = ("_assumed", "current", "flags", "has_ascii")

    def __init__(self, assumed: Assumed = NOTHING_ASSUMED) -> None:
        self._assumed = assumed
        self.back_to(character_set("", assumed))
        self.flags: set[str] = set()

    def declare(self, raw: bytes) -> None:
        """Take a value of (0008,0005)."""
        declared = raw.decode("ascii", "replace").rstrip(" \0")
        self.back_to(character_set(declared, self._assumed))
        if self.current.flag:
            self.flags.add(self.current.flag)

    def back_to(self, outer: CharacterSet) -> None:
        """Take what holds around an item that has ended."""
        self.current = outer
        self.has_ascii = outer.has_ascii

    def read(self, raw: bytes, vr: str) -> str:
        """Return the text of an element as `CharacterSet.decode` does."""
        text, flag = self.current.decode(raw, vr)
        if flag:
            self.flags.add(flag)
        return text


def declaration(*texts: str, wanted: str = "") -> str:
    """Return the value of (0008,0005) for texts that we write; empty for the default repertoire.

    Args:
        texts: all that go beyond the default repertoire somewhere.
        wanted: what a peer prefers; taken when it has all of the characters.
    """
    joined = "".join(texts)
    if joined.isascii():
        return ""
    for name in filter(None, ("" if wanted in PAGES else wanted, "ISO_IR 100")):
        try:
            character_set(name).encode(joined, "LO")
        except UnicodeEncodeError:
            continue
        return name
    return UTF_8
