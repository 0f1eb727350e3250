"""Workbooks for Excel (ECMA-376), row by row: however many there are, few are in memory.

xlsxwriter makes the workbook with its heading, and an empty row that says which style each column
has. The rows go where that is while the archive is written: xlsxwriter itself would keep them in
files in the clear until then. Texts are texts, whatever they begin with, and stay so when somebody
edits the cell (`quotePrefix`).
"""

import datetime as dt
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

import xlsxwriter
from xlsxwriter.utility import xl_col_to_name

from darkroom_api.exports.table import Column, Row, Table, Value, as_text, batches, one_line

_SHEET: Final = "xl/worksheets/sheet1.xml"
_LONGEST: Final = 32_767
_LEVEL: Final = 3
_AT_ONCE: Final = 200
_EPOCH: Final = dt.datetime(1899, 12, 30, tzinfo=dt.UTC)
_FIRST_YEAR: Final = 1901
"""Before it Excel's calendar is not ours, or it has none."""
_FORMATS: Final = {
    "text": {"quote_prefix": True},
    "number": {"num_format": "0"},
    "date": {"num_format": "yyyy-mm-dd"},
    "moment": {"num_format": "yyyy-mm-dd hh:mm:ss"},
}
_ESCAPED: Final = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
_STYLED: Final = re.compile(rb'<c r="[A-Z]+\d+"(?: s="(\d+)")?')
_DIMENSION: Final = re.compile(rb'<dimension ref="[A-Z0-9:]+"/>')
_OPTIONS: Final = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}


def content(table: Table) -> Iterator[bytes]:
    """Yield the file."""
    parts = _parts(table)
    sheet = parts.pop(_SHEET)
    begin = sheet.index(b"</row>") + len(b"</row>")
    end = sheet.index(b"</sheetData>")
    styles = [found[1] or b"0" for found in _STYLED.finditer(sheet, begin, end)]
    written = _Written()
    moment = table.made_at.timetuple()[:6]
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name, moment), data, zipfile.ZIP_DEFLATED)
        entry = zipfile.ZipInfo(_SHEET, moment)
        entry.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(entry, "w") as file:
            file.write(sheet[:begin])
            cells = _cells(table.columns, styles)
            number = 2
            for rows in batches(table.rows, _AT_ONCE):
                file.write(
                    "".join(_row(n, row, cells) for n, row in enumerate(rows, number)).encode()
                )
                number += len(rows)
                yield written.taken()
            file.write(sheet[end:])
    yield written.taken()


def _parts(table: Table) -> dict[str, bytes]:
    """Return the parts of the workbook: its sheet has a heading and an empty row."""
    made = io.BytesIO()
    last = max(table.total, 1)
    with xlsxwriter.Workbook(made, _OPTIONS) as book:
        book.set_properties(
            {
                "title": table.title,
                "author": table.made_for,
                "created": table.made_at.replace(tzinfo=None),
            }
        )
        sheet = book.add_worksheet(table.title[:31])
        heading = book.add_format({"bold": True, "bottom": 1})
        styles = {kind: book.add_format(how) for kind, how in _FORMATS.items()}
        for number, column in enumerate(table.columns):
            sheet.set_column(number, number, column.width)
            sheet.write_string(0, number, column.title, heading)
            sheet.write_blank(1, number, None, styles[column.kind])
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, last, len(table.columns) - 1)
        sheet.repeat_rows(0)
        sheet.set_landscape()
    with zipfile.ZipFile(made) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    corner = f"{xl_col_to_name(len(table.columns) - 1)}{last + 1}"
    parts[_SHEET] = _DIMENSION.sub(f'<dimension ref="A1:{corner}"/>'.encode(), parts[_SHEET])
    return parts


_Cell = Callable[[int, Value], str]


def _cells(columns: Sequence[Column], styles: Sequence[bytes]) -> list[_Cell]:
    return [
        _cell(xl_col_to_name(number), style.decode())
        for number, (_, style) in enumerate(zip(columns, styles, strict=True))
    ]


def _cell(letters: str, style: str) -> _Cell:
    """Return what writes a value of a column into a row."""

    def cell(row: int, value: Value) -> str:
        match value:
            case None | "":
                return ""
            case int():
                return f'<c r="{letters}{row}" s="{style}"><v>{value}</v></c>'
            case dt.date() if value.year >= _FIRST_YEAR:
                return f'<c r="{letters}{row}" s="{style}"><v>{_serial(value)}</v></c>'
            case _:
                said = one_line(as_text(value))
                text = _ESCAPED.sub("_x005F_", escape(said[:_LONGEST]))
                return (
                    f'<c r="{letters}{row}" s="{style}" t="inlineStr">'
                    f'<is><t xml:space="preserve">{text}</t></is></c>'
                )

    return cell


def _row(number: int, row: Row, cells: Sequence[_Cell]) -> str:
    inner = "".join([cell(number, value) for cell, value in zip(cells, row, strict=True)])
    return f'<row r="{number}">{inner}</row>'


def _serial(value: dt.date) -> str:
    """Return a date, or a moment of whatever zone, as the days since Excel's epoch."""
    moment = value if isinstance(value, dt.datetime) else dt.datetime.combine(value, dt.time())
    return f"{(moment.replace(tzinfo=dt.UTC) - _EPOCH) / dt.timedelta(days=1):.10f}"


class _Written:
    """A file that is only written to, and what was written since it was last looked at."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        """Keep what is written."""
        self._held += data
        return len(data)

    def flush(self) -> None:
        """Do nothing: it is looked at from outside."""

    def close(self) -> None:
        """Do nothing, likewise."""

    def taken(self) -> bytes:
        """Return it, once."""
        data = bytes(self._held)
        self._held.clear()
        return data
