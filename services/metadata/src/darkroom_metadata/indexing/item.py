"""One stored object on its way into the index."""

from collections.abc import Iterable
from dataclasses import dataclass

from darkroom_common.errors import TransientError
from darkroom_common.index.fields import SEPARATOR
from darkroom_common.messages.events import StoredItem
from darkroom_common.postgres.phi import normalise, words
from darkroom_metadata.indexing.extract import Extracted


class LostRace(TransientError):
    """Another indexer has added one of these instances meanwhile: begin again."""


@dataclass(frozen=True)
class Item:
    """One stored object with what was read from it."""

    event: StoredItem
    found: Extracted

    @property
    def sop_instance_uid(self) -> str:
        """The instance's UID."""
        return self.event.sop_instance_uid


def hexadecimal(tokens: Iterable[bytes]) -> str:
    """Return tokens as one text for SQL: bind parameters have no arrays of arrays."""
    return ",".join(token.hex() for token in tokens)


def differ(one: str | None, other: str | None) -> bool:
    """Tell whether two normalised texts say different things; a name may say more than another."""
    if not one or not other:
        return False
    # What an earlier release has made normal is made so again, by today's rules.
    ours, theirs = (
        [set(words(normalise(term))) for term in text.split(SEPARATOR)] for text in (one, other)
    )
    return not any(a <= b or b <= a for a in ours for b in theirs)
