"""Portable documents: a title, a heading on every page, and how many pages there are.

The fonts are embedded, but for Chinese, Japanese and Korean: those are named, and every viewer
brings its own (Adobe's character collections). What no font has is shown as U+FFFD. Text that runs
to the left is in the order of its characters.
"""

import io
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

from reportlab.lib.pagesizes import A2, A3, A4, landscape
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.pdfgen.textobject import PDFTextObject

from darkroom_api.exports.table import Table, as_text, one_line

_DEJAVU: Final = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
_BUNDLED: Final = "Vera.ttf"
"""Of reportlab: Latin letters and their accents, where DejaVu is not installed."""
_TEXT: Final = "Darkroom"
_HAN, _KANA, _HANGUL = "STSong-Light", "HeiseiKakuGo-W5", "HYGothic-Medium"
_ASIAN: Final = (  # first and last code point; the narrower ranges first
    (0x3040, 0x30FF, _KANA),
    (0x31F0, 0x31FF, _KANA),
    (0xFF66, 0xFF9D, _KANA),
    (0x1100, 0x11FF, _HANGUL),
    (0x3130, 0x318F, _HANGUL),
    (0xAC00, 0xD7A3, _HANGUL),
    (0x2E80, 0x9FFF, _HAN),
    (0xF900, 0xFAFF, _HAN),
    (0xFF00, 0xFF65, _HAN),
)
_SIZE: Final = 7.0
_TITLE_SIZE: Final = 12.0
_LEADING: Final = 9.0
_MARGIN: Final = 28.0
_GAP: Final = 4.0
_MOST_LINES: Final = 3
"""Of a cell; what does not go into them ends with an ellipsis."""
_PAGES: Final = "pages"
_SIZES: Final = ((10, A4), (18, A3))
_PIECE: Final = 1 << 20
_REPLACEMENT: Final = "\ufffd"


class _Fonts:
    """Which font has a character, and how wide that is."""

    def __init__(self) -> None:
        path = str(_DEJAVU) if _DEJAVU.exists() else _BUNDLED
        font = TTFont(_TEXT, path)
        pdfmetrics.registerFont(font)
        self._known: dict[int, float] = font.face.charWidths
        self._of = lru_cache(maxsize=8192)(self._find)

    @cached_property
    def _asian(self) -> bool:
        for name in (_HAN, _KANA, _HANGUL):
            pdfmetrics.registerFont(UnicodeCIDFont(name))
        return True

    def _find(self, character: str) -> tuple[str, str, float]:
        """Return the font of a character, what to show for it, and its width for a size of 1."""
        code = ord(character)
        if code in self._known:
            return _TEXT, character, self._known[code] / 1000
        if self._asian and (name := _asian_font(code)):
            return name, character, 1.0
        shown = _REPLACEMENT if ord(_REPLACEMENT) in self._known else "?"
        return _TEXT, shown, self._known[ord(shown)] / 1000

    def lines(self, text: str, width: float) -> list[list[tuple[str, str]]]:
        """Return a text as lines that are not wider, each as runs of (font, text)."""
        found: list[list[tuple[str, str]]] = []
        line: list[tuple[str, str, float]] = []
        used, limit = 0.0, width / _SIZE
        for character in text:
            one = self._of(character)
            if used + one[2] > limit and line:
                if len(found) == _MOST_LINES - 1:
                    line[-1] = self._of("\u2026")
                    break
                rest = _broken(line)
                found.append(_runs(line))
                line, used = rest, sum(kept[2] for kept in rest)
            line.append(one)
            used += one[2]
        return [*found, _runs(line)]


def _asian_font(code: int) -> str:
    return next((name for first, last, name in _ASIAN if first <= code <= last), "")


