"""How many studies match, guessed: whether few are looked up or many gone through hangs on it.

The planner of PostgreSQL is asked, which takes as long as it takes to plan a search; so what it has
said is kept in mind. A guess may be far off: whoever relies on one has another way to go.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from darkroom_common.clock import monotonic
from darkroom_common.index.fields import Level
from darkroom_common.index.query import Query

_KEPT_SECONDS: Final = 60.0
_WORD_SECONDS: Final = 600.0
"""Of a single word: there are few of them, and many searches for two."""
_KEPT: Final = 1_000
"""For the pages of a search and for the searches that everybody makes."""
_NUMBER: Final = 8
"""Characters of a word from which on it is a number of something, if it has digits."""
_FEW: Final = 1
_EVERY: Final = Query(Level.STUDY, limit=0)

Ask = Callable[[Query], Awaitable[int]]
"""Has the planner guess."""


class Guesses:
    """What is guessed of searches.

    Args:
        ask: the planner.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._kept: dict[Query, tuple[float, int]] = {}

    async def of(self, query: Query) -> int:
        """Return how many matches are expected, by the planner or by searches; it may be far off.

        Raises:
            SearchTooLong: see there.
        """
        plain = query.apart_from_page
        kept = self._kept.get(plain)
        if kept is not None and monotonic() < kept[0]:
            return kept[1]
        words = plain.words
        if not words or plain != replace(_EVERY, words=words):
            return self.keep(query, await self._ask(plain))
        if any(len(word) >= _NUMBER and not word.isalpha() for word in words):
            return _FEW
        if len(words) == 1:
            return self._keep(plain, await self._ask(plain), _WORD_SECONDS)
        # As the planner has it: words have nothing to do with each other.
        every = max(1, await self.of(_EVERY))
        found = float(every)
        for word in words:
            found *= await self.of(replace(_EVERY, words=(word,))) / every
        return self.keep(query, int(found))

    def keep(self, query: Query, guess: int) -> int:
        """Keep in mind how many a search has found; return that."""
        return self._keep(query.apart_from_page, guess, _KEPT_SECONDS)

    def _keep(self, plain: Query, guess: int, seconds: float) -> int:
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[plain] = monotonic() + seconds, guess
        return guess
