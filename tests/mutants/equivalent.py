"""Mutants that alter nothing that anybody could see: not drawn, and listed in docs/mutants.md.

Each stands with its reason. A size of what is read, sent or remembered at a time is one of them
when the bytes, or the answers, are the same with another; a limit that keeps a promise is not.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from tests.mutants.operators import Mutant

_COMMON: Final = "libs/common/src/darkroom_common"
_READ: Final = "how much is read at a time; the bytes are the same"
_WRITTEN: Final = "written anew before it is read"


class Equivalent(NamedTuple):
    """A mutant: its module, the line of code that it changes, `before -> after` there, and why."""

    path: str
    line: str
    change: str
    why: str


EQUIVALENT: Final = (
    Equivalent(f"{_COMMON}/dicom/inflate.py", "_SLICE: Final = 1 << 14", "14 -> 15", _READ),
)


def without_equivalents(source: bytes, found: Iterable[Mutant]) -> list[Mutant]:
    """Return the mutants of a file that a test could see."""
    known = {one[:3] for one in EQUIVALENT}
    lines = source.decode().splitlines()
    return [
        one
        for one in found
        if (one.path, lines[one.line - 1].strip(), f"{one.before} -> {one.after}") not in known
    ]


def table() -> str:
    """Return the rows of docs/mutants.md."""
    rows = (
        f"| `{one.path.rpartition('/src/')[2]}` | `{one.line}`: {one.change} | {one.why} |\n"
        for one in sorted(EQUIVALENT)
    )
    return "| module | mutant | why |\n|---|---|---|\n" + "".join(rows)
