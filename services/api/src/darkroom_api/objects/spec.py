"""What is said of an object that is to be made, as JSON."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from darkroom_api.objects.exchange import Kind
from darkroom_common.messages.base import MessageId
from darkroom_common.specs.remote import Code, LongText

NewUid = Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$")]
ExamId = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Given(BaseModel):
    """Whose an object is, and what it says of itself."""

    model_config = ConfigDict(extra="forbid")

    study: ExamId | None = Field(
        default=None,
        description="the accession number or StudyInstanceUID of the study that it becomes part of",
    )
    worklist_entry: MessageId | None = Field(
        default=None, description="instead: the entry of the worklist that it is made for"
    )
    series_instance_uid: NewUid | None = Field(
        default=None,
        description="of a series of the study that was made here before, to go on with; left out:"
        " a new one",
    )
    series_description: LongText = ""
    instance_number: int = Field(default=1, ge=1, le=999_999)
    burned_in_annotation: bool = Field(
        default=True, description="whether it may show who the patient is"
    )

    @model_validator(mode="after")
    def check_identity(self) -> Self:
        """Refuse what does not say whose it is, or says it twice."""
        if (self.study is None) is (self.worklist_entry is None):
            raise ValueError("either study or worklist_entry has to be there")
        return self


class PictureGiven(Given):
    """What is said of a picture."""

    modality: Annotated[Code, StringConstraints(min_length=1)] = Field(
        default="OT", description="OT other, XC photograph, ES endoscopy, ..."
    )
    conversion_type: Literal["DV", "DI", "WSD", "SD", "SI"] = Field(
        default="WSD", description="(0008,0064): WSD workstation, SD scanned document, ..."
    )
    laterality: Literal["", "L", "R"] = Field(default="", description="of paired body parts")


class DocumentGiven(Given):
    """What is said of a document."""

    title: LongText = Field(default="", description="(0042,0010)")


GIVEN: dict[Kind, type[Given]] = {Kind.SECONDARY_CAPTURE: PictureGiven, Kind.PDF: DocumentGiven}
PART: dict[Kind, str] = {Kind.SECONDARY_CAPTURE: "pixels", Kind.PDF: "document"}
"""The part of the form that holds what the object is made of."""
