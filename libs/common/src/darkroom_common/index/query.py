"""A search of the index as a value: what a QIDO-RS request or a C-FIND identifier asks for."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from darkroom_common.index.fields import BY_KEYWORD, Field, Kept, Level
from darkroom_common.index.matching.values import (
    MAX_WORDS,
    USUAL,
    AllOf,
    BadKey,
    Empty,
    Fuzzy,
    Match,
    Matching,
    OneOf,
    Range,
    Wildcard,
    parse_match,
    several_values,
)
from darkroom_common.postgres.phi import normalise, words

_COMPUTED_KEYS: Final = ("ModalitiesInStudy", "SOPClassesInStudy")
_EMPTY: Final = '""'
_UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_IN_LISTING: Final = ("StudyDate", "ModalitiesInStudy")
MAX_GROUPS: Final = 3
"""Of a person name: alphabetic, ideographic and phonetic (PS3.5 section 6.2.1.2)."""
MAX_PATTERNS: Final = 10
"""Of all keys of a search: each is compared with every candidate after that was decrypted."""
FREE_TEXT: Final = tuple(
    BY_KEYWORD[keyword]
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyDescription")
)
"""What the words of a free text are looked for in."""


@dataclass(frozen=True)
class Condition:
    """One field restricted."""

    field: Field
    match: Match


@dataclass(frozen=True)
class Also:
    """What else has to hold, in words of whoever knows what it means.

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
        sources: AE titles of which one has sent something of it; empty is any.
        listed: of studies alone: what else has to hold of their rows `x` of `index.listing`.
        statuses: only studies in one of these states; empty is any but `deleted`.
        ordered: of studies alone: days, in UTC, of which their order time is one.
        by_order: of studies alone: the newest order first, and not the newest study.
        include: tags wanted beyond the default ones.
        tags: those that people have named and that are wanted, too.
        include_all: everything that the index keeps of the level.
        combined: a range of a date and one of its time are one range of moments (PS3.18 8.3.4.1).
        limit: at most so many results.
        offset: results passed over.
        after: study date (`by_order`: order time in UTC) and row of the study that the page before
            has ended with; of a patient, nothing and the row.
    """

    level: Level
    study_uid: str | None = None
    series_uid: str | None = None
    conditions: tuple[Condition, ...] = ()
    words: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    listed: tuple[Also, ...] = ()
    statuses: tuple[str, ...] = ()
    ordered: Range | None = None
    by_order: bool = False
    include: frozenset[str] = frozenset()
    tags: tuple[Field, ...] = ()
    include_all: bool = False
    combined: bool = True
    limit: int = 100
    offset: int = 0
    after: tuple[dt.date | dt.datetime | None, int] | None = None

    @property
    def is_pointed(self) -> bool:
        """Whether UIDs say what matches: however many rows there are, few do."""
        return self.study_uid is not None or any(
            one.field.keyword in _UIDS and isinstance(one.match, OneOf) for one in self.conditions
        )

    @property
    def only_study(self) -> str | None:
        """The UID of the study whose rows, and those of its series, alone say what is answered."""
        plain = replace(
            self,
            level=Level.STUDY,
            study_uid=None,
            series_uid=None,
            conditions=(),
            include=frozenset(),
            include_all=False,
            combined=True,
            limit=0,
            offset=0,
        )
        if self.level not in (Level.STUDY, Level.SERIES) or plain != Query(Level.STUDY, limit=0):
            return None
        match self.conditions:
            case ():
                return self.study_uid
            case (Condition(field, OneOf((uid,))),) if field.keyword == _UIDS[0]:
                return uid if self.study_uid is None else None
        return None

    @property
    def is_open(self) -> bool:
        """Whether all that there is matches, from the newest on."""
        narrowed = self.conditions or self.words or self.sources or self.listed or self.statuses
        otherwise = self.ordered or self.by_order
        return not (
            narrowed or otherwise or self.study_uid or self.after or self.level is Level.PATIENT
        )

    @property
    def apart_from_page(self) -> "Query":
        """A query of the same matches, whatever is shown of them."""
        return replace(self, limit=0, offset=0, after=None, include=frozenset(), tags=())

    @property
    def is_listed(self) -> bool:
        """Whether `index.listing` alone says which studies match."""
        return (
            self.level is Level.STUDY
            and not (self.words or self.study_uid)
            and all(one.field.keyword in _IN_LISTING for one in self.conditions)
        )

    @property
    def of_listing(self) -> "Query | None":
        """What `index.listing` alone says of a search for words; None where it says nothing."""
        if not (self.words and self.by_listing) or self.study_uid is not None:
            return None
        kept = tuple(one for one in self.conditions if one.field.keyword in _IN_LISTING)
        return replace(self.apart_from_page, words=(), conditions=kept)

    @property
    def by_listing(self) -> bool:
        """Whether the studies are gone through by their rows of `index.listing`."""
        also = bool(self.listed) or self.ordered is not None or self.by_order
        return self.is_listed or (self.level is Level.STUDY and also)


def searchable(field: Field) -> bool:
    """Tell whether a field can restrict a search."""
    return field.kept in (Kept.COLUMN, Kept.SEARCHABLE) or field.keyword in _COMPUTED_KEYS


def conditions(field: Field, text: str, asked: Matching = USUAL) -> tuple[Condition, ...]:
    """Return what the text of a key restricts; nothing when it matches everything.

    Each group of a person name (`alphabetic=ideographic=phonetic`) is a condition of its own.

    Raises:
        BadKey: the field cannot be searched, or the text suits no kind of matching.
    """
    if not searchable(field):
        raise BadKey(field.keyword, "cannot be searched by")
    if asked.empty and text.strip(" \0") == _EMPTY:
        return (Condition(field, Empty()),)
    if asked.several and (several := several_values(field, text)):
        return (Condition(field, AllOf(several)),)
    groups = text.split("=") if field.vr == "PN" else [text]
    if len(groups) > MAX_GROUPS:
        raise BadKey(field.keyword, "has more than three component groups")
    found = (parse_match(field, group, fuzzy=asked.fuzzy) for group in groups)
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
    if sum(isinstance(one.match, Wildcard | Fuzzy | Empty) for one in found) > MAX_PATTERNS:
        raise BadKey("query", f"has more than {MAX_PATTERNS} values with wildcards")


def by_keyword(keyword: str) -> Field:
    """Return a field of the index by its keyword.

    Raises:
        BadKey: the index does not keep it.
    """
    field = BY_KEYWORD.get(keyword)
    if field is None:
        raise BadKey(keyword, "cannot be searched by")
    return field
