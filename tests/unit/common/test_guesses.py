"""How many studies match, guessed without asking the planner more often than needed."""

import pytest

from darkroom_common.index.fields import Level
from darkroom_common.index.matching import guesses
from darkroom_common.index.matching.guesses import Guesses
from darkroom_common.index.query import Query

EVERY = 1_000_000
OF_WORDS = {(): EVERY, ("smith",): 14_000, ("jo",): 100_000}


class Planner:
    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    async def ask(self, query: Query) -> int:
        self.asked.append(query.words)
        return OF_WORDS[query.words]


def words(*some: str, limit: int = 20) -> Query:
    return Query(Level.STUDY, words=some, limit=limit)


async def test_several_words_are_guessed_by_each_of_them() -> None:
    planner = Planner()
    found = Guesses(planner.ask)
    assert await found.of(words("smith")) == 14_000
    assert await found.of(words("smith", "jo")) == 1_400
    assert planner.asked == [("smith",), (), ("jo",)]
    assert await found.of(words("jo", "smith", limit=50)) == 1_400
    assert len(planner.asked) == 3


async def test_a_number_has_few_until_a_search_has_found_many() -> None:
    planner = Planner()
    found = Guesses(planner.ask)
    number = words("a000123456")
    assert await found.of(number) < 10
    assert await found.of(words("smith", "20251127")) < 10
    assert planner.asked == []
    found.keep(number, 10_001)
    assert await found.of(number) == 10_001


async def test_what_searches_have_found_is_forgotten_after_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(guesses, "monotonic", lambda: now)
    found = Guesses(Planner().ask)
    found.keep(words("jo", "smith"), 7)
    now = 59.0
    assert await found.of(words("jo", "smith")) == 7
    now = 61.0
    assert await found.of(words("jo", "smith")) == 1_400
