"""What is said of a clinical document, and of a model for manufacturing."""

from typing import Any, Literal

from pydantic import Field

from darkroom_api.objects.spec import DocumentGiven, Uid

Usage = Literal[
    "diagnostic",
    "educational",
    "implant",
    "planning",
    "prosthetic",
    "quality-control",
    "simulation",
    "tool",
]


class ClinicalDocumentGiven(DocumentGiven):
    """What is said of a clinical document (HL7 CDA); its title is its own when none is given."""


class ModelGiven(DocumentGiven):
    """What is said of a model for manufacturing (PS3.3 section C.35)."""

    units: Literal["um", "mm", "cm", "m"] = Field(default="mm", description="of its coordinates")
    usage: Usage = "planning"
    modified: bool = Field(default=False, description="(0068,7001): changed by hand")
    mirrored: bool = Field(default=False, description="(0068,7002): of the other side")
    description: str = Field(default="", max_length=64, pattern=r"^[^\x00-\x1f\x7f\\]*$")
    frame_of_reference_uid: Uid | None = Field(
        default=None, description="of the images it was made of; left out: a new one"
    )
    manufacturer: str = Field(
        default="Darkroom", min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f\\]*$"
    )

    def of_modality(self) -> str:
        """Return the modality of its series."""
        return "M3D"

    def said(self) -> dict[str, Any]:
        """Return what else its header says, by keywords."""
        found = super().said()
        del found["ConversionType"]  # of Secondary Capture Equipment, which this IOD has not
        return found

    def new_uids(self) -> int:
        """Return how many UIDs are needed within it."""
        return 1
