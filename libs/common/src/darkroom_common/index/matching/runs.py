"""Runs of characters by which a value is found wherever in it they stand (docs/adr/0023).

`index.infix` has of each study the tokens of all pairs and triples of neighbouring characters of
its texts, the two ends of a text counted as characters. A pattern that begins with a wildcard, or
has one in a word, has pairs and triples that every match has, too.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from darkroom_common.index.fields import SEPARATOR, STUDY_SEARCHABLE
from darkroom_common.postgres.phi import BlindIndex

WITH_RUNS: Final = frozenset(
    one.keyword for one in STUDY_SEARCHABLE if one.vr in {"LO", "PN", "SH"}
)
"""Fields of a study that are searched so: those whose values are text."""
MAX_RUNS_KEPT: Final = 2_000
"""Of a study; one with more is looked at by every search."""
_START, _END = "\x02", "\x03"
_PAIR, _TRIPLE = 2, 3
_WILD: Final = re.compile(r"[*?]+")


def runs_of_study(blind: BlindIndex, texts: Mapping[str, str]) -> list[int] | None:
    """Return the tokens of a study's texts, sorted; None when there are too many.

    Args:
        blind: makes them.
        texts: `n` of the study's row.
    """
    found: set[int] = set()
    for keyword in WITH_RUNS & texts.keys():
        for term in texts[keyword].split(SEPARATOR):
            whole = f"{_START}{term}{_END}"
            found.update(_tokens(blind, keyword, (*_cut(whole, _PAIR), *_cut(whole, _TRIPLE))))
            if len(found) > MAX_RUNS_KEPT:
                return None
    return sorted(found)


def asked_runs(blind: BlindIndex, keyword: str, patterns: Iterable[str]) -> list[int]:
    """Return tokens that every value has that matches one of the patterns; sorted.

    Args:
        blind: makes them.
        keyword: of the field.
        patterns: normalised, with `*` and `?`.
    """
    if keyword not in WITH_RUNS:
        return []
    found = [set(_tokens(blind, keyword, _runs(pattern))) for pattern in patterns]
    return sorted(set.intersection(*found)) if found else []


def _runs(pattern: str) -> list[str]:
    """Return the triples of a pattern, and the pair where no more stands between wildcards."""
    found: list[str] = []
    for part in _WILD.split(f"{_START}{pattern}{_END}"):
        found += _cut(part, _TRIPLE) if len(part) >= _TRIPLE else _cut(part, _PAIR)
    return found


def _cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(len(text) - size + 1)]


def _tokens(blind: BlindIndex, keyword: str, runs: Iterable[str]) -> list[int]:
    return [blind.run(keyword, run) for run in runs]
