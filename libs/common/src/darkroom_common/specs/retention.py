"""How long studies are kept at least (STO-04): the same for whoever asks and whoever deletes."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from darkroom_common.specs.ae_titles import fits

REMOVAL_PURPOSE: Final = "study removal"
"""Of the reason of a removal, or of a hold, that is sealed."""
_DAYS_OF_A_YEAR: Final = 365.25


class RetentionRule(BaseModel):
    """For which studies another time holds; of several rules that fit, the first one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str = Field(default="", max_length=16, description="one of the study's; empty: any")
    calling_ae_title: str = Field(
        default="", max_length=16, description="that sent of it, * and ?; empty: any"
    )
    studies_from: dt.date | None = None
    studies_to: dt.date | None = None
    years: float = Field(ge=0, le=1000)

    def is_for(self, study: "Dated") -> bool:
        """Tell whether a rule is for a study."""
        return (
            (not self.modality or self.modality in study.modalities)
            and (
                not self.calling_ae_title
                or any(fits(self.calling_ae_title, one) for one in study.calling_ae_titles)
            )
            and (self.studies_from is None or study.day >= self.studies_from)
            and (self.studies_to is None or study.day <= self.studies_to)
        )


@dataclass(frozen=True)
class Dated:
    """What retention looks at of a study; `day` is its own, or the one on which it came."""

    day: dt.date
    modalities: tuple[str, ...]
    calling_ae_titles: tuple[str, ...]


@dataclass(frozen=True)
class Retention:
    """The rules, and what holds where none fits."""

    years: float
    rules: Sequence[RetentionRule] = ()

    def until(self, studies: Iterable[Dated]) -> dt.date:
        """Return the first day on which all of these may be deleted."""
        return max((self._until(one) for one in studies), default=dt.date.min)

    def _until(self, study: Dated) -> dt.date:
        years = next((rule.years for rule in self.rules if rule.is_for(study)), self.years)
        try:
            return study.day + dt.timedelta(days=round(years * _DAYS_OF_A_YEAR))
        except OverflowError:
            return dt.date.max
