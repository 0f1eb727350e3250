"""The statement as Markdown and as HTML."""

from collections.abc import Iterator
from html import escape
from typing import Final

from darkroom_api.conformance.statement import TITLE, Statement

SHOWN_BY: Final = "Shown by"


def away(found: Statement) -> str:
    """Return what there is to say of services that have told nothing; nothing when all have."""
    if not found.missing:
        return ""
    return f"Nothing has been told yet by: {', '.join(found.missing)}. Their lines are missing."


def markdown(found: Statement) -> str:
    """Return the statement as Markdown, with tables."""
    return "\n".join(_markdown(found)) + "\n"


def _markdown(found: Statement) -> Iterator[str]:
    yield f"# {TITLE}"
    yield from ("", f"Version {found.version}.", "")
    if away(found):
        yield from (f"**{away(found)}**", "")
    for section in found.sections():
        yield from (f"## {section.label} {section.title}", "")
        for paragraph in section.paragraphs:
            yield from (paragraph, "")
        for number, form, lines in section.numbered():
            yield from (f"### {number} {form.title}", "")
            if form.about:
                yield from (form.about, "")
            if not form.columns:
                continue
            yield _row((*form.columns, SHOWN_BY))
            yield "|" + "---|" * (len(form.columns) + 1)
            for one in lines:
                yield _row((*one.cells, f"`{one.shown_by}`"))
            yield ""


def _row(cells: tuple[str, ...]) -> str:
    said = (one.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for one in cells)
    return f"| {' | '.join(said)} |"


def html(found: Statement) -> str:
    """Return the statement as an HTML document of its own, without script and style."""
    return "\n".join(_html(found)) + "\n"


def _html(found: Statement) -> Iterator[str]:
    yield '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    yield f"<title>{escape(TITLE)}</title></head><body><h1>{escape(TITLE)}</h1>"
    yield f"<p>Version {escape(found.version)}.</p>"
    if away(found):
        yield f"<p><strong>{escape(away(found))}</strong></p>"
    for section in found.sections():
        yield f"<h2>{section.label} {escape(section.title)}</h2>"
        yield from (f"<p>{escape(one)}</p>" for one in section.paragraphs)
        for number, form, lines in section.numbered():
            yield f"<h3>{number} {escape(form.title)}</h3>"
            if form.about:
                yield f"<p>{escape(form.about)}</p>"
            if not form.columns:
                continue
            heads = "".join(f"<th>{escape(one)}</th>" for one in (*form.columns, SHOWN_BY))
            yield f'<table border="1"><thead><tr>{heads}</tr></thead><tbody>'
            for one in lines:
                cells = "".join(f"<td>{escape(cell)}</td>" for cell in one.cells)
                yield f"<tr>{cells}<td><code>{escape(one.shown_by)}</code></td></tr>"
            yield "</tbody></table>"
    yield "</body></html>"
