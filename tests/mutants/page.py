"""docs/mutants.md: a row for each module of the core, as it was last run."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from tests.mutants.running import CAUGHT, SURVIVED, TIMED_OUT, Verdict

BEGIN: Final = "<!-- `make mutants` writes from here -->\n"
END: Final = "<!-- to here -->\n"
NOT_DRAWN: Final = "<!-- `tests/mutants/equivalent.py` writes from here -->\n"
_HEAD: Final = "| module | caught | survivors |\n|---|---|---|\n"
_ROW: Final = re.compile(r"^\| `(?P<path>[^`]+)` \|.*\n", re.MULTILINE)


def score(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    """Return (caught, decided): what has run out of its time says nothing on a busy machine."""
    caught = sum(one.result == CAUGHT for one in verdicts)
    return caught, sum(one.result != TIMED_OUT for one in verdicts)


def without_line(name: str) -> str:
    """Return a survivor's name without its line, which moves when something above it changes."""
    return name.partition(" ")[2]


def survivors(page: str, path: str) -> tuple[int, set[str]]:
    """Return (caught, names of the survivors) of a module's row, as the page has them."""
    for row in _ROW.finditer(page):
        if row["path"] == path:
            caught = re.search(r"\| (\d+) of ", row[0])
            return int(caught[1]) if caught else 0, set(re.findall(r"`([^`]+)`", row[0])[1:])
    return 0, set()


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
    figures = [re.search(r"\| (\d+) of (\d+)", row) for row in rows.values()]
    caught, decided = (sum(int(one[n]) for one in figures if one) for n in (1, 2))
    share = f"\nIn all {caught} of {decided} are caught: {caught / max(decided, 1):.1%}.\n"
    table = "".join(rows[path] for path in sorted(rows))
    return f"{before}{BEGIN}{_HEAD}{table}{share}{END}{after}"


def page_with_not_drawn(page: str, table: str) -> str:
    """Return the page with this table of what is not drawn.

    Raises:
        ValueError: the page has no place for it.
    """
    before, begin, rest = page.partition(NOT_DRAWN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/mutants.md has lost the marks of its table")
    return f"{before}{begin}{table}{end}{after}"


def named(mutant: str, path: str) -> str:
    """Return what a survivor is called in the row of its module."""
    return mutant.removeprefix(f"{path}:").replace("|", chr(0xA6)).replace("`", "")


def _row(path: str, verdicts: Sequence[Verdict]) -> str:
    caught, decided = score(verdicts)
    names = (named(one.name, path) for one in verdicts if one.result == SURVIVED)
    survivors = "<br>".join(f"`{name}`" for name in sorted(names))
    undecided = len(verdicts) - decided
    late = f", {undecided} not decided" if undecided else ""
    return f"| `{path}` | {caught} of {decided}{late} | {survivors} |\n"
