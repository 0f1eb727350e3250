"""How far back in time a page of the newest matches reaches, when there are many.

Going through the newest studies reads the tokens of each until a page is full: of a name that every
hundredth has, of two thousand. An index of tokens has that name's studies without reading any; so
the two are met: the studies of the last so many days that are in the index under the name.
"""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from darkroom_common.clock import monotonic
from darkroom_common.index.fields import BY_KEYWORD, Level
from darkroom_common.index.matching.values import Range
from darkroom_common.index.query import Condition, Query

_DATE: Final = BY_KEYWORD["StudyDate"]
_REACH: Final = 2
"""Times as many matches as a page needs are expected in its window."""
_WIDER: Final = 4
"""Times as many studies when fewer were in it than were expected: matches come in bunches, and to
count them all takes ten times as long."""
_FARTHEST: Final = 1 << 16
"""Studies: to find out when the last of more was takes as long as it saves."""
_ENTRIES: Final = 50
"""Entries of an index of tokens that are read while the tokens of one study are."""
_STEP: Final = 1024
"""Studies: few sizes are remembered."""
_KEPT: Final = 1_000
_KEPT_SECONDS: Final = 60.0
_NEWEST: Final = (  # study_date
    "SELECT s.study_date FROM index.study s WHERE s.study_date <= $2::date"
    " ORDER BY s.study_date DESC NULLS LAST, s.id DESC LIMIT 1 OFFSET $1::bigint"
)

Ask = Callable[[str, list[Any]], Awaitable[Sequence[Any]]]
"""Runs a statement with its values and returns its rows."""


@dataclass(frozen=True)
class Window:
    """So many of the newest studies.

    Attributes:
        studies: how many.
        until: of this day and before.
    """

    studies: int
    until: dt.date

    @property
    def wider(self) -> "Window | None":
        """A window to look in when a page was not in this one; None: it saves nothing."""
        studies = self.studies * _WIDER
        return Window(studies, self.until) if studies <= _FARTHEST else None

    def narrowed(self, query: Query, day: dt.date) -> Query:
        """Return a search of the studies since a day, up to the end of the window."""
        condition = Condition(_DATE, Range(day, self.until))
        return replace(query, conditions=(*query.conditions, condition))


def undated(query: Query) -> Query:
    """Return a search of every study of the dates of a search."""
    return Query(Level.STUDY, conditions=_dates(query))


def window_of(query: Query, matches: int, every: int) -> Window | None:
    """Return a window in which a page of a search is; None where that saves nothing.

    Args:
        query: of studies, which an index of tokens answers.
        matches: expected of it.
        every: studies of its dates.
    """
    timed = any(one.field.keyword == "StudyTime" for one in query.conditions)
    if timed or not matches:
        return None
    walked = (query.offset + query.limit) * every // matches
    if walked * _ENTRIES < matches or walked * _REACH > min(every, _FARTHEST):
        return None
    until = [dt.date.max]
    for one in _dates(query):
        if not isinstance(one.match, Range):
            return None
        if isinstance(one.match.high, dt.date):
            until.append(one.match.high)
    if query.after is not None:
        if not isinstance(query.after[0], dt.date):
            return None
        until.append(query.after[0])
    return Window(-(-walked * _REACH // _STEP) * _STEP, min(until))


class Days:
    """The days on which windows begin; each is right for as long as it is remembered, a minute.

    Args:
        ask: of the database.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._kept: dict[Window, tuple[float, dt.date | None]] = {}

    async def of(self, window: Window) -> dt.date | None:
        """Return the day of the last study of a window; None where there are not as many."""
        kept = self._kept.get(window)
        if kept is None or monotonic() - kept[0] >= _KEPT_SECONDS:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            rows = await self._ask(_NEWEST, [window.studies, window.until])
            kept = self._kept[window] = monotonic(), rows[0][0] if rows else None
        return kept[1]


def _dates(query: Query) -> tuple[Condition, ...]:
    return tuple(one for one in query.conditions if one.field is _DATE)
