"""Conflicts as people and programs see them. Values that identify a patient are for some only."""

import datetime as dt
from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, Field
from pydicom.datadict import keyword_for_tag

from darkroom_common.dicom.json_values import texts
from darkroom_common.index.conflicts import Conflict, Side
from darkroom_common.index.rows import Json
from darkroom_common.index.studies import first_text
from darkroom_common.messages.events import ConflictKind, ConflictState

MOST_DIFFERENCES: Final = 200
_LONGEST: Final = 256
_LEFT_OUT: Final = frozenset({"00080005"})
"""The character set: all text is shown in UTF-8."""


class Listed(BaseModel):
    """A conflict, without anything that identifies a patient."""

    conflict_id: str
    kind: ConflictKind
    state: ConflictState
    study_instance_uid: str = Field(description="of what disagrees")
    series_instance_uid: str
    sop_instance_uid: str = Field(description="the instance, or the first that disagrees")
    attributes: list[str] = Field(description="keywords of what disagrees, of kinds with parents")
    size: int = Field(description="bytes of the data set of that instance")
    calling_ae_title: str
    received_at: dt.datetime
    version: int = Field(description="grows with every change; `If-Match` looks at it")
    resolved_at: dt.datetime | None
    resolved_by: str
    remove_after: dt.datetime | None = Field(description="discarded: its object is deleted then")
    removed_at: dt.datetime | None = Field(description="discarded: its object was deleted")


class Patient(BaseModel):
    """Who a side is about, as received."""

    patient_name: str
    patient_id: str
    issuer_of_patient_id: str
    patient_birth_date: str
    patient_sex: str


class ShownSide(BaseModel):
    """One of the two that disagree."""

    study_instance_uid: str
    series_instance_uid: str | None
    instances: int
    size: int | None
    sha256: str | None
    calling_ae_titles: list[str]
    since: dt.datetime
    patient: Patient | None = Field(description="only for whoever may read studies")


class Difference(BaseModel):
    """An attribute that the two have otherwise; empty where one has none or it is no text."""

    tag: str
    keyword: str
    first: str
    other: str


class Decision(BaseModel):
    """What somebody has decided."""

    job_id: str
    action: str
    state: str
    reason: str = Field(description="why it has failed")
    why: str | None = Field(description="said by whoever decided; for whoever may read studies")
    requested_by: str
    created_at: dt.datetime
    finished_at: dt.datetime | None


class Detail(Listed):
    """A conflict with both sides; null for a side that is not there any more."""

    first: ShownSide | None
    other: ShownSide | None
    differences: list[Difference] | None = Field(
        description="at most 200; only for whoever may read studies"
    )
    decisions: list[Decision] = Field(description="the newest 20")


def detail(found: Conflict, why: Callable[[str], str] | None) -> Detail:
    """Return what is shown of a conflict.

    Args:
        found: as the index has it.
        why: opens what is sealed of a decision; None for whoever may not read studies.
    """
    sides = [
        None if side is None else _side(side, phi=why is not None)
        for side in (found.first, found.other)
    ]
    return Detail.model_validate(
        {
            **dict(found.row),
            "first": sides[0],
            "other": sides[1],
            "differences": None if why is None else _differences(found),
            "decisions": [
                {**dict(row), "why": None if why is None else why(row["sealed"])}
                for row in found.decisions
            ],
        }
    )


def _side(side: Side, *, phi: bool) -> ShownSide:
    patient = Patient(
        patient_name=first_text(side.attributes, "PatientName"),
        patient_id=first_text(side.attributes, "PatientID"),
        issuer_of_patient_id=first_text(side.attributes, "IssuerOfPatientID"),
        patient_birth_date=first_text(side.attributes, "PatientBirthDate"),
        patient_sex=first_text(side.attributes, "PatientSex"),
    )
    return ShownSide(
        study_instance_uid=side.study_instance_uid,
        series_instance_uid=side.series_instance_uid,
        instances=side.instances,
        size=side.size,
        sha256=side.sha256,
        calling_ae_titles=list(side.calling_ae_titles),
        since=side.since,
        patient=patient if phi else None,
    )


def _differences(found: Conflict) -> list[Difference]:
    one = found.first.attributes if found.first else {}
    two = found.other.attributes if found.other else {}
    tags = sorted(
        tag for tag in (one.keys() | two.keys()) - _LEFT_OUT if one.get(tag) != two.get(tag)
    )
    return [
        Difference(
            tag=tag,
            keyword=keyword_for_tag(int(tag, 16)),
            first=_all(one, tag),
            other=_all(two, tag),
        )
        for tag in tags[:MOST_DIFFERENCES]
    ]


def _all(attributes: Json, tag: str) -> str:
    element: dict[str, Any] = attributes.get(tag, {})
    if element.get("vr") == "SQ":
        return ""
    return "\\".join(texts(element))[:_LONGEST]
