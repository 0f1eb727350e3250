"""Matching that goes by how a value is spelled (PS3.4 section C.2.2.2.1).

The index finds text whatever its case and accents. Of all but names that is more than was asked
for: an answer is looked at once more before it goes out.
"""

from dataclasses import dataclass
from typing import Final

from darkroom_common.index.matching.data_sets import is_spelled, spellings
from darkroom_common.index.rows import Json

EXACT: Final = frozenset({"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT"})
"""VRs of text that is matched as it is spelled."""


@dataclass(frozen=True)
class Spelled:
    """A key of text.

    Attributes:
        tag: of the attribute.
        patterns: one of which a value has to be; with wildcards.
    """

    tag: str
    patterns: tuple[str, ...]

    def holds(self, answer: Json) -> bool:
        """Tell whether an answer has such a value."""
        values = answer.get(self.tag, {}).get("Value", ())
        return any(is_spelled(self.patterns, str(one)) for one in values)


def spelled(tag: str, text: str) -> Spelled:
    """Return what a key of text asks for."""
    return Spelled(tag, spellings(text))
