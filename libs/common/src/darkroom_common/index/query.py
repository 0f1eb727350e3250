"""A search of the index as a value: what a QIDO-RS request or a C-FIND identifier asks for.

`parse_match` turns the text of one key into the kind of matching that PS3.4 C.2.2.2 gives it:
single value, list of UIDs, wildcard, range, or universal (None, no restriction).
"""

import datetime as dt
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from darkroom_common.errors import PermanentError
from darkroom_common.index.fields import BY_KEYWORD, Field, Kept, Level, terms
from darkroom_common.postgres.phi import normalise, words

_DATE: Final = re.compile(r"^(\d{4})\.?(\d{2})\.?(\d{2})$")
_TIME: Final = re.compile(r"^([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(?:\.(\d{1,6}))?)?)?$")
_LISTED: Final = ("ModalitiesInStudy", "Modality", "SOPClassesInStudy")
_COMPUTED_KEYS: Final = ("ModalitiesInStudy", "SOPClassesInStudy")
MAX_TEXT: Final = 4096
MAX_VALUES: Final = 200
"""Of one key."""
MAX_GROUPS: Final = 3
"""Of a person name: alphabetic, ideographic and phonetic (PS3.5 section 6.2.1.2)."""
MAX_RUNS: Final = 10
"""Of characters that a pattern leaves open by `*`."""
MAX_WORDS: Final = 20
"""Of a value that is matched by its words."""
MAX_PATTERNS: Final = 10
"""Of all keys of a search: each is compared with every candidate after that was decrypted."""
MAX_INTEGER: Final = 2**31 - 1
Point = dt.date | dt.time | str
FREE_TEXT: Final = tuple(
    BY_KEYWORD[keyword]
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyDescription")
)
"""What the words of a free text are looked for in."""


class BadKey(PermanentError):
    """A key cannot be searched, or not by this value. Neither text holds the value."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


@dataclass(frozen=True)
class OneOf:
    """Equal to one of these. Strings are normalised for encrypted fields, as given for columns."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """Equal to an integer."""

    value: int


@dataclass(frozen=True)
class Wildcard:
    """A pattern with `*` (any run) and `?` (any one character)."""

    pattern: str


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, both included; None is open."""

    low: Point | None
    high: Point | None


@dataclass(frozen=True)
class Fuzzy:
    """Each word begins a word of the value; normalised."""

    words: tuple[str, ...]


Match = OneOf | Number | Wildcard | Range | Fuzzy


@dataclass(frozen=True)
class Condition:
    """One field restricted."""

    field: Field
    match: Match


@dataclass(frozen=True)
class Also:
    """What else has to hold of the study `s`, in words of whoever owns the tables of it.

    Attributes:
        text: an SQL condition, `{}` where a value is bound.
        values: with their SQL types, in order.
    """

    text: str
    values: tuple[tuple[object, str], ...] = ()


@dataclass(frozen=True)
class Query:
    """A search at one level.

    Attributes:
        level: what a result is.
        study_uid: only below this study, when given.
        series_uid: only below this series of it, when given.
        conditions: all have to hold.
        words: each begins a word of one of `FREE_TEXT`; normalised.
        also: what else has to hold.
        statuses: only studies in one of these states; empty is any but `deleted`.
        include: tags wanted beyond the default ones.
        include_all: everything that the index keeps of the level.
        combined: a range of a date and one of its time are one range of moments (PS3.18 8.3.4.1).
        limit: at most so many results.
        offset: results passed over.
        after: of studies alone: study date and row that the page before has ended with.
    """

    level: Level
    study_uid: str | None = None
    series_uid: str | None = None
    conditions: tuple[Condition, ...] = ()
    words: tuple[str, ...] = ()
    also: tuple[Also, ...] = ()
    statuses: tuple[str, ...] = ()
    include: frozenset[str] = frozenset()
    include_all: bool = False
    combined: bool = True
    limit: int = 100
    offset: int = 0
    after: tuple[dt.date | None, int] | None = None

    @property
    def by_tokens(self) -> bool:
        """Whether blind tokens say what matches."""
        return bool(self.words) or any(
            one.field.kept is Kept.SEARCHABLE and not isinstance(one.match, Range)
            for one in self.conditions
        )


def searchable(field: Field) -> bool:
    """Tell whether a field can restrict a search."""
    return field.kept in (Kept.COLUMN, Kept.SEARCHABLE) or field.keyword in _COMPUTED_KEYS


def conditions(field: Field, text: str, *, fuzzy: bool = False) -> tuple[Condition, ...]:
    """Return what the text of a key restricts; nothing when it matches everything.

    Each group of a person name (`alphabetic=ideographic=phonetic`) is a condition of its own.

    Raises:
        BadKey: the field cannot be searched, or the text suits no kind of matching.
    """
    if not searchable(field):
        raise BadKey(field.keyword, "cannot be searched by")
    groups = text.split("=") if field.vr == "PN" else [text]
    if len(groups) > MAX_GROUPS:
        raise BadKey(field.keyword, "has more than three component groups")
    found = (parse_match(field, group, fuzzy=fuzzy) for group in groups)
    return tuple(Condition(field, match) for match in found if match is not None)


def free_words(text: str) -> tuple[str, ...]:
    """Return the words of a free text, each once.

    Raises:
        BadKey: there are too many.
    """
    found = tuple(dict.fromkeys(words(normalise(text))))
    if len(found) > MAX_WORDS:
        raise BadKey("q", f"has more than {MAX_WORDS} words")
    return found


def require_bounded(found: Sequence[Condition]) -> None:
    """Refuse a search that would cost too much, before it is made.

    Raises:
        BadKey: see there.
    """
    if sum(isinstance(one.match, Wildcard | Fuzzy) for one in found) > MAX_PATTERNS:
        raise BadKey("query", f"has more than {MAX_PATTERNS} values with wildcards")


