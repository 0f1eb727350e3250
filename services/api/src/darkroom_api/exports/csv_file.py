"""Comma separated values (RFC 4180) in UTF-8 with a byte order mark.

The mark is what makes Excel read UTF-8; who reads it with Python takes `utf-8-sig`.
"""

import csv
import io
from collections.abc import Iterator
from typing import Final

from darkroom_api.exports.table import Table, as_text, batches, no_formulas

_AT_ONCE: Final = 500


def content(table: Table) -> Iterator[bytes]:
    """Yield the file. A text that a spreadsheet would calculate begins with an apostrophe."""
    yield b"\xef\xbb\xbf"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([column.title for column in table.columns])
    for rows in batches(table.rows, _AT_ONCE):
        writer.writerows(
            no_formulas([one if type(one) is str else as_text(one) for one in row]) for row in rows
        )
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()
