"""An entry of the modality worklist: a scheduled procedure step (PS3.3 sections C.4.10 to C.4.13).

REST takes it, and the request to ingest seals it: it holds who the patient is.
"""

import datetime as dt
from typing import Annotated, Final, Literal

from pydantic import Field, NaiveDatetime, StringConstraints

from darkroom_common.messages.base import Uid
from darkroom_common.specs.base import Spec
from darkroom_common.specs.destinations import ConfiguredAe
from darkroom_common.specs.remote import Code, LongText, ShortText

StepState = Literal[
    "SCHEDULED", "ARRIVED", "READY", "STARTED", "COMPLETED", "DISCONTINUED", "CANCELLED"
]
"""(0040,0020), and CANCELLED: it will not take place."""
OPEN: Final[tuple[StepState, ...]] = ("SCHEDULED", "ARRIVED", "READY", "STARTED")
"""What modalities are told of."""
ENTRY_PURPOSE: Final = "worklist"
"""What entries are sealed for where they are kept."""
STEP_PURPOSE: Final = "performed step"
"""What the attributes of performed steps are sealed for."""
NAME: Final = r"^[^\x00-\x1f\x7f\\]*$"
PersonName = Annotated[str, StringConstraints(max_length=200, pattern=NAME)]
"""`Family^Given^Middle^Prefix^Suffix`, with up to three groups between `=`."""
LongDescription = Annotated[str, StringConstraints(max_length=1024, pattern=NAME)]


class Coded(Spec):
    """A coded concept (PS3.3 table 8.8-1)."""

    code: Annotated[ShortText, StringConstraints(min_length=1)]
    scheme: Annotated[ShortText, StringConstraints(min_length=1)]
    meaning: Annotated[LongText, StringConstraints(min_length=1)]


class WorklistEntry(Spec):
    """What is to be done with a patient, where and when."""

    patient_name: Annotated[PersonName, StringConstraints(min_length=1)]
    patient_id: Annotated[LongText, StringConstraints(min_length=1)]
    issuer_of_patient_id: LongText = ""
    patient_birth_date: dt.date | None = None
    patient_sex: Literal["", "M", "F", "O"] = ""
    patient_weight: float | None = Field(default=None, gt=0, le=1000, description="kg")
    patient_size: float | None = Field(default=None, gt=0, le=3, description="m")
    patient_state: LongText = ""
    pregnancy_status: Literal[1, 2, 3, 4] | None = Field(
        default=None, description="1 no, 2 possible, 3 yes, 4 unknown"
    )
    medical_alerts: LongText = ""
    allergies: LongText = ""
    special_needs: LongText = ""
    confidentiality: LongText = ""
    admission_id: LongText = ""
    current_patient_location: LongText = ""

    accession_number: ShortText = ""
    ordered_at: NaiveDatetime | None = Field(
        default=None, description="by the clock of the department; left out: when it comes"
    )
    referring_physician_name: PersonName = ""
    requesting_physician_name: PersonName = ""
    requesting_service: LongText = ""
    requested_procedure_id: ShortText = Field(
        default="", description="left out: the accession number, else that of the step"
    )
    requested_procedure_description: LongText = ""
    requested_procedure_code: Coded | None = None
    requested_procedure_priority: Literal["", "STAT", "HIGH", "ROUTINE", "MEDIUM", "LOW"] = ""
    patient_transport: LongText = ""
    study_instance_uid: Uid | None = Field(
        default=None,
        description="left out: that of the other steps of the accession number, else a new one",
    )

    scheduled_procedure_step_id: ShortText = Field(default="", description="left out: a new one")
    scheduled_at: NaiveDatetime = Field(description="by the clock of the department")
    modality: Annotated[Code, StringConstraints(min_length=1)]
    scheduled_station_ae_titles: tuple[ConfiguredAe, ...] = Field(
        default=(), max_length=20, description="none: any station of the modality"
    )
    scheduled_station_name: ShortText = ""
    scheduled_procedure_step_location: ShortText = ""
    scheduled_procedure_step_description: LongText = ""
    scheduled_protocol_codes: tuple[Coded, ...] = Field(default=(), max_length=20)
    scheduled_performing_physician_name: PersonName = ""
    pre_medication: LongText = ""
    requested_contrast_agent: LongText = ""
    comments: LongDescription = ""
    state: StepState = "SCHEDULED"
