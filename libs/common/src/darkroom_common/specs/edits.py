"""What REST takes and the command to metadata seals: an edit of patient and study attributes."""

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, field_validator

from darkroom_common.specs.base import Spec
from darkroom_common.specs.conflicts import PatientText, Why

PURPOSE: Final = "study edit"
"""Of an `Edit` that is sealed, in a command and in the job that it becomes."""
EditAction = Literal["edit", "merge", "move", "split"]
Keyword = Literal[
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "ReferringPhysicianName",
]
PATIENT: Final[frozenset[str]] = frozenset(
    {"PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"}
)
"""What is the patient's; the rest is the study's."""
_TEXT: Final = r"^[^\x00-\x1f\x7f\\]*$"
Value = Annotated[str, StringConstraints(max_length=200, pattern=_TEXT)]


class PatientRef(Spec):
    """A patient by what identifies them."""

    patient_id: PatientText = Field(min_length=1)
    issuer_of_patient_id: PatientText = ""

    @field_validator("patient_id", "issuer_of_patient_id")
    @classmethod
    def _as_stored(cls, text: str) -> str:
        """Leave out the spaces that mean nothing (PS3.5 section 6.2)."""
        return text.strip(" ")

    @property
    def token_text(self) -> str:
        """What the blind token of a patient is made of."""
        return f"{self.issuer_of_patient_id}\x1f{self.patient_id}"


class Edit(Why):
    """What changes, and of what.

    Attributes:
        values: text by keyword; an empty one leaves the attribute there without a value.
        source: all studies of this patient, instead of one study.
        target: the patient that the index knows, whose values are taken.
    """

    values: dict[Keyword, Value] = Field(default_factory=dict)
    source: PatientRef | None = None
    target: PatientRef | None = None