def _broken(line: list[tuple[str, str, float]]) -> list[tuple[str, str, float]]:
    """Take what follows the last gap of a line out of it, and return that."""
    for at in range(len(line) - 1, len(line) // 2, -1):
        if line[at][1] in " ^-,;/":
            rest = line[at + 1 :]
            del line[at + 1 :]
            return rest
    return []


def _runs(line: Sequence[tuple[str, str, float]]) -> list[tuple[str, str]]:
    runs: list[tuple[str, str]] = []
    for font, character, _ in line:
        if runs and runs[-1][0] == font:
            runs[-1] = (font, runs[-1][1] + character)
        else:
            runs.append((font, character))
    return runs


class _Pages:
    """Fills the pages of a document from top to bottom."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._file = io.BytesIO()
        size = next((size for most, size in _SIZES if len(table.columns) <= most), A2)
        self._width, self._height = landscape(size)
        self._canvas = Canvas(self._file, pagesize=(self._width, self._height), pageCompression=1)
        self._canvas.setTitle(table.title)
        self._canvas.setAuthor(table.made_for)
        self._canvas.setCreator("Darkroom")
        self._fonts = _Fonts()
        self._wrapped = lru_cache(maxsize=20_000)(self._fonts.lines)
        room = self._width - 2 * _MARGIN
        whole = sum(column.width for column in table.columns)
        self._widths = [room * column.width / whole for column in table.columns]
        self._left = [_MARGIN + sum(self._widths[:n]) for n in range(len(self._widths))]
        self._page = 0
        self._text = self._begin()

    def _begin(self) -> PDFTextObject:
        """Begin a page with its heading."""
        self._page += 1
        canvas = self._canvas
        self._text = canvas.beginText()
        self._y = self._height - _MARGIN - _TITLE_SIZE
        if self._page == 1:
            self._text.setFont(_TEXT, _TITLE_SIZE)
            self._text.setTextOrigin(_MARGIN, self._y)
            self._text.textOut(self._table.title)
            self._y -= 1.6 * _LEADING
            made = self._table.made_at.strftime("%Y-%m-%d %H:%M UTC")
            self._line(f"{self._table.total} studies, {made}, for {self._table.made_for}")
            self._y -= 1.6 * _LEADING
        self._cells([column.title for column in self._table.columns])
        canvas.setLineWidth(0.5)
        under = self._y + 0.7 * _LEADING
        canvas.line(_MARGIN, under, self._width - _MARGIN, under)
        return self._text

    def _line(self, text: str) -> None:
        self._put(_MARGIN, self._y, self._fonts.lines(one_line(text), self._width)[0])

    def _put(self, x: float, y: float, runs: Sequence[tuple[str, str]]) -> None:
        self._text.setTextOrigin(x, y)
        for font, text in runs:
            self._text.setFont(font, _SIZE)
            self._text.textOut(text)

    def _cells(self, texts: Sequence[str]) -> None:
        cells = [
            self._wrapped(text, width - _GAP)
            for text, width in zip(texts, self._widths, strict=True)
        ]
        for left, lines in zip(self._left, cells, strict=True):
            for number, runs in enumerate(lines):
                self._put(left, self._y - number * _LEADING, runs)
        self._y -= _LEADING * max(len(lines) for lines in cells)

    def add(self, texts: Sequence[str]) -> None:
        """Add a row, on a new page when this one is full."""
        if self._y < _MARGIN + (_MOST_LINES + 1) * _LEADING:
            self._end()
            self._text = self._begin()
        self._cells(texts)

    def _end(self) -> None:
        """End a page with its number; how many there are is known at the end of all."""
        said = f"Page {self._page} of "
        x = self._width - _MARGIN - 60
        self._put(x, _MARGIN - _LEADING, [(_TEXT, said)])
        self._canvas.drawText(self._text)
        self._canvas.saveState()
        self._canvas.translate(x + pdfmetrics.stringWidth(said, _TEXT, _SIZE), _MARGIN - _LEADING)
        self._canvas.doForm(_PAGES)
        self._canvas.restoreState()
        self._canvas.showPage()

    def finish(self) -> memoryview:
        """Return the document."""
        self._end()
        self._canvas.beginForm(_PAGES, lowery=-10, upperx=60, uppery=10)
        self._canvas.setFont(_TEXT, _SIZE)
        self._canvas.drawString(0, 0, str(self._page))
        self._canvas.endForm()
        self._canvas.save()
        return self._file.getbuffer()


def content(table: Table) -> Iterator[bytes]:
    """Yield the file. Its pages are in memory until all are there, a few hundred bytes a row."""
    pages = _Pages(table)
    for row in table.rows:
        pages.add([one_line(as_text(value)) for value in row])
    whole = pages.finish()
    for start in range(0, len(whole), _PIECE):
        yield bytes(whole[start : start + _PIECE])
