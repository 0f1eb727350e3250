"""Whether a data set of DICOM JSON is as keys ask for (PS3.4 section C.2.2.2)."""

import datetime as dt
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from darkroom_common.dicom.json_values import JsonDataset
from darkroom_common.index.fields import NUMBERS, Field, Kept, Level, terms
from darkroom_common.index.matching.values import (
    Fuzzy,
    Match,
    Number,
    OneOf,
    Range,
    Wildcard,
    parse_match,
)
from darkroom_common.postgres.phi import normalise, words

_FOLDED: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""VRs of which case and accents make no difference to the index."""
_DECIMALS: Final = frozenset({"DS", "FD", "FL"})
_TEXTS: Final = _FOLDED - {"PN"}
"""Of these it makes one to who asks (PS3.4 section C.2.2.2.1)."""


@dataclass(frozen=True)
class Test:
    """What an attribute is asked to be.

    Attributes:
        path: the tags of sequences before its own, and its own.
        spelled: of text that is no name: one of which a value has to be, by its case as well.
    """

    path: str
    vr: str
    match: Match
    spelled: tuple[str, ...] = ()

    def holds(self, data_set: JsonDataset) -> bool:
        """Tell whether one of the values of a data set is as asked."""
        return any(
            _holds(self.match, self.vr, value) and is_spelled(self.spelled, value)
            for value in values_at(data_set, self.path)
        )


def match_of(name: str, vr: str, text: str, *, fuzzy: bool = False) -> Match | None:
    """Return what the text of a key asks for; None: any value.

    Args:
        name: of the key, for errors.
        vr: of its attribute.
        text: as given.
        fuzzy: person names are matched by how their words begin.

    Raises:
        BadKey: it is no value of this VR.
    """
    kept = Kept.SEARCHABLE if vr in _FOLDED or vr in _DECIMALS else Kept.COLUMN
    return parse_match(Field(name, name, vr, Level.STUDY, kept), text, fuzzy=fuzzy)


def test_of(path: str, vr: str, match: Match, text: str) -> Test:
    """Return the test of a key whose text asks for `match`."""
    return Test(path, vr, match, spellings(text) if vr in _TEXTS else ())


def values_at(data_set: JsonDataset, path: str) -> list[str]:
    """Return the values of an attribute, also of one in the items of sequences."""
    return list(_values(data_set, path.split(".")))


def _values(data_set: JsonDataset, path: list[str]) -> Iterator[str]:
    tag, *below = path
    for value in data_set.get(tag, {}).get("Value", ()):
        if below:
            yield from _values(value, below)
        elif isinstance(value, dict):
            yield "=".join(value.get(g, "") for g in ("Alphabetic", "Ideographic", "Phonetic"))
        elif value is not None:
            yield str(value)


def _holds(match: Match, vr: str, value: str) -> bool:
    match match:
        case OneOf(values):
            return not _compared(vr, value).isdisjoint(values)
        case Wildcard(pattern):
            return _is_like(pattern, vr, value)
        case Fuzzy(asked):
            there = words(normalise(value.replace("=", " ")))
            return all(any(one.startswith(word) for one in there) for word in asked)
        case Range(low, high):
            point = _point(vr, value)
            return (
                point is not None
                and (low is None or low <= point)
                and (high is None or point <= high)
            )
        case Number(number):
            return value.strip().lstrip("+-").isdigit() and int(value) == number
        case _:
            raise TypeError("keys of a worklist are not asked for in this way")


def _is_like(pattern: str, vr: str, value: str) -> bool:
    """Tell whether a value is like a pattern; `DOE^*` finds a name without a given part, too."""
    found = _compared(vr, value)
    shorter = pattern.rstrip("^*") if vr == "PN" and pattern.endswith("^*") else ""
    return any(glob(pattern, one) or (shorter and one == shorter) for one in found)


def _compared(vr: str, value: str) -> set[str]:
    """Return what a value is compared by: normalised where case makes no difference."""
    if vr in _FOLDED or vr in NUMBERS:
        kept = Kept.SEARCHABLE if vr in _FOLDED else Kept.COLUMN
        return set(terms(Field("", "", vr, Level.STUDY, kept), [value]))
    return {value.strip(" \0")}


def _point(vr: str, value: str) -> Any:
    """Return what a value is in a range; None: it is none of its VR."""
    try:
        match vr:
            case "DA":
                return date_of(value)
            case "TM":
                return time_of(value)
            case _:
                return value
    except ValueError:
        return None


def date_of(value: str) -> dt.date:
    """Return the day of a DA."""
    return dt.date(int(value[:4]), int(value[4:6]), int(value[6:8]))


def time_of(value: str) -> dt.time:
    """Return the time of a TM."""
    return dt.time.fromisoformat(value)


def spellings(text: str) -> tuple[str, ...]:
    """Return the patterns of a key of text, of one or several values."""
    return tuple(one for part in text.split("\\") if (one := _plain(part)))


def is_spelled(patterns: tuple[str, ...], value: str) -> bool:
    """Tell whether a value is one of some patterns, by its case as well; of none it is."""
    return not patterns or any(glob(one, _plain(value)) for one in patterns)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip(" \0")


def glob(pattern: str, text: str) -> bool:
    """Tell whether a text has the form of a pattern with `*` and `?`, in time of their product."""
    at = here = 0
    star, again = -1, 0
    while here < len(text):
        if at < len(pattern) and pattern[at] in ("?", text[here]) and pattern[at] != "*":
            at, here = at + 1, here + 1
        elif at < len(pattern) and pattern[at] == "*":
            star, again = at, here
            at += 1
        elif star >= 0:
            again += 1
            at, here = star + 1, again
        else:
            return False
    return not pattern[at:].strip("*")
