"""A message of HL7 v2 as text: its character set, its separators, its escape sequences."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import hl7

from darkroom_common.dicom.charset import CharacterSet, character_set, term
from darkroom_common.errors import PermanentError

REQUIRED: Final = "101"
DATA_TYPE: Final = "102"
NOT_IN_TABLE: Final = "103"
TOO_LONG: Final = "104"
SEQUENCE: Final = "100"
MESSAGE_TYPE: Final = "200"
EVENT: Final = "201"
PROCESSING: Final = "202"
VERSION: Final = "203"
UNKNOWN_KEY: Final = "204"
DUPLICATE_KEY: Final = "205"
INTERNAL: Final = "207"
"""Of table 0357, for ERR-3."""
_HEADER: Final = re.compile(rb"MSH([\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e])([^\r\n]*)")
_ENCODING: Final = re.compile(r"[\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]{4,5}")
_CHARACTERS: Final = 17
"""The place of MSH-18 among the fields from MSH-2 on."""
_SEPARATORS: Final = 20_000
"""In one message, at most: each makes objects, and takes 25 microseconds."""
_SEGMENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}")
_HEADERS: Final = frozenset({"MSH", "BHS", "FHS"})
_NAMES: Final = {
    "ASCII": "",
    "UNICODE UTF-8": "ISO_IR 192",
    "UNICODE": "ISO_IR 192",
    "GB 18030-2000": "GB18030",
    "KS X 1001": "ISO 2022 IR 149",
    "ISO IR6": "",
    "CNS 11643-1992": None,
    "BIG-5": None,
    "UNICODE UTF-16": None,
    "UNICODE UTF-32": None,
}
"""Of table 0211, where they are not those of DICOM; None: they are not read."""
NULL: Final = '""'
"""What deletes a value (chapter 2, section 2.5.3)."""
_ANY_VR: Final = "UT"


class NotRead(PermanentError):
    """A message cannot be done. The text names places, never values.

    Attributes:
        code: of table 0357.
        place: segment, its repetition, field and so on, as ERR-2 has it.
        rejected: whether it is about the message's kind, and not about what it says.
    """

    def __init__(self, code: str, reason: str, place: str = "", *, rejected: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.place = place
        self.rejected = rejected


@dataclass(frozen=True)
class Header:
    """What the answer has to say again; read even where nothing else can be.

    Attributes:
        separator: of fields.
        fields: MSH-2 and what follows, as they stand.
        characters: the message's.
    """

    separator: str
    fields: tuple[str, ...]
    characters: CharacterSet

    def field(self, number: int) -> str:
        """Return a field by its number; empty when there is none."""
        at = number - 2
        return self.fields[at] if 0 <= at < len(self.fields) else ""

    @property
    def component(self) -> str:
        """The separator of components."""
        return self.field(2)[:1] or "^"

    def first(self, number: int) -> str:
        """Return the first component of a field."""
        return self.field(number).partition(self.component)[0].strip()


def header_of(raw: bytes, *, assumed: str = "") -> Header:
    """Return the header of a message.

    Args:
        raw: the message.
        assumed: the character set, in the words of (0008,0005), where MSH-18 says none.

    Raises:
        NotRead: it has none, or a character set that is not known.
    """
    found = _HEADER.match(raw.lstrip(b"\r\n \xef\xbb\xbf"))
    if found is None:
        raise NotRead(SEQUENCE, "it does not begin with MSH", "MSH^1", rejected=True)
    separator = found[1].decode("ascii")
    rough = found[2].decode("latin-1").split(separator)
    declared = rough[_CHARACTERS - 1] if len(rough) >= _CHARACTERS else ""
    characters = _characters(declared, rough[0][1:2] if rough else "", assumed)
    try:
        text = characters.strict(found[2], _ANY_VR)
    except UnicodeDecodeError:
        text = found[2].decode("ascii", "replace").replace("\ufffd", "?")
    return Header(separator, tuple(text.split(separator)), characters)


def _characters(declared: str, repetition: str, assumed: str) -> CharacterSet:
    given = [one.strip() for one in (declared.split(repetition) if repetition else [declared])]
    if not any(given):
        return character_set(assumed)
    names = [one.upper() for one in given]
    terms = [_NAMES[one] if one in _NAMES else term(one.replace("/", "-")) for one in names]
    if None in terms:
        raise NotRead(NOT_IN_TABLE, "the character set is not known", "MSH^1^18", rejected=True)
    more = len(terms) > 1
    return character_set("\\".join(_extended(one or "") if more else one or "" for one in terms))


def _extended(name: str) -> str:
    return name.replace("ISO_IR", "ISO 2022 IR")


class Hl7Message:
    """A message whose values can be asked for.

    Raises:
        NotRead: it is not of its character set, or too much of a message.
    """

    def __init__(self, raw: bytes, header: Header) -> None:
        self.header = header
        encoding = header.field(2)
        if not _ENCODING.fullmatch(encoding) or len({header.separator, *encoding}) <= len(encoding):
            raise NotRead(DATA_TYPE, "the separators are none", "MSH^1^2", rejected=True)
        try:
            text = header.characters.strict(raw, _ANY_VR)
        except UnicodeDecodeError:
            reason = "text is not in the character set of MSH-18"
            raise NotRead(DATA_TYPE, reason, "MSH^1^18") from None
        text = text.lstrip("\r\n \ufeff").replace("\r\n", "\r").replace("\n", "\r")
        if sum(map(text.count, ("\r", header.separator, *encoding))) > _SEPARATORS:
            raise NotRead(TOO_LONG, "it has too many fields", rejected=True)
        lines = [line for line in text.split("\r") if line.strip()]
        names = [line.split(header.separator, 1)[0] for line in lines]
        if not all(map(_SEGMENT.fullmatch, names)) or _HEADERS.intersection(names[1:]):
            raise NotRead(SEQUENCE, "a line is no segment of a message")
        self._parsed = hl7.parse("\r".join(lines))
        self._escape = re.compile(
            f"{re.escape(encoding[2])}([^{re.escape(encoding[2])}]*){re.escape(encoding[2])}"
        )
        self._plain = {
            "F": header.separator,
            "S": encoding[0],
            "R": encoding[1],
            "E": encoding[2],
            "T": encoding[3],
            "H": "",
            "N": "",
        }

    def segments(self) -> Iterator["Segment"]:
        """Yield the segments in order."""
        seen: dict[str, int] = {}
        for one in self._parsed:
            name = str(one[0])
            seen[name] = seen.get(name, 0) + 1
            yield Segment(self, name, seen[name], one)

    def first(self, name: str) -> "Segment | None":
        """Return the first segment of a name."""
        return next((one for one in self.segments() if one.name == name), None)

    def plain(self, text: str) -> str:
        """Return a value without escape sequences (chapter 2, section 2.7)."""
        return self._escape.sub(lambda found: self._unescaped(found[1]), text)

    def _unescaped(self, sequence: str) -> str:
        if sequence in self._plain:
            return self._plain[sequence]
        if sequence[:1] == ".":  # of formatted text: a line, a space
            return " "
        if sequence[:1] == "X":
            try:
                return self.header.characters.strict(bytes.fromhex(sequence[1:]), _ANY_VR)
            except ValueError:  # UnicodeDecodeError as well
                raise NotRead(DATA_TYPE, "an escape sequence is none") from None
        if sequence[:1] in {"C", "M"}:
            raise NotRead(DATA_TYPE, "an escape sequence switches the character set")
        return ""  # of one application (Z), or none at all


@dataclass(frozen=True)
class Segment:
    """One segment of a message.

    Attributes:
        number: among those of its name, from 1.
    """

    message: Hl7Message
    name: str
    number: int
    parsed: Any

    def repetitions(self, field: int) -> Iterator["Repetition"]:
        """Yield what a field has, one after the other."""
        if field < len(self.parsed):
            yield from (Repetition(self.message, one) for one in self.parsed[field])

    def value(self, field: int, component: int = 1, subcomponent: int = 1) -> str:
        """Return a value of the first repetition; empty when there is none."""
        first = next(self.repetitions(field), None)
        return "" if first is None else first.value(component, subcomponent)

    def place(self, field: int) -> str:
        """Return where a field is, as ERR-2 has it."""
        return f"{self.name}^{self.number}^{field}"


@dataclass(frozen=True)
class Repetition:
    """One repetition of a field."""

    message: Hl7Message
    parsed: Any

    def value(self, component: int = 1, subcomponent: int = 1) -> str:
        """Return a value, which is `NULL` where one is to be deleted."""
        found = self.parsed
        for level, number in enumerate((component, subcomponent)):
            if isinstance(found, str):
                found = found if number == 1 else ""
            elif level == 1 and len(found) == 1 and number == 1:
                found = found[0]
            else:
                found = found[number - 1] if number <= len(found) else ""
        return self.message.plain(str(found)).strip()
