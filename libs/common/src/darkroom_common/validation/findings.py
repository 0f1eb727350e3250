"""What validation finds. No text of it holds a value of the object: those identify patients."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from pydicom.datadict import keyword_for_tag

MOST: Final = 2000
"""Findings that are told of one object; further ones are counted."""
DATA_SET: Final = "Data Set"
"""In the place of a module: of every element, whatever the IOD."""


class Severity(StrEnum):
    """How grave it is."""

    ERROR = "error"
    WARNING = "warning"


class Kind(StrEnum):
    """What is wrong, for programs."""

    MISSING = "missing"
    EMPTY = "empty"
    NOT_ALLOWED = "not-allowed"
    VALUE = "value"
    TERM = "term"
    MULTIPLICITY = "multiplicity"
    ITEMS = "items"
    VR = "vr"
    FORMAT = "format"
    LENGTH = "length"
    REPERTOIRE = "repertoire"
    STRUCTURE = "structure"
    PIXELS = "pixels"
    GEOMETRY = "geometry"
    CONSISTENCY = "consistency"
    RETIRED = "retired"


@dataclass(frozen=True)
class Place:
    """Where in an object something stands: tags of sequences and numbers of items, from 1."""

    steps: tuple[tuple[int, int], ...] = ()

    def within(self, tag: int, number: int) -> "Place":
        """Return the place of an item of a sequence that stands here."""
        return Place((*self.steps, (tag, number)))

    def path(self) -> tuple[str, ...]:
        """Return it in words."""
        return tuple(f"{named(tag)}[{number}]" for tag, number in self.steps)


ROOT: Final = Place()


@dataclass(frozen=True)
class At:
    """What a finding is of.

    Attributes:
        tag: the attribute; None for the whole object.
        section: of the standard.
        module: its name in PS3.3, or `DATA_SET`.
        place: where the attribute stands.
    """

    tag: int | None
    section: str
    module: str = DATA_SET
    place: Place = ROOT


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        module: its name in PS3.3, or `DATA_SET`.
        tag: of the attribute; None when it is of the whole object.
        path: keywords of the sequences around it, with the number of the item, from 1.
        kind, severity, message: what is wrong, without values.
        section: of the standard.
        count: how often, in other items of the same sequences.
    """

    module: str
    tag: int | None
    path: tuple[str, ...]
    kind: Kind
    severity: Severity
    message: str
    section: str
    count: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return it as REST and the command line show it."""
        return {
            "module": self.module,
            "tag": None if self.tag is None else written(self.tag),
            "keyword": None if self.tag is None else keyword_for_tag(self.tag) or None,
            "path": list(self.path),
            "kind": self.kind.value,
            "severity": self.severity.value,
            "message": self.message,
            "section": self.section,
            "count": self.count,
        }


def written(tag: int) -> str:
    """Return a tag as the standard writes it."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def named(tag: int) -> str:
    """Return the keyword of a tag, or the tag when it has none."""
    return keyword_for_tag(tag) or written(tag)


@dataclass
class Findings:
    """Collects what is found; the same thing in several items is one finding with a count."""

    more: int = 0
    """How many were not kept."""
    _first: dict[tuple[Any, ...], Finding] = field(default_factory=dict)
    _counts: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def add(self, kind: Kind, message: str, at: At, severity: Severity = Severity.ERROR) -> None:
        """Add one."""
        sequences = tuple(step[0] for step in at.place.steps)
        key = (at.module, at.tag, sequences, kind, severity, message)
        if key in self._counts:
            self._counts[key] += 1
        elif len(self._counts) >= MOST:
            self.more += 1
        else:
            self._counts[key] = 1
            path = at.place.path()
            self._first[key] = Finding(at.module, at.tag, path, kind, severity, message, at.section)

    def found(self) -> list[Finding]:
        """Return all, errors first, by module in the order of the IOD."""
        every = [replace(one, count=self._counts[key]) for key, one in self._first.items()]
        return sorted(every, key=lambda one: one.severity is not Severity.ERROR)


@dataclass(frozen=True)
class Report:
    """What is said of one object.

    Attributes:
        sop_class_uid: as the object says.
        iod: the name of what it was held against; None when the table has none.
        modules: names of the modules that were held against it.
        findings: errors first.
        more: findings beyond those.
        unchecked: what could not be checked, in words.
    """

    sop_class_uid: str
    iod: str | None
    modules: Sequence[str]
    findings: Sequence[Finding]
    more: int
    unchecked: Sequence[str]

    @property
    def errors(self) -> int:
        """How many errors."""
        return sum(one.count for one in self.findings if one.severity is Severity.ERROR)

    @property
    def warnings(self) -> int:
        """How many warnings."""
        return sum(one.count for one in self.findings if one.severity is Severity.WARNING)

    def to_json(self) -> dict[str, Any]:
        """Return it as REST and the command line show it."""
        return {
            "sop_class_uid": self.sop_class_uid,
            "iod": self.iod,
            "valid": not self.errors,
            "errors": self.errors,
            "warnings": self.warnings,
            "modules": list(self.modules),
            "findings": [one.to_json() for one in self.findings],
            "more": self.more,
            "unchecked": list(self.unchecked),
        }
