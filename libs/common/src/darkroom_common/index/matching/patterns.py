"""Wildcards of DICOM (PS3.4 C.2.2.2.4) as patterns of LIKE, and as words that a match has."""

import re
from typing import Final

from darkroom_common.index.fields import Field, Kept
from darkroom_common.index.matching.values import AllOf, Fuzzy, OneOf, Wildcard
from darkroom_common.index.query import Condition

_INDEXED: Final = (
    "StudyDate",
    "ModalitiesInStudy",
    "StudyInstanceUID",
    "Modality",
    "SeriesInstanceUID",
    "SOPInstanceUID",
)
_LITERAL: Final = re.compile(r"[\\%_]")


def like_pattern(pattern: str) -> str:
    """Return a DICOM wildcard pattern as one for LIKE."""
    escaped = _LITERAL.sub(lambda found: "\\" + found.group(), pattern)
    return escaped.replace("*", "%").replace("?", "_")


def patterns_of(of: Field, pattern: str) -> list[str]:
    """Return a wildcard, and what it stands for, too: `DOE^*` finds a name without a given part."""
    found = [pattern]
    if of.vr == "PN" and pattern.endswith("^*") and len(pattern.rstrip("^*")) > 0:
        found.append(pattern.rstrip("^*"))
    return found


def certain_prefixes(pattern: str) -> list[str]:
    """Return the word prefixes that every match of a normalised wildcard pattern has.

    A run of letters and digits counts when something else than a wildcard, or nothing, stands
    before it: in `doe^jo*n` these are `doe` and `jo`, in `*smith` none.
    """
    found: list[str] = []
    current: str | None = ""
    for character in pattern:
        if character in "*?":
            if current:
                found.append(current)
            current = None  # what follows may be the middle of a word
        elif character.isalnum():
            if current is not None:
                current += character
        else:
            if current:
                found.append(current)
            current = ""
    if current:
        found.append(current)
    return found


def is_narrow(condition: Condition) -> bool:
    """Tell whether an index has what a condition asks for, before anything is decrypted."""
    if condition.field.kept is not Kept.SEARCHABLE:
        return condition.field.keyword in _INDEXED
    match condition.match:
        case OneOf() | AllOf() | Fuzzy():
            return True
        case Wildcard(pattern):
            return bool(certain_prefixes(pattern))
        case _:
            return False
