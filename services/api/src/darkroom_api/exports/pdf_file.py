"""Portable documents: a title, a heading on every page, and how many pages there are.

A page is written when it is full: however many there are, one is in memory. Text that runs to the
left is in the order of its characters.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from darkroom_api.exports.pdf_fonts import Fonts, Run
from darkroom_api.exports.pdf_objects import PdfObjects, pdf_text
from darkroom_api.exports.table import Table, as_text, one_line

_SIZE: Final = 7.0
_TITLE_SIZE: Final = 12.0
_LEADING: Final = 9.0
_MARGIN: Final = 28.0
_GAP: Final = 4.0
_MOST_LINES: Final = 3
"""Of a cell."""
_A4, _A3, _A2 = (841.89, 595.28), (1190.55, 841.89), (1683.78, 1190.55)
"""On their side, in points."""
_SIZES: Final = ((10, _A4), (18, _A3))
_PIECE: Final = 1 << 16
_CELLS: Final = 4096
"""That are kept in mind: the same values come again and again."""


class _Pages:
    """Fills the pages of a document from top to bottom."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.objects = PdfObjects()
        self._fonts = Fonts()
        self._catalog, self._tree, self._resources, self._count = (
            self.objects.number() for _ in range(4)
        )
        self._kids: list[int] = []
        size = next((size for most, size in _SIZES if len(table.columns) <= most), _A2)
        self._width, self._height = size
        self._wrapped = lru_cache(maxsize=_CELLS)(self._wrap)
        room = self._width - 2 * _MARGIN
        whole = sum(column.width for column in table.columns)
        self._widths = [room * column.width / whole for column in table.columns]
        self._left = [_MARGIN + sum(self._widths[:n]) for n in range(len(self._widths))]
        self._marks: list[str] = []
        self._begin()

    def _wrap(self, text: str, width: float) -> list[list[Run]]:
        return self._fonts.lines(text, width / _SIZE, _MOST_LINES)

    def _begin(self) -> None:
        """Begin a page with its heading."""
        self._y = self._height - _MARGIN - _TITLE_SIZE
        if not self._kids:
            self._put(_MARGIN, self._y, self._fonts.run(one_line(self._table.title)), _TITLE_SIZE)
            self._y -= 1.6 * _LEADING
            made = self._table.made_at.strftime("%Y-%m-%d %H:%M UTC")
            said = f"{self._table.total} studies, {made}, for {self._table.made_for}"
            self._put(_MARGIN, self._y, self._wrap(one_line(said), self._width)[0])
            self._y -= 1.6 * _LEADING
        self._cells([column.title for column in self._table.columns])
        under = self._y + 0.7 * _LEADING
        right = self._width - _MARGIN
        self._marks.append(f"0.5 w {_MARGIN:.2f} {under:.2f} m {right:.2f} {under:.2f} l S")

    def _put(self, x: float, y: float, runs: Sequence[Run], size: float = _SIZE) -> None:
        shown = [f"/{font} {size:g} Tf <{codes}> Tj" for font, codes in runs]
        if shown:
            self._marks.append(f"BT 1 0 0 1 {x:.2f} {y:.2f} Tm {' '.join(shown)} ET")

    def _cells(self, texts: Sequence[str]) -> None:
        tallest = 1
        for text, left, width in zip(texts, self._left, self._widths, strict=True):
            if not text:
                continue
            lines = self._wrapped(text, width - _GAP)
            tallest = max(tallest, len(lines))
            for number, runs in enumerate(lines):
                self._put(left, self._y - number * _LEADING, runs)
        self._y -= _LEADING * tallest

    def add(self, texts: Sequence[str]) -> None:
        """Add a row, on a new page when this one is full."""
        if self._y < _MARGIN + (_MOST_LINES + 1) * _LEADING:
            self._end()
            self._begin()
        self._cells(texts)

    def _end(self) -> None:
        """Write a page with its number; how many there are is known at the end of all."""
        said = f"Page {len(self._kids) + 1} of "
        x, y = self._width - _MARGIN - 60, _MARGIN - _LEADING
        self._put(x, y, self._fonts.run(said))
        at = x + self._fonts.width(said) * _SIZE
        self._marks.append(f"q 1 0 0 1 {at:.2f} {y:.2f} cm /Count Do Q")
        content = self.objects.stream("\n".join(self._marks).encode("ascii"))
        self._marks.clear()
        page = self.objects.put(
            f"<< /Type /Page /Parent {self._tree} 0 R /MediaBox [0 0 {self._width} {self._height}]"
            f" /Resources {self._resources} 0 R /Contents {content} 0 R >>"
        )
        self._kids.append(page)

    def finish(self) -> bytes:
        """Return the rest of the document."""
        self._end()
        put, count = self.objects.put, len(self._kids)
        self._put(0, 0, self._fonts.run(str(count)))
        entries = "/Type /XObject /Subtype /Form /BBox [0 -10 60 10]"
        entries += f" /Resources {self._resources} 0 R"
        self.objects.stream("\n".join(self._marks).encode("ascii"), entries, self._count)
        fonts = self._fonts.put(self.objects)
        named = " ".join(f"/{name} {number} 0 R" for name, number in fonts.items())
        put(f"<< /Font << {named} >> /XObject << /Count {self._count} 0 R >> >>", self._resources)
        kids = " ".join(f"{kid} 0 R" for kid in self._kids)
        put(f"<< /Type /Pages /Count {count} /Kids [{kids}] >>", self._tree)
        put(f"<< /Type /Catalog /Pages {self._tree} 0 R >>", self._catalog)
        table = self._table
        info = put(
            f"<< /Title {pdf_text(table.title)} /Author {pdf_text(table.made_for)}"
            f" /Creator (Darkroom) /CreationDate (D:{table.made_at:%Y%m%d%H%M%S}Z) >>"
        )
        return self.objects.finish(self._catalog, info)


def content(table: Table) -> Iterator[bytes]:
    """Yield the file."""
    pages = _Pages(table)
    for row in table.rows:
        pages.add([one_line(as_text(value)) for value in row])
        if pages.objects.waiting >= _PIECE:
            yield pages.objects.taken()
    yield pages.finish()
