"""Text with code extensions: the escape sequences of ISO/IEC 2022 (PS3.5 section 6.1.2.5).

Two sets of graphic characters are in force at a time: G0 for bytes below 0x80, G1 for those above.
An escape sequence puts another one in force, until the next, until a control character, or until a
delimiter of the VR: then the sets of value 1 are in force again (PS3.5 section 6.1.2.5.3).
"""

import codecs
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

OCTAL: Final = "darkroom-octal"
"""What `errors` of a codec is called that writes a byte as PS3.5 section 6.1.2.3 does: `\\374`."""
BACKSLASH: Final = "\ufdd0"
"""Stands for the backslash of such a byte until values are separated; it is no character."""
DELIMITERS: Final = {
    "PN": b"\\^=",
    **dict.fromkeys(("AE", "AS", "CS", "DA", "DS", "DT"), b"\\"),
    **dict.fromkeys(("IS", "LO", "SH", "TM", "UC", "UI"), b"\\"),
}
"""Bytes of a VR before which the sets of value 1 are in force."""
_RESETTING: Final = b"\t\n\f\r"
_HIGH: Final = 0x80
_NAME_BYTES: Final = 256
"""Of a run in which delimiters are looked for before which nobody has switched back."""
_SPACE: Final = 0x20
_TOKEN: Final = re.compile(
    rb"(?P<escape>\x1b[\x20-\x2f]+[\x30-\x7e])|(?P<low>[\x21-\x7e]+)|(?P<high>[\x80-\xff]+)"
    rb"|(?P<other>[\x00-\x20\x7f])"
)
_LIFT: Final = bytes(byte | _HIGH for byte in range(256))
_LOWER: Final = bytes(byte & ~_HIGH for byte in range(256))
_C1: Final = 0x9F
"""The last of the control characters above 0x80, which no set has."""
_NOTHING: Final = "\ufffe"


