"""How long studies are kept at least (STO-04): the same for whoever asks and whoever deletes."""

import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from darkroom_common.specs.ae_titles import fits

REMOVAL_PURPOSE: Final = "study removal"
"""Of the reason of a removal, or of a hold, that is sealed."""
OTHERWISE: Final = 0
"""Where the number of a rule would be: none fits, and `RETENTION_YEARS` holds."""
_DAYS_OF_A_YEAR: Final = 365.25


class RetentionRule(BaseModel):
    """For which studies another time holds; of several rules that fit, the first one.

    A study without the patient's birth date may or may not be one for a rule with an age: both are
    thought of, and what keeps it longer holds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str = Field(default="", max_length=16, description="one of the study's; empty: any")
    calling_ae_title: str = Field(
        default="", max_length=16, description="that sent of it, * and ?; empty: any"
    )
    studies_from: dt.date | None = None
    studies_to: dt.date | None = None
    description: str = Field(
        default="", max_length=64, description="of the study, * and ?, in any case; empty: any"
    )
    exam_status: Literal["", "pending", "in_progress", "completed", "cancelled"] = Field(
        default="", description="work status of the study; empty: any"
    )
    age_from: int = Field(
        default=0, ge=0, le=200, description="years of the patient on the day of the study"
    )
    age_below: int | None = Field(
        default=None, ge=1, le=200, description="likewise: less than so many; none: any"
    )
    from_age: int | None = Field(
        default=None,
        ge=1,
        le=200,
        description="the years count from the day on which the patient has this age, if that is"
        " after the study's day",
    )
    years: float = Field(ge=0, le=1000)

    @property
    def asks_age(self) -> bool:
        """Whether the patient's birth date says if it fits."""
        return bool(self.age_from) or self.age_below is not None

    def is_for(self, study: "Dated") -> bool | None:
        """Tell whether a rule is for a study; None: nobody knows, without a birth date."""
        said = (
            (not self.modality or self.modality in study.modalities)
            and (
                not self.calling_ae_title
                or any(fits(self.calling_ae_title, one) for one in study.calling_ae_titles)
            )
            and (self.studies_from is None or study.day >= self.studies_from)
            and (self.studies_to is None or study.day <= self.studies_to)
            and (
                not self.description
                or fits(self.description.casefold(), study.description.casefold())
            )
            and (not self.exam_status or self.exam_status == study.exam_status)
        )
        if not said or not self.asks_age:
            return said
        if study.born is None:
            return None
        return study.day >= _birthday(study.born, self.age_from) and (
            self.age_below is None or study.day < _birthday(study.born, self.age_below)
        )

    def until(self, study: "Dated") -> dt.date:
        """Return the first day on which a study that it is for may be deleted."""
        begins = study.day
        if self.from_age is not None:  # who has no birth date may have been born that day
            begins = max(begins, _birthday(study.born or study.day, self.from_age))
        return _after(begins, self.years)


@dataclass(frozen=True)
class Dated:
    """What retention looks at of a study; `day` is its own, or the one on which it came.

    Attributes:
        born: the patient's birth date; None: nobody knows it.
        description: StudyDescription.
        exam_status: the study's work status.
    """

    day: dt.date
    modalities: tuple[str, ...]
    calling_ae_titles: tuple[str, ...]
    born: dt.date | None = None
    description: str = ""
    exam_status: str = "pending"


@dataclass(frozen=True, order=True)
class Kept:
    """Until when a study is kept, and by which rule: the first is 1; see `OTHERWISE`."""

    until: dt.date
    rule: int


@dataclass(frozen=True)
class Retention:
    """The rules, and what holds where none fits."""

    years: float
    rules: Sequence[RetentionRule] = ()

    @property
    def asks_text(self) -> bool:
        """Whether a rule looks at what is encrypted: the birth date or the description."""
        return any(
            one.asks_age or one.from_age is not None or one.description for one in self.rules
        )

    @property
    def asks_status(self) -> bool:
        """Whether a rule looks at the work status."""
        return any(one.exam_status for one in self.rules)

    @property
    def digest(self) -> str:
        """Return what is another one when the rules are others."""
        text = "\n".join([str(self.years), *(one.model_dump_json() for one in self.rules)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def until(self, studies: Iterable[Dated]) -> dt.date:
        """Return the first day on which all of these may be deleted."""
        return self.kept(studies).until

    def kept(self, studies: Iterable[Dated]) -> Kept:
        """Return until when all of these are kept, and by which rule."""
        found = (self._kept(one) for one in studies)
        return max(found, default=Kept(dt.date.min, OTHERWISE))

    def _kept(self, study: Dated) -> Kept:
        found = []
        for number, rule in enumerate(self.rules, 1):
            is_for = rule.is_for(study)
            if is_for is not False:
                found.append(Kept(rule.until(study), number))
            if is_for:
                return max(found)
        return max([*found, Kept(_after(study.day, self.years), OTHERWISE)])

    def in_words(self, number: int) -> str:
        """Return a rule for people, by its number: what it asks for, and what it says."""
        if number == OTHERWISE:
            return f"RETENTION_YEARS: {self.years:g} years"
        if number > len(self.rules):
            return f"rule {number}, which is no more"
        rule = self.rules[number - 1]
        asked = rule.model_dump(mode="json", exclude_defaults=True, exclude={"years", "from_age"})
        words = ", ".join(f"{name} {value}" for name, value in asked.items()) or "any study"
        counted = "" if rule.from_age is None else f" from the age of {rule.from_age}"
        return f"rule {number}: {words}: {rule.years:g} years{counted}"


def _birthday(born: dt.date, age: int) -> dt.date:
    try:
        return born.replace(year=born.year + age)
    except ValueError:  # the 29th of February, or the end of the calendar
        return dt.date.max if born.year + age > dt.MAXYEAR else dt.date(born.year + age, 3, 1)


def _after(day: dt.date, years: float) -> dt.date:
    try:
        return day + dt.timedelta(days=round(years * _DAYS_OF_A_YEAR))
    except OverflowError:
        return dt.date.max
