"""What the API and its workers say to each other of an object that is to be made."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What can be made, as `POST /api/v1/objects/{kind}` names it."""

    SECONDARY_CAPTURE = "secondary-capture"
    PDF = "pdf"
    CLINICAL_DOCUMENT = "clinical-document"
    MODEL = "model"
    DX = "dx"
    CR = "cr"
    PRESENTATION_STATE = "presentation-state"
    KEY_OBJECTS = "key-objects"
    TEXT_REPORT = "text-report"
    DOSE_REPORT = "dose-report"


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance of the study that an object refers to, as the index has it.

    Attributes:
        rows, columns: of its pixels; 0: it has none.
        samples: of a pixel; 0: it is not known.
        aspect: how high a pixel is, to how wide it is.
        spacing: millimetres from row to row, and from column to column; empty: it is not known.
        frames: how many it has.
        rescale: slope, intercept and type (PS3.3 C.11.1) of all of it; None: a table says what its
            values mean, or frames differ.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    rows: int = 0
    columns: int = 0
    samples: int = 0
    aspect: tuple[int, int] = (1, 1)
    spacing: tuple[float, ...] = ()
    frames: int = 1
    rescale: tuple[float, float, str] | None = (1.0, 0.0, "")


@dataclass(frozen=True, slots=True)
class MakeTask:
    """Make an object of the bytes that follow the line.

    Attributes:
        kind: of the object.
        attributes: DICOM JSON of what it is to say of patient, study, series and itself.
        size: bytes that follow.
        values: what else was said of it, as its kind has it.
        references: the instances that the values name, in their order.
        uids: new ones, for what needs a UID within it.
    """

    kind: Kind
    attributes: dict[str, Any]
    size: int
    values: dict[str, Any] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()
    uids: tuple[str, ...] = ()
