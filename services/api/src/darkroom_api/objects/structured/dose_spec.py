"""What is said of a report of X-ray dose."""

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from darkroom_api.objects.projection.spec import Amount, BodyPart, Millimetres
from darkroom_api.objects.spec import Given, Said, Uid
from darkroom_common.specs.remote import LongText

Text = Annotated[LongText, StringConstraints(min_length=1)]
MOST_EVENTS: Final = 500
_ALL_BUT_ONE: Final = 2


class Device(Said):
    """The X-ray system that has irradiated."""

    manufacturer: Text
    model: Text
    serial: Text
    software: Text = "unknown"
    name: LongText = ""
    uid: Uid | None = Field(default=None, description="(0018,1002); left out: a new one")


class Filter(Said):
    """What stood in the beam."""

    material: Literal["aluminium", "copper", "molybdenum", "rhodium", "silver"]
    thickness_minimum: Amount = Field(description="mm")
    thickness_maximum: Amount = Field(description="mm")


class Event(Said):
    """One irradiation event (PS3.16 TID 10003)."""

    uid: Uid | None = Field(default=None, description="left out: a new one")
    started: dt.datetime
    kind: Literal["stationary", "stepping", "rotational", "fluoroscopy"] = "stationary"
    protocol: LongText = ""
    body_part: BodyPart
    laterality: Literal["", "L", "R", "B"] = ""
    dose_area_product: Amount | None = Field(
        default=None, description="Gy m2; left out of any: the total has to be given"
    )
    dose: Amount | None = Field(default=None, description="Gy at the reference point")
    kvp: Amount | None = Field(default=None, description="kV")
    tube_current: Amount | None = Field(default=None, description="mA")
    exposure_time: Amount | None = Field(default=None, description="ms")
    exposure: Amount | None = Field(default=None, description="uA s")
    pulses: int | None = Field(default=None, ge=1, le=1_000_000)
    frames: int = Field(default=1, ge=1, le=1_000_000)
    distance_source_to_detector: Millimetres | None = None
    exposure_index: Amount | None = None
    target_exposure_index: Amount | None = None
    deviation_index: float | None = Field(default=None, ge=-100, le=100, allow_inf_nan=False)
    filters: list[Filter] = Field(default_factory=list, max_length=10)
    image: Uid | None = Field(default=None, description="of the study, that it has made")


class DoseReportGiven(Given):
    """What is said of a report of the dose of projection X-rays in a study (PS3.16 TID 10001)."""

    mpps: Uid | None = Field(
        default=None,
        description="instead of study, device and events: the performed procedure step (MPPS) that"
        " has told of dose (permission mpps:read); what is given here beside goes before it",
    )
    body_part: BodyPart | None = Field(
        default=None, description="with mpps, where neither the step nor its images say it"
    )
    device: Device | None = None
    administered_by: LongText = Field(default="", description="who irradiated, as a person name")
    performed_procedure_step: Uid | None = Field(
        default=None, description="that it sums up; left out: all of the study"
    )
    source: Literal["automated", "manual", "dosimeter", "from-images", "from-mpps"] = "automated"
    reference_point: Literal["isocenter-15cm", "entrance", "none"] = Field(
        default="isocenter-15cm", description="where the dose is told for"
    )
    events: list[Event] = Field(default_factory=list, max_length=MOST_EVENTS)
    total_fluoroscopy_time: Amount | None = Field(
        default=None, description="s; left out: that of the events of fluoroscopy"
    )
    total_dose_area_product: Amount | None = Field(
        default=None, description="Gy m2; left out: the sum of the events"
    )
    total_dose: Amount | None = Field(
        default=None, description="Gy at the reference point; left out: the sum, if each has one"
    )

    @model_validator(mode="after")
    def check_identity(self) -> Self:
        """Refuse what does not say whose it is, says it twice, or leaves out what no step tells."""
        if (self.study, self.worklist_entry, self.mpps).count(None) != _ALL_BUT_ONE:
            raise ValueError("either study, worklist_entry or mpps has to be there")
        if self.mpps is None and (self.device is None or not self.events):
            raise ValueError("device and events have to be there, or mpps")
        if self.mpps is None and self.body_part is not None:
            raise ValueError("body_part is for what mpps tells of")
        untold = any(one.dose_area_product is None for one in self.events)
        if untold and self.total_dose_area_product is None:
            raise ValueError("the dose-area product of each event has to be there, or the total")
        return self

    @model_validator(mode="after")
    def check_times(self) -> Self:
        """Refuse times of which some have an offset from UTC and some have none."""
        if len({one.started.tzinfo is None for one in self.events}) > 1:
            raise ValueError("either each event has an offset from UTC, or none")
        return self

    def of_modality(self) -> str:
        """Return the modality of its series."""
        return "SR"

    def instances(self) -> Sequence[str]:
        """Return the SOP instance UIDs that it refers to."""
        return list(dict.fromkeys(one.image for one in self.events if one.image is not None))

    def new_uids(self) -> int:
        """Return how many UIDs are needed within it."""
        return 2 + sum(one.uid is None for one in self.events)
