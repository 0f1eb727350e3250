"""What is said of an object that is to be made, as JSON."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from darkroom_common.messages.base import MessageId
from darkroom_common.specs.remote import Code, LongText

Uid = Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$")]
ExamId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MOST_IMAGES = 200
"""Instances that one object may name."""


class Said(BaseModel):
    """A part of what is said; nothing is taken that nobody knows."""

    model_config = ConfigDict(extra="forbid")


class Given(Said):
    """Whose an object is, and what it says of itself.

    Attributes:
        PART: the part of the form that holds what it is made of; empty: it is made of values alone,
            which are then the whole body.
        NAMES_PIXELS: whether it depends on what pixels the instances have that it refers to.
    """

    PART: ClassVar[str] = ""
    NAMES_PIXELS: ClassVar[bool] = False

    study: ExamId | None = Field(
        default=None,
        description="the accession number or StudyInstanceUID of the study that it becomes part of",
    )
    worklist_entry: MessageId | None = Field(
        default=None, description="instead: the entry of the worklist that it is made for"
    )
    series_instance_uid: Uid | None = Field(
        default=None,
        description="of a series of the study that was made here before, to go on with; left out:"
        " a new one",
    )
    series_description: LongText = ""
    instance_number: int = Field(default=1, ge=1, le=999_999)

    @model_validator(mode="after")
    def check_identity(self) -> Self:
        """Refuse what does not say whose it is, or says it twice."""
        if (self.study is None) is (self.worklist_entry is None):
            raise ValueError("either study or worklist_entry has to be there")
        return self

    @abstractmethod
    def of_modality(self) -> str:
        """Return the modality of its series."""

    def said(self) -> dict[str, Any]:
        """Return what else its header says, by keywords."""
        return {}

    def instances(self) -> Sequence[str]:
        """Return the SOP instance UIDs that it refers to."""
        return ()

    def new_uids(self) -> int:
        """Return how many UIDs are needed within it."""
        return 0


class Shown(Given):
    """What is said of something that shows what somebody has photographed, scanned or written."""

    burned_in_annotation: bool = Field(
        default=True, description="whether it may show who the patient is"
    )

    def said(self) -> dict[str, Any]:
        """Return what else its header says, by keywords."""
        return {"BurnedInAnnotation": "YES" if self.burned_in_annotation else "NO"}


class PictureGiven(Shown):
    """What is said of a picture."""

    PART = "pixels"

    modality: Annotated[Code, StringConstraints(min_length=1)] = Field(
        default="OT", description="OT other, XC photograph, ES endoscopy, ..."
    )
    conversion_type: Literal["DV", "DI", "WSD", "SD", "SI"] = Field(
        default="WSD", description="(0008,0064): WSD workstation, SD scanned document, ..."
    )
    laterality: Literal["", "L", "R"] = Field(default="", description="of paired body parts")

    def of_modality(self) -> str:
        """Return the modality of its series."""
        return self.modality

    def said(self) -> dict[str, Any]:
        """Return what else its header says, by keywords."""
        own = {"ConversionType": self.conversion_type, "Laterality": self.laterality}
        return super().said() | own


class DocumentGiven(Shown):
    """What is said of a document."""

    PART = "document"

    title: LongText = Field(default="", description="(0042,0010)")

    def of_modality(self) -> str:
        """Return the modality of its series."""
        return "DOC"

    def said(self) -> dict[str, Any]:
        """Return what else its header says, by keywords."""
        return super().said() | {"ConversionType": "WSD", "DocumentTitle": self.title}