def parse_match(field: Field, text: str, *, fuzzy: bool = False) -> Match | None:
    """Return the kind of matching that a key's text asks for; None is universal matching.

    Raises:
        BadKey: the text is not a value of the field's VR.
    """
    text = _bounded(field, text.strip(" \0"))
    if not text.strip("*"):
        return None
    match field.vr:
        case "UI":
            uids = [uid.strip(" \0") for uid in re.split(r"[\\,]", text)]
            if any("*" in uid or "?" in uid for uid in uids):
                raise BadKey(field.keyword, "takes UIDs without wildcards")
            return _one_of([uid for uid in uids if uid])
        case "DA":
            return _dates(field, text)
        case "TM":
            return _times(field, text)
        case "IS" | "US":
            if not re.fullmatch(r"[+-]?\d{1,10}", text) or abs(int(text)) > MAX_INTEGER:
                raise BadKey(field.keyword, "takes an integer")
            return Number(int(text))
        case _:
            return _texts(field, text, fuzzy=fuzzy)


def _bounded(field: Field, text: str) -> str:
    """Return a text that does not cost too much to search by."""
    if "\0" in text or len(text) > MAX_TEXT:
        raise BadKey(field.keyword, "is not a value that could be stored")
    if len(re.findall(r"\*+", text)) > MAX_RUNS:
        raise BadKey(field.keyword, f"has more than {MAX_RUNS} wildcards *")
    if len(re.split(r"[\\,]", text)) > MAX_VALUES:
        raise BadKey(field.keyword, f"has more than {MAX_VALUES} values")
    return text


def _texts(field: Field, text: str, *, fuzzy: bool) -> Match | None:
    if field.kept is Kept.SEARCHABLE:
        if fuzzy and field.vr == "PN":
            found = tuple(words(normalise(text)))
            if len(found) > MAX_WORDS:
                raise BadKey(field.keyword, f"has more than {MAX_WORDS} words")
            return Fuzzy(found) if found else None
        pattern = normalise(text)  # in full width, a wildcard is one, too
        if "*" in pattern or "?" in pattern:
            return Wildcard(pattern) if pattern.strip("*") else None
        return _one_of(terms(field, text.split("\\")))
    parts = re.split(r"[\\,]", text) if field.keyword in _LISTED else text.split("\\")
    values = [part.strip() for part in parts if part.strip()]
    if len(values) == 1 and ("*" in text or "?" in text):
        return Wildcard(values[0])
    if any("*" in value or "?" in value for value in values):
        raise BadKey(field.keyword, "takes wildcards in a single value only")
    return _one_of(values)


def _one_of(values: list[str]) -> OneOf | None:
    return OneOf(tuple(values)) if values else None


def _bounds(field: Field, text: str) -> tuple[str | None, str | None]:
    low, dash, high = text.partition("-")
    if not dash:
        return text, text
    low, high = low.strip(), high.strip()
    if not low and not high:
        raise BadKey(field.keyword, "is a range without an end")
    return low or None, high or None


def _dates(field: Field, text: str) -> Match:
    low, high = (_date(field, bound) for bound in _bounds(field, text))
    if low is not None and high is not None and low > high:
        raise BadKey(field.keyword, "is a range that ends before it begins")
    if field.kept is not Kept.SEARCHABLE:
        return Range(low, high)
    if low is not None and low == high:
        return OneOf((low.strftime("%Y%m%d"),))
    return Range(
        None if low is None else low.strftime("%Y%m%d"),
        None if high is None else high.strftime("%Y%m%d"),
    )


def _date(field: Field, text: str | None) -> dt.date | None:
    if text is None:
        return None
    found = _DATE.match(text)
    if found is not None:
        with suppress(ValueError):  # no such day: the same answer as another form
            return dt.date(int(found[1]), int(found[2]), int(found[3]))
    raise BadKey(field.keyword, "takes dates as YYYYMMDD, or a range of two")


def _times(field: Field, text: str) -> Match:
    low_text, high_text = _bounds(field, text)
    low = None if low_text is None else _time(field, low_text)[0]
    high = None if high_text is None else _time(field, high_text)[1]
    if low is not None and high is not None and low > high:
        raise BadKey(field.keyword, "is a range that ends before it begins")
    if field.kept is not Kept.SEARCHABLE:
        return Range(low, high)
    return Range(
        None if low is None else low.strftime("%H%M%S.%f").removesuffix(".000000"),
        None if high is None else high.strftime("%H%M%S.%f"),
    )


def _time(field: Field, text: str) -> tuple[dt.time, dt.time]:
    """Return the first and the last moment that a time of any precision names."""
    found = _TIME.match(text)
    if found is None:
        raise BadKey(field.keyword, "takes times as HHMMSS.FFFFFF, or a range of two")
    hour, minute, second, fraction = found.groups()
    start = dt.time(
        int(hour),
        int(minute or 0),
        min(int(second or 0), 59),  # 60 is a leap second
        int((fraction or "").ljust(6, "0")),
    )
    if minute is None:
        return start, start.replace(minute=59, second=59, microsecond=999999)
    if second is None:
        return start, start.replace(second=59, microsecond=999999)
    if fraction is None:
        return start, start.replace(microsecond=999999)
    return start, start.replace(microsecond=start.microsecond + 10 ** (6 - len(fraction)) - 1)


def by_keyword(keyword: str) -> Field:
    """Return a field of the index by its keyword.

    Raises:
        BadKey: the index does not keep it.
    """
    field = BY_KEYWORD.get(keyword)
    if field is None:
        raise BadKey(keyword, "cannot be searched by")
    return field
