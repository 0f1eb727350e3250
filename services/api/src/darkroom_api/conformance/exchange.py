"""What the api and its workers say to each other of the statement."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StatementTask:
    """Make a PDF document of the statement, or a DICOM object that holds it.

    Attributes:
        found: `Statement.to_json`.
        attributes: DICOM JSON of the object; none: the document by itself.
    """

    found: dict[str, Any]
    attributes: dict[str, Any]