def _octal(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return as_octal(error.object[error.start : error.end]), error.end


codecs.register_error(OCTAL, _octal)


def as_octal(raw: bytes) -> str:
    """Return bytes as three octal digits each, behind `BACKSLASH`."""
    return "".join(f"{BACKSLASH}{byte:03o}" for byte in raw)


@dataclass(frozen=True)
class SingleByte:
    """A set of graphic characters of one byte (PS3.3 table C.12-3).

    Attributes:
        number: of the ISO registry.
        high: whether it is a G1.
        escape: puts it in force.
        codec: of Python for all of an ISO 8859 part or of ASCII.
        table: the characters of the bytes 0 to 255, `_NOTHING` for none.
    """

    number: int
    escape: bytes
    codec: str
    table: str
    high: bool
    width: ClassVar[int] = 1

    def decode(self, raw: bytes, errors: str) -> str:
        """Return the characters of bytes of this set's half.

        Raises:
            UnicodeDecodeError: with `errors` "strict", one is none of the set.
        """
        return codecs.charmap_decode(raw, errors, self.table)[0]

    def encode(self, character: str) -> bytes | None:
        """Return the byte of a character; None when the set has it not."""
        found = self.table.find(character)
        return bytes((found,)) if found >= 0 and character != _NOTHING else None


@dataclass(frozen=True)
class DoubleByte:
    """A set of graphic characters of two bytes (PS3.3 table C.12-4).

    Attributes:
        number: of the ISO registry.
        high: whether it is a G1.
        escape: puts it in force.
        codec: of Python, whose bytes are those of a G1.
        lead: byte of the codec before each character.
        wider: codecs that know more characters, for what senders add to the set.
    """

    number: int
    escape: bytes
    codec: str
    high: bool
    lead: bytes = b""
    wider: tuple[str, ...] = ()
    width: ClassVar[int] = 2

    def decode(self, raw: bytes, errors: str) -> str:
        """Return the characters of bytes of this set's half, two of each.

        Raises:
            UnicodeDecodeError: with `errors` "strict", two are none of the set.
        """
        high = raw if self.high else raw.translate(_LIFT)
        pairs = [high[at : at + 2] for at in range(0, len(high), 2)] if self.lead else [high]
        try:
            return b"".join(self.lead + pair for pair in pairs).decode(self.codec)
        except UnicodeDecodeError:
            if errors == "strict":
                raise
        return "".join(self._somehow(high[at : at + 2]) for at in range(0, len(high), 2))

    def _somehow(self, pair: bytes) -> str:
        for codec in (self.codec, *self.wider):
            try:
                return (_shifted(pair) if codec == "cp932" else self.lead + pair).decode(codec)
            except UnicodeDecodeError:
                continue
        return as_octal(pair if self.high else pair.translate(_LOWER))

    def encode(self, character: str) -> bytes | None:
        """Return the bytes of a character; None when the set has it not."""
        try:
            coded = character.encode(self.codec)
        except UnicodeEncodeError:
            return None
        found = coded.removeprefix(self.lead)
        if len(coded) != len(self.lead) + self.width or min(found) <= _C1:
            return None
        return found if self.high else found.translate(_LOWER)


def _shifted(pair: bytes) -> bytes:
    """Return a character of JIS X 0208 as Shift JIS has it, with what vendors have added."""
    row, cell = pair[0] - 0xA1, pair[1] - 0xA1
    lead = row // 2 + (0x81 if row < _ROWS_BELOW else 0xC1)
    trail = cell + 0x9F if row % 2 else cell + 0x40 + (cell >= _CELLS_BELOW)
    return bytes((lead, trail))


_ROWS_BELOW: Final = 62
_CELLS_BELOW: Final = 63
GraphicSet = SingleByte | DoubleByte


def _latin(number: int, codec: str, final: bytes) -> SingleByte:
    """Return the upper half of an ISO 8859 part."""
    upper = bytes(range(_C1 + 1, 256)).decode(codec, "replace").replace("\ufffd", _NOTHING)
    return SingleByte(number, b"\x1b-" + final, codec, _NOTHING * (_C1 + 1) + upper, high=True)


def _ascii(number: int, final: bytes, others: Mapping[int, str]) -> SingleByte:
    table = "".join(others.get(byte, chr(byte)) for byte in range(_HIGH)).ljust(256, _NOTHING)
    return SingleByte(number, b"\x1b(" + final, "ascii", table, high=False)


_KATAKANA_TABLE: Final = "".join(map(chr, range(0xFF61, 0xFFA0))).rjust(0xE0, _NOTHING)
ASCII: Final = _ascii(6, b"B", {})
ROMAJI: Final = _ascii(14, b"J", {0x5C: "\u00a5", 0x7E: "\u203e"})
KATAKANA: Final = SingleByte(
    13, b"\x1b)I", "shift_jis", _KATAKANA_TABLE.ljust(256, _NOTHING), high=True
)
KANJI: Final = DoubleByte(87, b"\x1b$B", "euc_jp", high=False, wider=("cp932",))
MORE_KANJI: Final = DoubleByte(159, b"\x1b$(D", "euc_jp", high=False, lead=b"\x8f")
KOREAN: Final = DoubleByte(149, b"\x1b$)C", "euc_kr", high=True, wider=("cp949",))
CHINESE: Final = DoubleByte(58, b"\x1b$)A", "gb2312", high=True, wider=("gbk", "gb18030"))
SETS: Final[Mapping[int, GraphicSet]] = {
    one.number: one
    for one in (
        _latin(100, "latin_1", b"A"),
        _latin(101, "iso8859_2", b"B"),
        _latin(109, "iso8859_3", b"C"),
        _latin(110, "iso8859_4", b"D"),
        _latin(126, "iso8859_7", b"F"),
        _latin(127, "iso8859_6", b"G"),
        _latin(138, "iso8859_8", b"H"),
        _latin(144, "iso8859_5", b"L"),
        _latin(148, "iso8859_9", b"M"),
        _latin(166, "iso8859_11", b"T"),
        _latin(203, "iso8859_15", b"b"),
        ASCII,
        ROMAJI,
        KATAKANA,
        KANJI,
        MORE_KANJI,
        KOREAN,
        CHINESE,
    )
}
"""By the number of the ISO registry."""
_ESCAPES: Final[Mapping[bytes, GraphicSet]] = {one.escape: one for one in SETS.values()} | {
    # Not of DICOM, but of ISO 2022, and met: the other half, the first edition of JIS X 0208.
    b"\x1b$@": KANJI,
    b"\x1b$(B": KANJI,
    b"\x1b$)B": replace(KANJI, high=True),
    b"\x1b$A": replace(CHINESE, high=False),
    b"\x1b$(A": replace(CHINESE, high=False),
    b"\x1b$(C": replace(KOREAN, high=False),
    b"\x1b(I": replace(KATAKANA, high=False, table=_KATAKANA_TABLE[_HIGH:].ljust(256, _NOTHING)),
    b"\x1b(H": ROMAJI,
}


def has_escapes(raw: bytes) -> bool:
    """Tell whether there is an escape sequence of a set that is known here."""
    return b"\x1b" in raw and any(
        found["escape"] in _ESCAPES for found in _TOKEN.finditer(raw) if found["escape"]
    )


@dataclass(frozen=True)
class InForce:
    """The sets in force where a value begins; no G1 while value 1 says none."""

    low: GraphicSet = ASCII
    high: GraphicSet | None = None


class _Text:
    """Reads one element."""

    def __init__(self, first: InForce, delimiters: bytes, errors: str) -> None:
        self._first = first
        self._delimiters = delimiters
        self._errors = errors
        self._low = first.low
        self._high = first.high
        self._last_high = first.high

    def read(self, raw: bytes) -> str:
        readers: dict[str, Callable[[bytes], str]] = {
            "escape": self._escape,
            "low": self._low_run,
            "high": self._high_run,
            "other": self._other,
        }
        found: list[str] = []
        at = 0
        while at < len(raw):
            token = _TOKEN.match(raw, at)
            if token is None:  # an ESC that begins no sequence
                found.append(self._other(raw[at : at + 1]))
                at += 1
                continue
            found.append(readers[token.lastgroup or "other"](token[0]))
            at = token.end()
        return "".join(found)

    def _escape(self, sequence: bytes) -> str:
        put = _ESCAPES.get(sequence)
        if put is None:
            self._must_be_lenient(sequence)
            return sequence.decode("ascii")
        if put.high:
            self._high = self._last_high = put
        else:
            self._low = put
        return ""

    def _other(self, raw: bytes) -> str:
        if raw in _RESETTING:
            self._reset()
        return raw.decode("ascii")

    def _reset(self) -> None:
        self._low, self._high = self._first.low, self._first.high

    def _low_run(self, run: bytes) -> str:
        if self._low.width == 1:
            return "".join(self._single(piece) for piece in self._pieces(run))
        if not len(run) % 2:
            return self._low.decode(run, self._errors)
        cut = self._delimiter_within(run)
        if cut is None:
            self._must_be_lenient(run)
            return self._low.decode(run[:-1], self._errors) + as_octal(run[-1:])
        if cut < len(run) - 1:
            self._must_be_lenient(run)  # it has not switched back before the delimiter
        shown = self._low.decode(run[:cut], self._errors) + chr(run[cut])
        if cut == len(run) - 1:
            self._reset()
        return shown + self._low.decode(run[cut + 1 :], self._errors)

    def _delimiter_within(self, run: bytes) -> int | None:
        """Return where a delimiter stands among characters of two bytes, at the end at best."""
        within = range(2, len(run) - 1 if len(run) <= _NAME_BYTES else 2, 2)
        places: tuple[int, ...] = (len(run) - 1, *within)
        for at in places:
            if run[at] in self._delimiters:
                try:
                    self._low.decode(run[:at], "strict")
                    self._low.decode(run[at + 1 :], "strict")
                except UnicodeDecodeError:
                    continue
                return at
        return None

    def _must_be_lenient(self, run: bytes) -> None:
        if self._errors == "strict":
            raise UnicodeDecodeError("iso2022", run, 0, len(run), "half a character")

    def _pieces(self, run: bytes) -> Iterator[bytes]:
        if not self._delimiters:
            return iter((run,))
        split = re.split(b"([" + re.escape(self._delimiters) + b"])", run)
        return (piece for piece in split if piece)

    def _single(self, piece: bytes) -> str:
        if len(piece) == 1 and piece in self._delimiters:
            self._reset()
            return piece.decode("ascii")
        return self._low.decode(piece, self._errors)

    def _high_run(self, run: bytes) -> str:
        high = self._high
        if high is None:
            self._must_be_lenient(run)
            high = self._last_high
        if high is None:
            return as_octal(run)
        odd = len(run) % high.width
        if not odd:
            return high.decode(run, self._errors)
        self._must_be_lenient(run)
        return high.decode(run[:-1], self._errors) + as_octal(run[-1:])


def decode(raw: bytes, first: InForce, vr: str, errors: str = "strict") -> str:
    """Return the text of an element, its delimiters and control characters as they are.

    Args:
        raw: its bytes.
        first: what value 1 of (0008,0005) puts in force.
        vr: of the element.
        errors: "strict", or `OCTAL`: then every byte is readable, and what senders leave out
            (an escape sequence after a delimiter or before one) is guessed.

    Raises:
        UnicodeDecodeError: with "strict", something is not as the standard has it.
    """
    return _Text(first, DELIMITERS.get(vr, b""), errors).read(raw)


def encode(text: str, first: InForce, others: Sequence[GraphicSet], vr: str) -> bytes:
    """Return the bytes of a text, with the escape sequences that PS3.5 6.1.2.5.3 wants.

    Args:
        text: an element's, with delimiters.
        first: what value 1 of (0008,0005) puts in force.
        others: the sets of the other values, in order.
        vr: of the element.

    Raises:
        UnicodeEncodeError: a character is in none of the sets.
    """
    delimiters = DELIMITERS.get(vr, b"")
    resetting = frozenset((delimiters + _RESETTING).decode("ascii"))
    out = bytearray()
    low, high = first.low, first.high
    for at, character in enumerate(text):
        if character in resetting or ord(character) < _SPACE:
            if low is not first.low:
                out += first.low.escape
            low, high = first.low, first.high
            out += character.encode("ascii")
            continue
        candidates = [one for one in (low, high, first.low, first.high, *others, ASCII) if one]
        coded = [(one, one.encode(character)) for one in candidates]
        # A yen sign is the byte of a backslash: where that separates values it cannot be written.
        fit = ((one, raw) for one, raw in coded if raw and (raw not in delimiters))
        chosen, raw = next(fit, (None, b""))
        if chosen is None or not raw:
            raise UnicodeEncodeError("iso2022", text, at, at + 1, "in none of the character sets")
        if chosen not in (low, high):
            out += chosen.escape
            low, high = (low, chosen) if chosen.high else (chosen, high)
        out += raw
    if low is not first.low:
        out += first.low.escape
    return bytes(out)
