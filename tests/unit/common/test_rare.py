"""When a frequent word is met with what few studies are by their ids."""

from dataclasses import replace

import pytest

from darkroom_common.index.fields import BY_KEYWORD, Level
from darkroom_common.index.matching import rare
from darkroom_common.index.matching.rare import among_rare
from darkroom_common.index.matching.values import OneOf
from darkroom_common.index.query import Also, Condition, Query

PENDING = Also("x.exam_status = {}", (("pending", "text"),))
WORD = Query(Level.STUDY, words=("chest",), listed=(PENDING,), limit=20)


async def narrowed(query: Query, *, of_word: int, of_listing: int, ids: list[int]) -> Query:
    async def guessed(one: Query) -> int:
        return of_word if one.words else of_listing

    async def first(one: Query, most: int) -> list[int]:
        assert one.is_listed
        return ids[:most]

    return await among_rare(query, guessed, first)


async def test_the_few_are_named_by_their_ids() -> None:
    found = await narrowed(WORD, of_word=90_000, of_listing=100, ids=[3, 1])
    assert found == replace(WORD, listed=(PENDING, Also("s.id = ANY({})", (([3, 1], "bigint[]"),))))


async def test_a_key_of_the_studies_own_rows_does_not_narrow_the_few() -> None:
    name = Condition(BY_KEYWORD["PatientName"], OneOf(("smith",)))
    modality = Condition(BY_KEYWORD["ModalitiesInStudy"], OneOf(("CT",)))
    listed = replace(WORD, conditions=(name, modality)).of_listing
    assert listed is not None
    assert (listed.words, listed.conditions, listed.listed) == ((), (modality,), (PENDING,))


@pytest.mark.parametrize(
    ("query", "of_word", "of_listing"),
    [
        (WORD, rare.FREQUENT - 1, 1),  # a rare word
        (WORD, 90_000, rare.RARE),
        (WORD, 10_000, 6_000),  # about as many of the one as of the other
        (replace(WORD, listed=()), 90_000, 1),  # nothing else is asked for
        (replace(WORD, study_uid="1.2"), 90_000, 1),
        (replace(WORD, words=()), 90_000, 1),
    ],
)
async def test_nothing_is_looked_up_where_that_saves_nothing(
    query: Query, of_word: int, of_listing: int
) -> None:
    assert await narrowed(query, of_word=of_word, of_listing=of_listing, ids=[1]) == query


async def test_more_than_were_guessed_are_not_named() -> None:
    many = list(range(rare.RARE + 1))
    assert await narrowed(WORD, of_word=90_000, of_listing=1, ids=many) == WORD
