"""A word that many studies have, together with something that few are.

Words are found in an index of `index.study`, a work status in one of `index.listing`. To look at
each study of a word for its status reads as many pages as it has studies. So the few are looked up
by themselves, in an index alone, and PostgreSQL meets their ids with the word in two indexes of one
table: only what both have is looked at.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from darkroom_common.index.fields import Level
from darkroom_common.index.query import Also, Query

RARE: Final = 40_000
"""Ids at most: they go to the database and are looked up one by one."""
FREQUENT: Final = 2_000
"""Studies of a word from which on it takes longer to look at each."""
_AMONG: Final = "s.id = ANY({})"  # study_pkey


async def among_rare(
    query: Query,
    guessed: Callable[[Query], Awaitable[int]],
    ids: Callable[[Query, int], Awaitable[list[int]]],
) -> Query:
    """Return a search for words, narrowed to what `index.listing` alone leaves, if that is rarer.

    Args:
        query: any.
        guessed: tells how many match.
        ids: looks the first of those that match up, at most so many.
    """
    listed = query.of_listing
    if listed is None:
        return query
    frequent = await guessed(Query(Level.STUDY, words=query.words, limit=0))
    if frequent < FREQUENT or await guessed(listed) >= min(RARE, frequent // 2):
        return query
    found = await ids(listed, RARE)
    if len(found) == RARE:  # more of them than were expected
        return query
    return replace(query, listed=(*query.listed, Also(_AMONG, ((found, "bigint[]"),))))
