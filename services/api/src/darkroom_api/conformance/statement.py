"""The statement of what runs: the lines of every service, as tables in the order of annex N."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from darkroom_common.conformance.lines import StatedLine
from darkroom_common.conformance.tables import (
    CONTENTS,
    INTRODUCTION,
    OBJECTS,
    OVERVIEW,
    SECTIONS,
    TABLES,
    TableForm,
)
from darkroom_common.postgres.pool import Connection

TITLE: Final = "DICOM Conformance Statement of Darkroom"
TELLING: Final = ("ingest", "print", "transmit")
"""Services that say something of themselves, beside the api."""
_KEPT: Final = "SELECT service, lines FROM api.stated"  # stated_pkey; six rows at most
_MADE: Final = (
    "This statement is made by the running system from what its services have registered, from"
    " their settings and from their code, in the order of PS3.2 annex N (2024). Each line names"
    " the test that shows it, as pytest does; a line without a test fails the build."
)
_FOR: Final = (
    "For integrators and those who buy: whether two systems work together is decided by a test of"
    " both, for which this is the beginning. Terms are those of PS3.1 to PS3.18."
)
_PRODUCT: Final = (
    "Darkroom receives, keeps, indexes, routes, prints and serves medical images, and makes objects"
    " of its own."
)
_REVISIONS: Final = (
    "There is one statement for each version, made by that version: it names itself above, and what"
    " has changed stands in its CHANGELOG."
)
_WORDS: Final = (
    "AE: application entity. SCU and SCP: user and provider of a service. SOP class: what is done"
    " with which kind of object. Transfer syntax: how an object is encoded."
)
_SHOWN: Final = {OBJECTS: "A"}
"""Labels of sections that have no number."""


@dataclass(frozen=True)
class Section:
    """A section of the statement.

    Attributes:
        label: its number; a letter of an annex.
        paragraphs: before its tables.
    """

    label: str
    title: str
    paragraphs: Sequence[str]
    tables: Sequence[tuple[TableForm, list[StatedLine]]]

    def numbered(self) -> Iterator[tuple[str, TableForm, list[StatedLine]]]:
        """Yield each table with its number."""
        for below, (form, lines) in enumerate(self.tables, 1):
            yield form.number or f"{self.label}.{below}", form, lines


@dataclass(frozen=True)
class Statement:
    """What is said.

    Attributes:
        version: of the software.
        lines: of all tables.
        missing: services that have not told anything yet.
    """

    version: str
    lines: Sequence[StatedLine]
    missing: Sequence[str] = ()

    def sections(self) -> Iterator[Section]:
        """Yield each section with those of its tables that have lines."""
        labels = {one: _SHOWN.get(one, str(number)) for number, one in enumerate(SECTIONS, 1)}
        contents = "; ".join(f"{labels[one]} {one}" for one in SECTIONS) + "."
        texts = {
            OVERVIEW: (_PRODUCT,),
            CONTENTS: (contents,),
            INTRODUCTION: (_MADE, _FOR, _REVISIONS, _WORDS),
        }
        for section in SECTIONS:
            tables = [
                (form, [one for one in self.lines if one.table == name])
                for name, form in TABLES.items()
                if form.section == section
            ]
            held = [(form, lines) for form, lines in tables if lines or not form.columns]
            yield Section(labels[section], section, texts.get(section, ()), held)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "title": TITLE,
            "version": self.version,
            "missing": list(self.missing),
            "sections": [
                {
                    "label": section.label,
                    "title": section.title,
                    "paragraphs": list(section.paragraphs),
                    "tables": [
                        {
                            "number": number,
                            "title": form.title,
                            "about": form.about,
                            "columns": list(form.columns),
                            "lines": [
                                {"cells": list(one.cells), "shown_by": one.shown_by}
                                for one in lines
                            ],
                        }
                        for number, form, lines in section.numbered()
                    ],
                }
                for section in self.sections()
            ],
        }


async def kept(db: Connection) -> dict[str, list[StatedLine]]:
    """Return what the other services have said when they started last."""
    rows = await db.fetch(_KEPT)
    return {
        row["service"]: [StatedLine.model_validate(one) for one in orjson.loads(row["lines"])]
        for row in rows
    }


def statement(
    version: str, own: Iterable[StatedLine], others: dict[str, list[StatedLine]]
) -> Statement:
    """Return the statement of the api's own lines and those of the others."""
    told = [one for service in TELLING for one in others.get(service, ())]
    missing = [service for service in TELLING if service not in others]
    return Statement(version, (*told, *own), missing)
