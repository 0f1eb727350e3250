"""Comma separated values (RFC 4180) in UTF-8 with a byte order mark.

The mark is what makes Excel read UTF-8; who reads it with Python takes `utf-8-sig`.
"""

import csv
import io
from collections.abc import Callable, Iterator
from typing import Final

from darkroom_api.exports.table import Row, Table, as_text, batches, no_formulas

_AT_ONCE: Final = 500
_GLANCED: Final = 20
"""Rows that are looked at together: nearly all of them are plain."""
_ENDS: Final = "\r\n"
_SIGNS: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", " ")
_ODD: Final = ('"', ";", *(f",{sign}" for sign in _SIGNS))
"""What a line has at most when a text of it has a mark of CSV or may be a formula."""
_ODD_ASCII: Final = tuple(one for one in _ODD if one.isascii())


def content(table: Table) -> Iterator[bytes]:
    """Yield the file. A text that a spreadsheet would calculate begins with an apostrophe."""
    yield b"\xef\xbb\xbf"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=_ENDS)
    writer.writerow([column.title for column in table.columns])
    for rows in batches(table.rows, _AT_ONCE):
        for start in range(0, len(rows), _GLANCED):
            _write(text, rows[start : start + _GLANCED], writer.writerow)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def _write(text: io.StringIO, rows: list[Row], odd: Callable[[list[str]], object]) -> None:
    """Write some rows: at one glance, when none of them is odd, else each by itself.

    Args:
        text: gets them.
        rows: of several columns, or of one.
        odd: writes the texts of an odd one.
    """
    found = [[one if type(one) is str else as_text(one) for one in row] for row in rows]
    lines = [",".join(texts) for texts in found]
    if len(found[0]) > 1 and _is_plain(",".join(lines), sum(map(len, found))):
        text.write(_ENDS.join(lines))
        text.write(_ENDS)
        return
    for texts, line in zip(found, lines, strict=True):
        if _is_plain(line, len(texts)):
            text.write(line)
            text.write(_ENDS)
        else:
            odd(no_formulas(texts))


def _is_plain(line: str, texts: int) -> bool:
    """Tell whether joined texts are CSV as they are, and no formulas: nearly all are."""
    odd = _ODD_ASCII if line.isascii() else _ODD
    return (
        texts > 1  # an empty line is none of one empty text
        and line.count(",") == texts - 1
        and line.isprintable()
        and not line.startswith(_SIGNS)
        and not any(map(line.__contains__, odd))
    )
