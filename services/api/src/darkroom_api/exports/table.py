"""What an export is made of: columns and rows, the same for every format."""

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Value = str | int | dt.date | dt.datetime | None
Row = Sequence[Value]
Kind = Literal["text", "number", "date", "moment"]
"""Of the values of a column. A moment has no zone: it is as a modality has it, or UTC."""
_CONTROL: Final = "\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff"
_CONTROLS: Final = re.compile(f"[{_CONTROL}]")
_FORMULA: Final = "[=+\\-@\uff1d\uff0b\uff0d\uff20]"
"""What spreadsheets take for the beginning of a formula, in full width as well."""
_GLANCE: Final = f"(?![=+\\-@\uff1d\uff0b\uff0d\uff20]|[^\\S\n])[^{_CONTROL};]*"
_PLAIN: Final = re.compile(_GLANCE)
"""What is no formula at a glance; nearly everything is."""
_ALL_PLAIN: Final = re.compile(f"(?:{_GLANCE}\n)*{_GLANCE}")
"""The same of several texts, a line end after each but the last."""
_BEGINS_FORMULA: Final = re.compile(rf"\s*{_FORMULA}")
_GOES_ON_WITH_ONE: Final = re.compile(rf";(?=[\s\"]*{_FORMULA})")
"""Where many languages write 1,5, a spreadsheet splits lines at semicolons."""


@dataclass(frozen=True)
class Column:
    """A column of an export.

    Attributes:
        width: in characters, as far as there is room.
    """

    name: str
    title: str
    width: int = 16
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """All of an export.

    Attributes:
        total: rows that were found; fewer come when some are deleted meanwhile.
        rows: can be gone through once.
        made_at: when it was begun, UTC.
        made_for: a user name.
    """

    title: str
    columns: Sequence[Column]
    total: int
    rows: Iterable[Row]
    made_at: dt.datetime
    made_for: str


def one_line(text: str) -> str:
    """Return a text without what is no character to be seen: line ends, tabs, controls."""
    return _CONTROLS.sub(" ", text)


def no_formula(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula when it reads it from a file."""
    if _PLAIN.fullmatch(text):
        return text
    said = one_line(text)
    odd = text[:1] in ("\t", "\r", "\n") or _BEGINS_FORMULA.match(said)
    said = _GOES_ON_WITH_ONE.sub(";'", said)
    return f"'{said}" if odd else said


def no_formulas(texts: list[str]) -> list[str]:
    """Return texts none of which a spreadsheet takes for a formula; see `no_formula`."""
    joined = "\n".join(texts)
    if joined.count("\n") == len(texts) - 1 and _ALL_PLAIN.fullmatch(joined):
        return texts  # at one glance: nearly every row
    return [no_formula(text) for text in texts]


def as_text(value: Value) -> str:
    """Return a value for people: dates as ISO 8601 has them."""
    if type(value) is dt.datetime:
        return str(value)[: len("YYYY-MM-DD hh:mm:ss")]
    return "" if value is None else str(value)


def batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Yield rows some at a time."""
    some: list[Row] = []
    for row in rows:
        some.append(row)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
