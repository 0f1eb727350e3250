"""How narrow a search is, and which of its names and numbers are looked at before it is asked."""

import datetime as dt

import pytest

from darkroom_api.dicomweb.searching.parameters import MAX_OFFSET, parse_search, wants_tags
from darkroom_common.index.fields import BY_KEYWORD, Level
from darkroom_common.index.matching.patterns import is_narrow, patterns_of
from darkroom_common.index.matching.values import (
    AllOf,
    BadKey,
    Fuzzy,
    Match,
    OneOf,
    Range,
    Wildcard,
)
from darkroom_common.index.query import Condition, Query


@pytest.mark.parametrize(
    ("keyword", "pattern", "patterns"),
    [
        ("PatientName", "doe^*", ["doe^*", "doe"]),  # a name without a given part
        ("PatientName", "doe^^*", ["doe^^*", "doe"]),
        ("PatientName", "doe*", ["doe*"]),
        ("PatientName", "^*", ["^*"]),  # nothing is left of it that could be a name
        ("PatientID", "doe^*", ["doe^*"]),  # no person name
    ],
)
def test_a_pattern_stands_for_names_without_a_given_part_too(
    keyword: str, pattern: str, patterns: list[str]
) -> None:
    assert patterns_of(BY_KEYWORD[keyword], pattern) == patterns


@pytest.mark.parametrize(
    ("keyword", "match", "narrow"),
    [
        ("StudyDate", Range(None, dt.date(2024, 1, 1)), True),
        ("StudyInstanceUID", OneOf(("1.2",)), True),
        ("StudyTime", Range(dt.time(10), None), False),  # a column, and no index has it
        ("PatientID", OneOf(("a",)), True),
        ("PatientID", AllOf(("a", "b")), True),
        ("PatientName", Fuzzy(("doe",)), True),
        ("PatientName", Wildcard("doe*"), True),
        ("PatientName", Wildcard("*doe"), False),
        ("PatientBirthDate", Range("19700203", None), False),
    ],
)
def test_what_is_narrow_has_an_index_before_anything_is_decrypted(
    keyword: str, match: Match, *, narrow: bool
) -> None:
    assert is_narrow(Condition(BY_KEYWORD[keyword], match)) is narrow


@pytest.mark.parametrize(
    ("items", "wanted"),
    [
        ([], False),
        ([("PatientID", "x"), ("00100010", "y"), ("limit", "5")], False),
        ([("includefield", "PatientID,00100010")], False),
        ([("includefield", "PatientID, ScheduledStationName")], True),
        ([("00189073", "x")], True),
        ([("dose", "5")], True),
        ([("limit", "includefield")], False),
    ],
)
def test_named_tags_are_read_only_for_who_names_more_than_the_index_has(
    items: list[tuple[str, str]], *, wanted: bool
) -> None:
    assert wants_tags(items) is wanted


@pytest.mark.parametrize("number", ["1", "99", "100", "2147483648", "9" * 18])
def test_numbers_have_an_end_that_the_database_takes(number: str) -> None:
    found = parse_search([("limit", number)], Level.STUDY, most=100)
    assert found.query.limit == min(int(number), 100)
    assert found.capped is (int(number) > 100)
    with pytest.raises(BadKey, match="limit"):
        parse_search([("limit", "9" * 19)], Level.STUDY, most=100)
    if int(number) > MAX_OFFSET:
        with pytest.raises(BadKey, match="offset"):
            parse_search([("offset", number)], Level.STUDY, most=100)


STUDY_UID = BY_KEYWORD["StudyInstanceUID"]
ANYTHING = Condition(BY_KEYWORD["PatientID"], OneOf(("p",)))


@pytest.mark.parametrize(
    ("query", "pointed", "is_open"),
    [
        (Query(Level.STUDY), False, True),
        (Query(Level.SERIES), False, True),
        (Query(Level.PATIENT), False, False),
        (Query(Level.STUDY, study_uid="1.2"), True, False),
        (Query(Level.STUDY, conditions=(Condition(STUDY_UID, OneOf(("1.2",))),)), True, False),
        (
            Query(Level.STUDY, conditions=(ANYTHING, Condition(STUDY_UID, OneOf(("1.2",))))),
            True,
            False,
        ),
        (Query(Level.STUDY, conditions=(Condition(STUDY_UID, Wildcard("1.*")),)), False, False),
        (Query(Level.STUDY, conditions=(ANYTHING,)), False, False),
        (Query(Level.STUDY, words=("doe",)), False, False),
        (Query(Level.STUDY, sources=("CT1",)), False, False),
        (Query(Level.STUDY, statuses=("complete",)), False, False),
        (Query(Level.STUDY, after=(None, 5)), False, False),
    ],
)
def test_a_query_says_how_much_of_the_index_it_may_match(
    query: Query, *, pointed: bool, is_open: bool
) -> None:
    assert (query.is_pointed, query.is_open) == (pointed, is_open)
