"""What the API and its workers say to each other of an object that is to be made."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What can be made, as `POST /api/v1/objects/{kind}` names it."""

    SECONDARY_CAPTURE = "secondary-capture"
    PDF = "pdf"


@dataclass(frozen=True, slots=True)
class MakeTask:
    """Make an object of the bytes that follow the line.

    Attributes:
        kind: of the object.
        attributes: DICOM JSON of what it is to say of patient, study, series and itself.
        size: bytes that follow.
    """

    kind: Kind
    attributes: dict[str, Any]
    size: int
