"""The rules of retention: which one is for a study, and what it says."""

import datetime as dt
from typing import Any

import pytest
from pydantic import ValidationError

from darkroom_common.specs.retention import OTHERWISE, Dated, Kept, Retention, RetentionRule

DAY = dt.date(2015, 6, 1)
MINORS = RetentionRule(age_below=18, from_age=18, years=10)


def a_study(**more: Any) -> Dated:
    given: dict[str, Any] = {"day": DAY, "modalities": ("CT",), "calling_ae_titles": ("CT1",)}
    return Dated(**given | more)


def kept(study: Dated, *rules: RetentionRule) -> tuple[dt.date, int]:
    found = Retention(7, rules).kept([study])
    return found.until, found.rule


def test_the_first_rule_that_fits_holds_and_none_is_seven_years() -> None:
    rules = (RetentionRule(modality="MG", years=30), RetentionRule(modality="CT", years=1))
    assert kept(a_study(), *rules) == (dt.date(2016, 5, 31), 2)
    assert kept(a_study(modalities=("CT", "MG")), *rules)[1] == 1
    assert kept(a_study(modalities=("US",)), *rules) == (dt.date(2022, 6, 1), OTHERWISE)


@pytest.mark.parametrize(
    ("rule", "fits", "other"),
    [
        ({"calling_ae_title": "CT?"}, {}, {"calling_ae_titles": ("MR1",)}),
        ({"studies_from": DAY, "studies_to": DAY}, {}, {"day": DAY + dt.timedelta(1)}),
        ({"description": "*SCREENING*"}, {"description": "Screening 2015"}, {"description": "x"}),
        ({"exam_status": "cancelled"}, {"exam_status": "cancelled"}, {}),
        ({"age_from": 70}, {"born": dt.date(1945, 6, 1)}, {"born": dt.date(1945, 6, 2)}),
        ({"age_below": 18}, {"born": dt.date(1997, 6, 2)}, {"born": dt.date(1997, 6, 1)}),
    ],
)
def test_what_a_rule_asks_for(
    rule: dict[str, Any], fits: dict[str, Any], other: dict[str, Any]
) -> None:
    one = RetentionRule(years=1, **rule)
    assert kept(a_study(**fits), one)[1] == 1
    assert kept(a_study(**other), one)[1] == OTHERWISE


def test_minors_are_kept_for_ten_years_from_their_majority() -> None:
    assert kept(a_study(born=dt.date(2010, 2, 3)), MINORS) == (dt.date(2038, 2, 2), 1)
    assert kept(a_study(born=dt.date(1980, 2, 3)), MINORS) == (dt.date(2022, 6, 1), OTHERWISE)


def test_a_leap_day_has_its_birthday_in_march() -> None:
    born = a_study(born=dt.date(2012, 2, 29))
    rule = RetentionRule(age_below=18, from_age=17, years=0)
    assert kept(born, rule) == (dt.date(2029, 3, 1), 1)


def test_without_a_birth_date_what_keeps_it_longer_holds() -> None:
    elders = RetentionRule(age_from=80, years=1)
    assert kept(a_study(), elders) == (dt.date(2022, 6, 1), OTHERWISE)
    until, rule = kept(a_study(), elders, MINORS)
    assert (until.year, rule) == (2043, 2)
    certain = RetentionRule(modality="CT", years=100)
    assert kept(a_study(), MINORS, certain)[1] == 2


def test_several_studies_of_a_uid_are_kept_as_the_one_that_is_kept_longest() -> None:
    rules = Retention(7, (RetentionRule(modality="MG", years=30),))
    studies = [a_study(modalities=("MG",)), a_study()]
    assert rules.kept(studies) == Kept(dt.date(2045, 6, 1), 1)
    assert rules.until([]) == dt.date.min


def test_what_is_beyond_the_calendar_is_kept_for_ever() -> None:
    assert kept(a_study(day=dt.date(9990, 1, 1)))[0].year == 9997
    assert kept(a_study(day=dt.date(9995, 1, 1)))[0] == dt.date.max
    rule = RetentionRule(from_age=200, years=1)
    assert kept(a_study(born=dt.date(9900, 1, 1)), rule)[0] == dt.date.max


def test_only_what_is_asked_for_is_read() -> None:
    plain = Retention(7, (RetentionRule(modality="CT", years=1),))
    assert (plain.asks_text, plain.asks_status) == (False, False)
    assert Retention(7, (MINORS,)).asks_text
    assert Retention(7, (RetentionRule(description="x", years=1),)).asks_text
    assert Retention(7, (RetentionRule(exam_status="pending", years=1),)).asks_status


def test_other_rules_have_another_digest() -> None:
    one = Retention(7, (MINORS,))
    assert one.digest == Retention(7, (MINORS,)).digest
    assert len({one.digest, Retention(8, (MINORS,)).digest, Retention(7).digest}) == 3


def test_rules_in_words() -> None:
    rules = Retention(7, (MINORS, RetentionRule(years=1)))
    assert rules.in_words(0) == "RETENTION_YEARS: 7 years"
    assert rules.in_words(1) == "rule 1: age_below 18: 10 years from the age of 18"
    assert rules.in_words(2) == "rule 2: any study: 1 years"
    assert rules.in_words(3) == "rule 3, which is no more"


def test_what_no_rule_has_is_refused() -> None:
    for wrong in ({"exam_status": "gone"}, {"age_below": 0}, {"colour": "red"}, {"years": -1}):
        with pytest.raises(ValidationError):
            RetentionRule.model_validate({"years": 1, **wrong})
