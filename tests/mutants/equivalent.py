"""Mutants that alter nothing that anybody could see: not drawn, and listed in docs/mutants.md.

Each stands with its reason. A size of what is read, sent or remembered at a time is one of them
when the bytes, or the answers, are the same with another; a limit that keeps a promise is not.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from tests.mutants.operators import Mutant

_COMMON: Final = "libs/common/src/darkroom_common"
_READ: Final = "how much is read at a time; the bytes are the same"
_TRANSMIT: Final = "services/transmit/src/darkroom_transmit"
_WRITTEN: Final = "written anew before it is read"
_ABSENT: Final = "where an empty value would stand is told to nobody"


class Equivalent(NamedTuple):
    """A mutant: its module, the line of code that it changes, `before -> after` there, and why."""

    path: str
    line: str
    change: str
    why: str


EQUIVALENT: Final = (
    Equivalent(f"{_COMMON}/dicom/inflate.py", "_SLICE: Final = 1 << 14", "14 -> 15", _READ),
    Equivalent(
        f"{_COMMON}/dicom/walk.py",
        "self._open = (0, 0)  # tag and start of the open top-level element",
        "0 -> 1",
        _WRITTEN,
    ),
    Equivalent(
        f"{_COMMON}/dicom/walk.py",
        "if stack and begin + used > stack[-1].end:",
        "begin + used -> ((begin) - (used))",
        "an item that ends within a head has ended before it, and is told as damaged all the same",
    ),
    Equivalent(f"{_COMMON}/dimse/wire/pdu.py", "self._context = 0", "0 -> 1", _WRITTEN),
    Equivalent(
        f"{_COMMON}/dimse/wire/pdu.py",
        "taken = min(HEAD - len(self._head), size - at)",
        "size - at -> ((size) + (at))",
        "a slice ends where its bytes do, and nothing follows",
    ),
    Equivalent(
        f"{_COMMON}/dicom/identity.py",
        'sop_instance = _uid(*found.get(_SOP_INSTANCE, (b"", 0)))',
        "0 -> 1",
        _ABSENT,
    ),
    Equivalent(
        f"{_COMMON}/dicom/identity.py",
        'study = _uid(*found.get(_STUDY, (b"", 0)))',
        "0 -> 1",
        _ABSENT,
    ),
    Equivalent(f"{_COMMON}/objects/spool.py", "_READ: Final = 1 << 20", "20 -> 21", _READ),
    Equivalent(
        f"{_COMMON}/dicom/part10.py",
        'walker.values.get(tag, (b"", 0))[0].decode("latin-1").strip("\\x00 ") for tag in _META',
        "0 -> 1",
        "the place of an empty value, of which the bytes alone are taken",
    ),
    Equivalent(
        f"{_TRANSMIT}/retrieval/decision.py",
        'put(made, "StudyInstanceUID", study)',
        'put(made, "StudyInstanceUID", study) put(made, "SeriesInstanceUID", series)'
        ' -> put(made, "SeriesInstanceUID", series) put(made, "StudyInstanceUID", study)',
        "a data set is in the order of its tags however they are put",
    ),
    Equivalent(
        f"{_TRANSMIT}/retrieval/decision.py",
        'put(made, "SOPInstanceUID", "\\\\".join(uids[start : start + MOST_UIDS]))',
        'put(made, "SOPInstanceUID", "\\\\".join(uids[start : start + MOST_UIDS]))'
        " found.append(made) -> found.append(made)"
        ' put(made, "SOPInstanceUID", "\\\\".join(uids[start : start + MOST_UIDS]))',
        "the list has the data set itself, which is whole before anybody has the list",
    ),
    Equivalent(
        f"{_TRANSMIT}/sending/results.py",
        "if outcome.reason:",
        "outcome.reason -> (not (outcome.reason))",
        "whether a line is logged",
    ),
    Equivalent(
        f"{_TRANSMIT}/sending/throttle.py",
        "PIECE: Final = 32 * 1024",
        "32 -> 33",
        "how much is sent at a time under a throttle; the rate is the same",
    ),
)


def without_equivalents(source: bytes, found: Iterable[Mutant]) -> list[Mutant]:
    """Return the mutants of a file that a test could see."""
    known = {one[:3] for one in EQUIVALENT}
    lines = source.decode().splitlines()
    return [
        one for one in found if (one.path, lines[one.line - 1].strip(), _change(one)) not in known
    ]


def _change(one: Mutant) -> str:
    before, after = (" ".join(text.split()) for text in (one.before, one.after))
    return f"{before} -> {after}"


def table() -> str:
    """Return the rows of docs/mutants.md."""
    rows = (
        f"| `{one.path.rpartition('/src/')[2]}` | `{one.line}`: {one.change} | {one.why} |\n"
        for one in sorted(EQUIVALENT)
    )
    return "| module | mutant | why |\n|---|---|---|\n" + "".join(rows)
