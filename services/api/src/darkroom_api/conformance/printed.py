"""The statement as a PDF document; made in a worker, since setting its tables takes a second."""

import io
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import PropertySet, getSampleStyleSheet
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.platypus import Flowable, LongTable, Paragraph, SimpleDocTemplate, Spacer, TableStyle

_MARGIN: Final = 36.0
_SIZE: Final = 6.0
_LEADING: Final = 7.5
_PADDING: Final = 2.0
_FONT: Final = "Helvetica"
_GRID: Final = TableStyle(
    [
        ("GRID", (0, 0), (-1, -1), 0.25, colors.grey),
        ("BACKGROUND", (0, 0), (-1, 0), colors.whitesmoke),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("FONT", (0, 0), (-1, -1), _FONT, _SIZE, _LEADING),
        *(
            (f"{side}PADDING", (0, 0), (-1, -1), _PADDING)
            for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")
        ),
    ]
)
_BREAKS: Final = ("::", "/", "_")
"""After which a long name may go on in the next line."""


def document(found: Mapping[str, Any]) -> bytes:
    """Return the PDF of a statement, on A4 on its side, the same bytes for the same statement.

    Args:
        found: `Statement.to_json`.
    """
    made = io.BytesIO()
    page = landscape(A4)
    template = SimpleDocTemplate(
        made,
        pagesize=page,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=found["title"],
        author="Darkroom",
        invariant=1,
    )
    width = page[0] - 2 * _MARGIN
    template.build(list(_flowables(found, width)))
    return made.getvalue()


def _flowables(found: Mapping[str, Any], width: float) -> Iterator[Flowable]:
    styles = getSampleStyleSheet()
    cell = styles["Normal"].clone("cell", fontSize=_SIZE, leading=_LEADING)
    yield Paragraph(escape(found["title"]), styles["Title"])
    yield Paragraph(escape(f"Version {found['version']}."), styles["Normal"])
    if found["missing"]:
        missing = f"Nothing has been told yet by: {', '.join(found['missing'])}."
        yield Paragraph(escape(missing), styles["Normal"])
    for section in found["sections"]:
        number = section["label"]
        yield Paragraph(f"{number} {escape(section['title'])}", styles["Heading1"])
        for paragraph in section["paragraphs"]:
            yield Paragraph(escape(paragraph), styles["Normal"])
            yield Spacer(1, 6)
        for table in section["tables"]:
            yield Paragraph(f"{table['number']} {escape(table['title'])}", styles["Heading2"])
            if table["about"]:
                yield Paragraph(escape(table["about"]), styles["Normal"])
                yield Spacer(1, 4)
            if not table["columns"]:
                continue
            heads = [*table["columns"], "Shown by"]
            rows = [heads, *([*one["cells"], one["shown_by"]] for one in table["lines"])]
            widths = _widths(rows, width)
            said = [
                [_set(text, room, cell) for text, room in zip(row, widths, strict=True)]
                for row in rows
            ]
            yield LongTable(said, colWidths=widths, repeatRows=1, style=_GRID)


def _set(text: str, room: float, style: PropertySet) -> Flowable | str:
    """Return a text as it is where it fits into a line, else as a paragraph, which takes longer."""
    if stringWidth(text, _FONT, _SIZE) < room - 2 * _PADDING:
        return text
    return Paragraph(_breakable(text), style)


def _breakable(text: str) -> str:
    said = escape(text)
    for mark in _BREAKS:
        said = said.replace(mark, f"{mark}\u200b")
    return said.replace("\u200b", "<font size=0.1> </font>")


def _widths(rows: list[list[str]], width: float) -> list[float]:
    """Share the width out by how long the texts of the columns are."""
    longest = [min(60, max(8, *(len(row[at]) for row in rows))) for at in range(len(rows[0]))]
    return [width * one / sum(longest) for one in longest]
