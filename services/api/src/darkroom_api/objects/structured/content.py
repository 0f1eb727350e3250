"""Content items of structured reports (PS3.3 section C.17.3): plain functions to data sets."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from darkroom_api.objects.exchange import Reference
from darkroom_api.objects.writing import coded, decimal, put

CONTAINS: Final = "CONTAINS"
HAS_MODIFIER: Final = "HAS CONCEPT MOD"
HAS_CONTEXT: Final = "HAS OBS CONTEXT"
HAS_PROPERTIES: Final = "HAS PROPERTIES"
_UCUM: Final = "UCUM"
_UNITS: Final = {"1": "no units"}


def _item(relation: str, kind: str, name: Code | None) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relation, kind
    if name is not None:
        item.ConceptNameCodeSequence = [coded(name)]
    return item


def _with(item: Dataset, children: Iterable[Dataset]) -> Dataset:
    held = list(children)
    if held:
        item.ContentSequence = held
    return item


def container(name: Code, children: Iterable[Dataset], *, relation: str = CONTAINS) -> Dataset:
    """Return a CONTAINER, of separate items."""
    item = _item(relation, "CONTAINER", name)
    item.ContinuityOfContent = "SEPARATE"
    return _with(item, children)


def code(name: Code, value: Code, *children: Dataset, relation: str = CONTAINS) -> Dataset:
    """Return a CODE."""
    item = _item(relation, "CODE", name)
    item.ConceptCodeSequence = [coded(value)]
    return _with(item, children)


def number(name: Code, value: float, unit: str, *children: Dataset) -> Dataset:
    """Return a NUM in a unit of UCUM."""
    item = _item(CONTAINS, "NUM", name)
    measured = Dataset()
    measured.MeasurementUnitsCodeSequence = [coded(Code(unit, _UCUM, _UNITS.get(unit, unit)))]
    measured.NumericValue = decimal(value)
    item.MeasuredValueSequence = [measured]
    return _with(item, children)


def text(name: Code, value: str, *, relation: str = CONTAINS) -> Dataset:
    """Return a TEXT."""
    item = _item(relation, "TEXT", name)
    item.TextValue = value
    return item


def uid(name: Code, value: str, *, relation: str = CONTAINS) -> Dataset:
    """Return a UIDREF."""
    item = _item(relation, "UIDREF", name)
    item.UID = value
    return item


def moment(name: Code, value: dt.datetime) -> Dataset:
    """Return a DATETIME, in the time of this host where it has an offset from UTC.

    The offset stands in the header (0008,0201): not every reader takes one in a content item.
    """
    item = _item(CONTAINS, "DATETIME", name)
    local = value if value.tzinfo is None else value.astimezone()
    item.DateTime = f"{local:%Y%m%d%H%M%S}"
    return item


def person(name: Code, value: str, *children: Dataset, relation: str = CONTAINS) -> Dataset:
    """Return a PNAME."""
    item = _item(relation, "PNAME", name)
    item.PersonName = value
    return _with(item, children)


def image(one: Reference, name: Code | None = None, *, relation: str = CONTAINS) -> Dataset:
    """Return an IMAGE."""
    item = _item(relation, "IMAGE", name)
    item.ReferencedSOPSequence = [_referenced(one)]
    return item


def document(found: Dataset, title: Code, children: Iterable[Dataset], template: str) -> None:
    """Make a data set a document (sections C.17.2 and C.17.3): complete, not verified.

    Args:
        found: is given the modules.
        title: of the document.
        children: its content.
        template: its root's, of PS3.16.
    """
    root = Dataset()
    root.MappingResource, root.TemplateIdentifier = "DCMR", template
    put(
        found,
        {
            "ReferencedPerformedProcedureStepSequence": [],
            "CompletionFlag": "COMPLETE",
            "VerificationFlag": "UNVERIFIED",
            "PerformedProcedureCodeSequence": [],
            "ValueType": "CONTAINER",
            "ConceptNameCodeSequence": [coded(title)],
            "ContinuityOfContent": "SEPARATE",
            "ContentTemplateSequence": [root],
            "ContentSequence": list(children),
        },
    )


def evidence(study: str, references: Sequence[Reference]) -> list[Dataset]:
    """Return the Current Requested Procedure Evidence Sequence (section C.17.2.3)."""
    of_study, by_series = Dataset(), []
    ordered = sorted(references, key=lambda one: one.series_instance_uid)
    for series, held in groupby(ordered, key=lambda one: one.series_instance_uid):
        item = Dataset()
        item.SeriesInstanceUID = series
        item.ReferencedSOPSequence = [_referenced(one) for one in held]
        by_series.append(item)
    of_study.StudyInstanceUID, of_study.ReferencedSeriesSequence = study, by_series
    return [of_study] if by_series else []


def by_uid(references: Sequence[Reference]) -> Mapping[str, Reference]:
    """Return references by their SOP instance UIDs."""
    return {one.sop_instance_uid: one for one in references}


def _referenced(one: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = one.sop_class_uid
    item.ReferencedSOPInstanceUID = one.sop_instance_uid
    return item


Values = Mapping[str, Any]
"""What is said of a document, as its kind has it."""
