"""What a value of a key asks for.

`parse_match` turns the text of one key into the kind of matching that PS3.4 C.2.2.2 gives it:
single value, list of UIDs, wildcard, range, or universal (None, no restriction).
"""

import datetime as dt
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_VM

from darkroom_common.errors import PermanentError
from darkroom_common.index.fields import NUMBERS, Field, Kept, terms
from darkroom_common.postgres.phi import normalise, words

_DATE: Final = re.compile(r"^(\d{4})\.?(\d{2})\.?(\d{2})$")
_TIME: Final = re.compile(r"^([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(?:\.(\d{1,6}))?)?)?$")
_MOMENT: Final = re.compile(r"^\d{4}(\d{2}){0,5}(\.\d{1,6})?([+-]\d{4})?$")
_NUMBER: Final = re.compile(r"^ *[+-]?(\d{1,40}\.?\d{0,40}|\.\d{1,40})([eE][+-]?\d{1,3})? *$")
_SEVERAL: Final = frozenset({"AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC"})
"""VRs of which several values may be asked for at once (PS3.4 C.2.2.2.8)."""
_LISTED: Final = ("ModalitiesInStudy", "Modality", "SOPClassesInStudy")
MAX_TEXT: Final = 4096
MAX_VALUES: Final = 200
"""Of one key."""
MAX_RUNS: Final = 10
"""Of characters that a pattern leaves open by `*`."""
MAX_WORDS: Final = 20
"""Of a value that is matched by its words."""
MAX_INTEGER: Final = 2**31 - 1
Point = dt.date | dt.time | str


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
class AllOf:
    """Each of these is one of its values (PS3.4 C.2.2.2.8). Strings as in `OneOf`."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Empty:
    """Absent, or without a value (PS3.4 C.2.2.2.7)."""


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


Match = OneOf | AllOf | Empty | Number | Wildcard | Range | Fuzzy


@dataclass(frozen=True)
class Matching:
    """Which kinds of matching are asked for beside the usual ones.

    Attributes:
        fuzzy: words of person names are matched by how they begin.
        empty: two quotation marks match what has no value.
        several: of several values of a key each has to be there, not one of them.
    """

    fuzzy: bool = False
    empty: bool = False
    several: bool = False


USUAL: Final = Matching()


def several_values(field: Field, text: str) -> tuple[str, ...]:
    """Return the values of a key that has more than one, all of which have to be there."""
    if field.vr not in _SEVERAL or _multiplicity(field) == "1":
        return ()
    text = bounded(field, text)
    parts = re.split(r"[\\,]", text) if field.keyword in _LISTED else text.split("\\")
    values = [part.strip(" \0") for part in parts if part.strip(" \0")]
    if len(values) > 1 and any("*" in value or "?" in value for value in values):
        raise BadKey(field.keyword, "takes wildcards in a single value only")
    if field.kept is Kept.SEARCHABLE:
        return tuple(terms(field, values)) if len(values) > 1 else ()
    return tuple(values) if len(values) > 1 else ()


def _multiplicity(field: Field) -> str:
    try:
        return dictionary_VM(int(field.tag.rpartition(".")[2], 16))
    except KeyError:  # private
        return "1-n"


def parse_match(field: Field, text: str, *, fuzzy: bool = False) -> Match | None:
    """Return the kind of matching that a key's text asks for; None is universal matching.

    Raises:
        BadKey: the text is not a value of the field's VR.
    """
    text = bounded(field, text.strip(" \0"))
    if not text.strip("*"):
        return None
    if field.vr == "UI":
        return _uids(field, text)
    if field.vr in _RANGES:
        return _RANGES[field.vr](field, text)
    if field.vr in NUMBERS:
        return _numbers(field, text)
    return _texts(field, text, fuzzy=fuzzy)


def _uids(field: Field, text: str) -> Match | None:
    uids = [uid.strip(" \0") for uid in re.split(r"[\\,]", text)]
    if any("*" in uid or "?" in uid for uid in uids):
        raise BadKey(field.keyword, "takes UIDs without wildcards")
    return _one_of([uid for uid in uids if uid])


def _numbers(field: Field, text: str) -> Match | None:
    if field.kept is Kept.SEARCHABLE:
        parts = text.split("\\")
        if not all(map(_NUMBER.match, parts)):
            raise BadKey(field.keyword, "takes numbers")
        return _one_of(terms(field, parts))
    if not re.fullmatch(r"[+-]?\d{1,10}", text) or abs(int(text)) > MAX_INTEGER:
        raise BadKey(field.keyword, "takes an integer")
    return Number(int(text))


def bounded(field: Field, text: str) -> str:
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
        None if low is None else _shortest(low),
        None if high is None else high.strftime("%H%M%S.%f"),
    )


def _shortest(time: dt.time) -> str:
    """Return a moment without the zeros of its fraction: as text it is before all its spellings."""
    whole, _, fraction = time.strftime("%H%M%S.%f").partition(".")
    return f"{whole}.{fraction}".rstrip("0").rstrip(".") if fraction.strip("0") else whole


def _moments(field: Field, text: str) -> Match:
    """Return what a date with its time, of any precision, or a range of two asks for."""
    low, high = (text, text) if _MOMENT.match(text) else _bounds(field, text)
    if not all(_MOMENT.match(bound) for bound in (low, high) if bound is not None):
        raise BadKey(field.keyword, "takes YYYYMMDDHHMMSS.FFFFFF, or a range of two")
    return Range(low, None if high is None else f"{high}~")  # and whatever begins so


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


_RANGES: Final = {"DA": _dates, "TM": _times, "DT": _moments}
