"""docs/mutants.md: a row for each module of the core, as it was last run."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from tests.mutants.running import CAUGHT, SURVIVED, TIMED_OUT, Verdict

BEGIN: Final = "<!-- `make mutants` writes from here -->\n"
END: Final = "<!-- to here -->\n"
_HEAD: Final = "| module | caught | survivors |\n|---|---|---|\n"
_ROW: Final = re.compile(r"^\| `(?P<path>[^`]+)` \|.*\n", re.MULTILINE)


def score(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    """Return (caught, decided): what has run out of its time says nothing on a busy machine."""
    caught = sum(one.result == CAUGHT for one in verdicts)
    return caught, sum(one.result != TIMED_OUT for one in verdicts)


def page_with(page: str, found: Mapping[str, Sequence[Verdict]]) -> str:
    """Return the page with the rows of the modules that were run; the others stay.

    Raises:
        ValueError: the page has no place for them.
    """
    before, begin, rest = page.partition(BEGIN)
    table, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/mutants.md has lost the marks of its table")
    rows = {match["path"]: match[0] for match in _ROW.finditer(table)}
    rows |= {path: _row(path, verdicts) for path, verdicts in found.items() if verdicts}
    return f"{before}{BEGIN}{_HEAD}{''.join(rows[path] for path in sorted(rows))}{END}{after}"


def _row(path: str, verdicts: Sequence[Verdict]) -> str:
    caught, decided = score(verdicts)
    names = (one.name.removeprefix(f"{path}:") for one in verdicts if one.result == SURVIVED)
    survivors = "<br>".join(f"`{name.replace('|', chr(0xA6)).replace('`', '')}`" for name in names)
    undecided = len(verdicts) - decided
    late = f", {undecided} not decided" if undecided else ""
    return f"| `{path}` | {caught} of {decided}{late} | {survivors} |\n"
