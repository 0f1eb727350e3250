"""Which studies of another node are priors worth having, decided without I/O."""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from darkroom_common.specs.rules import Prefetch


@dataclass(frozen=True)
class Current:
    """The study whose priors are wanted. Names of patients are not looked at: ids are."""

    study_instance_uid: str
    patient_id: str
    issuer: str
    birth_date: str
    study_date: dt.date | None
    modalities: frozenset[str]
    body_parts: frozenset[str]


@dataclass(frozen=True)
class Candidate:
    """A study that another node has answered."""

    study_instance_uid: str
    patient_id: str
    issuer: str
    birth_date: str
    study_date: dt.date | None
    modalities: frozenset[str]


def can_be_asked_for(patient_id: str) -> bool:
    """Tell whether a patient id finds itself alone: no wildcard, no list, and there is one."""
    return bool(patient_id) and not set(patient_id) & set("*?\\")


def priors(
    current: Current,
    found: Sequence[Candidate],
    wanted: Prefetch,
    *,
    here: Collection[str],
    today: dt.date,
) -> list[Candidate]:
    """Return those that may be priors by the rule, the newest first.

    Body parts, and modalities that the node does not tell of a study, are those of its series:
    see `series_fit`.

    Args:
        current: the study.
        found: what the node has answered, which may be more than was asked for.
        wanted: of the rule.
        here: studies that are stored here already.
        today: stands for the study's date when it has none.
    """
    day = current.study_date or today
    kept = {
        one.study_instance_uid: one
        for one in found
        if _same_patient(current, one)
        and one.study_instance_uid not in {"", current.study_instance_uid, *here}
        and (not wanted.same_modality or not one.modalities or one.modalities & current.modalities)
        and _in_time(one.study_date, day, wanted.years)
    }
    return sorted(kept.values(), key=lambda one: one.study_date or dt.date.min, reverse=True)


def series_matter(one: Candidate, wanted: Prefetch) -> bool:
    """Tell whether the series of a candidate have to be looked at."""
    return wanted.same_body_part or (wanted.same_modality and not one.modalities)


def series_fit(
    current: Current, wanted: Prefetch, *, modalities: Collection[str], body_parts: Collection[str]
) -> bool:
    """Tell whether the series of a candidate have what the rule wants."""
    return not (
        (wanted.same_modality and not current.modalities & {*modalities})
        or (wanted.same_body_part and not current.body_parts & {*body_parts})
    )


def _same_patient(current: Current, one: Candidate) -> bool:
    return (
        one.patient_id == current.patient_id
        and (not one.issuer or not current.issuer or one.issuer == current.issuer)
        and (not one.birth_date or not current.birth_date or one.birth_date == current.birth_date)
    )


def _in_time(date: dt.date | None, day: dt.date, years: int | None) -> bool:
    if date is None:
        return years is None
    if date > day:
        return False
    return years is None or (day - date).days <= years * 365.25
