"""Which studies are priors (TRX-11)."""

import dataclasses
import datetime as dt
from typing import Any

import pytest

from darkroom_common.specs.rules import Prefetch
from darkroom_transmit.retrieval.priors import (
    Candidate,
    Current,
    can_be_asked_for,
    priors,
    series_fit,
    series_matter,
)

TODAY = dt.date(2026, 1, 1)
CURRENT = Current(
    "1", "P1", "HOSPITAL", "19700101", dt.date(2025, 6, 1), frozenset({"CT"}), frozenset({"CHEST"})
)
PRIOR = Candidate("2", "P1", "", "", dt.date(2024, 6, 1), frozenset({"CT", "SR"}))


def chosen(*found: Candidate, here: tuple[str, ...] = (), **wanted: Any) -> list[str]:
    rule = Prefetch(remote="PACS", **wanted)
    return [one.study_instance_uid for one in priors(CURRENT, found, rule, here=here, today=TODAY)]


@pytest.mark.req("TRX-11")
@pytest.mark.parametrize(
    ("changes", "wanted", "is_prior"),
    [
        ({}, {}, True),
        ({}, {"same_modality": True, "years": 1}, True),
        ({"study_instance_uid": "1"}, {}, False),
        ({"patient_id": "P10"}, {}, False),
        ({"issuer": "OTHER"}, {}, False),
        ({"birth_date": "19710101"}, {}, False),
        ({"modalities": frozenset({"MR"})}, {"same_modality": True}, False),
        ({"modalities": frozenset({"MR"})}, {}, True),
        ({"study_date": dt.date(2025, 6, 2)}, {}, False),
        ({"study_date": dt.date(2020, 6, 1)}, {"years": 4}, False),
        ({"study_date": None}, {"years": 4}, False),
        ({"study_date": None}, {}, True),
    ],
)
def test_a_prior_is_of_the_same_patient_and_earlier(
    changes: dict[str, Any], wanted: dict[str, Any], is_prior: bool
) -> None:
    assert bool(chosen(dataclasses.replace(PRIOR, **changes), **wanted)) is is_prior


@pytest.mark.req("TRX-11")
def test_the_newest_come_first_and_none_that_is_here() -> None:
    older = dataclasses.replace(PRIOR, study_instance_uid="3", study_date=dt.date(2020, 1, 1))
    assert chosen(older, PRIOR, PRIOR) == ["2", "3"]
    assert chosen(older, PRIOR, here=("2",)) == ["3"]


@pytest.mark.req("TRX-11")
def test_what_a_node_does_not_tell_of_a_study_its_series_do() -> None:
    silent = dataclasses.replace(PRIOR, modalities=frozenset())
    same = Prefetch(remote="PACS", same_modality=True)
    both = Prefetch(remote="PACS", same_modality=True, same_body_part=True)
    assert chosen(silent, same_modality=True) == ["2"]
    assert series_matter(silent, same)
    assert not series_matter(PRIOR, same)
    assert series_matter(PRIOR, both)
    assert series_fit(CURRENT, same, modalities={"CT"}, body_parts=())
    assert not series_fit(CURRENT, same, modalities={"MR", ""}, body_parts=())
    assert series_fit(CURRENT, both, modalities={"CT"}, body_parts={"CHEST"})
    assert not series_fit(CURRENT, both, modalities={"CT"}, body_parts={"KNEE"})


def test_an_id_that_would_find_others_is_not_asked_for() -> None:
    assert can_be_asked_for("P1")
    assert not any(can_be_asked_for(one) for one in ("", "P*", "P?1", "A\\B"))
