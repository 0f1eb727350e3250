"""What a routing rule is, as REST and the broker carry it."""

from typing import Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, StrictBool, model_validator

from darkroom_common.specs.base import ResourceSpec, Spec, TimeOfDay
from darkroom_common.specs.destinations import Day, Name


class Conditions(Spec):
    """All that are given must match; a list matches when one of its entries does.

    In texts, `*` stands for any run of characters and `?` for one; case does not count.
    """

    calling_ae_titles: tuple[str, ...] = Field(default=(), max_length=100)
    called_ae_titles: tuple[str, ...] = Field(default=(), max_length=100)
    modalities: tuple[str, ...] = Field(default=(), max_length=100)
    station_names: tuple[str, ...] = Field(default=(), max_length=100)
    study_descriptions: tuple[str, ...] = Field(default=(), max_length=100)
    series_descriptions: tuple[str, ...] = Field(default=(), max_length=100)
    days: tuple[Day, ...] = ()
    after: TimeOfDay | None = Field(default=None, description="from this time of the day")
    before: TimeOfDay | None = Field(default=None, description="until this time of the day")
    time_zone: str = Field(default="UTC", max_length=64)


class Prefetch(Spec):
    """Priors of the same patient that another node has are retrieved, each once."""

    remote: Name
    method: Literal["move", "get"] = "move"
    same_modality: StrictBool = Field(
        default=False, description="with one of the study's modalities"
    )
    same_body_part: StrictBool = Field(
        default=False, description="with one of its body parts examined"
    )
    years: int | None = Field(default=None, ge=1, le=150, description="before the study at most")
    max_studies: int = Field(default=5, ge=1, le=100, description="the newest")


class RuleSpec(ResourceSpec):
    """Which images go where by themselves."""

    position: int = Field(default=100, ge=0, le=1_000_000, description="lower ones come first")
    when: Literal["study-complete", "instance"] = Field(
        default="study-complete", description="look once a study is complete, or at every instance"
    )
    conditions: Conditions = Conditions()
    destinations: tuple[Name, ...] = Field(default=(), max_length=100)
    priority: Literal["low", "medium", "high"] = "medium"
    prefetch: Prefetch | None = Field(default=None, description="retrieve priors, too")
    stop: StrictBool = Field(
        default=False, description="look at no later rule when this one matches"
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.destinations and not self.stop and self.prefetch is None:
            raise ValueError("a rule sends to destinations, retrieves priors, or stops")
        try:
            ZoneInfo(self.conditions.time_zone)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError("time_zone is not known") from error
        return self
