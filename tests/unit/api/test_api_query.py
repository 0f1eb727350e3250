"""From keys to queries to SQL: the right kind of matching, never a value in the text."""

import datetime as dt
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_api.dicomweb.searching.parameters import (
    MAX_OFFSET,
    MAX_PARAMETERS,
    NO_CHARSET,
    parse_search,
)
from darkroom_common.index.fields import BY_KEYWORD, FIELDS, Level, search_text, search_tokens
from darkroom_common.index.matching.patterns import certain_prefixes, like_pattern, patterns_of
from darkroom_common.index.matching.runs import asked_runs, runs_of_study
from darkroom_common.index.matching.values import (
    BadKey,
    Fuzzy,
    Match,
    Matching,
    Number,
    OneOf,
    Range,
    Wildcard,
    parse_match,
)
from darkroom_common.index.query import Condition, Query, conditions, searchable
from darkroom_common.index.sql import Builder
from darkroom_common.postgres.phi import BlindIndex, PhiKeys

KEYS = PhiKeys(3, {1: "one", 3: "three"})
BLIND = BlindIndex(b"b" * 32)


@pytest.mark.parametrize(
    ("keyword", "text", "match"),
    [
        ("PatientID", "ABC 1", OneOf(("abc 1",))),
        ("PatientID", "", None),
        ("PatientID", "*", None),
        ("PatientID", "**", None),
        ("PatientID", "A?C*", Wildcard("a?c*")),
        ("PatientID", "a,b", OneOf(("a,b",))),
        ("PatientID", "a\\b", OneOf(("a", "b"))),
        ("PatientID", "\\", None),
        ("PatientName", "Müller^Hans^^", OneOf(("muller^hans",))),
        ("PatientName", "^*", None),
        ("StudyInstanceUID", "1.2,1.3\\1.4", OneOf(("1.2", "1.3", "1.4"))),
        ("StudyInstanceUID", "1.2\0", OneOf(("1.2",))),
        ("StudyDate", "20240229", Range(dt.date(2024, 2, 29), dt.date(2024, 2, 29))),
        ("StudyDate", "2024.02.29", Range(dt.date(2024, 2, 29), dt.date(2024, 2, 29))),
        ("StudyDate", "20240101-", Range(dt.date(2024, 1, 1), None)),
        ("StudyDate", "-20240101", Range(None, dt.date(2024, 1, 1))),
        ("StudyTime", "10", Range(dt.time(10), dt.time(10, 59, 59, 999999))),
        ("StudyTime", "1015-101630", Range(dt.time(10, 15), dt.time(10, 16, 30, 999999))),
        ("StudyTime", "101530.5", Range(dt.time(10, 15, 30, 500000), dt.time(10, 15, 30, 599999))),
        ("StudyTime", "235960", Range(dt.time(23, 59, 59), dt.time(23, 59, 59, 999999))),
        ("PatientBirthDate", "19700203", OneOf(("19700203",))),
        ("PatientBirthDate", "1970.02.03-", Range("19700203", None)),
        ("SeriesTime", "10-", Range("100000", None)),
        ("SeriesTime", "093820.480", Range("093820.48", "093820.480999")),
        ("SeriesTime", "100000.0", Range("100000", "100000.099999")),
        ("SeriesNumber", "07", Number(7)),
        ("InstanceNumber", "-3", Number(-3)),
        ("Modality", "CT,MR", OneOf(("CT", "MR"))),
        ("ModalitiesInStudy", "C*", Wildcard("C*")),
    ],
)
def test_kinds_of_matching(keyword: str, text: str, match: Match | None) -> None:
    assert parse_match(BY_KEYWORD[keyword], text) == match


def test_fuzzy_matching_is_for_names() -> None:
    assert parse_match(BY_KEYWORD["PatientName"], "Doe^Jö", fuzzy=True) == Fuzzy(("doe", "jo"))
    assert parse_match(BY_KEYWORD["PatientID"], "Doe", fuzzy=True) == OneOf(("doe",))
    assert parse_match(BY_KEYWORD["PatientName"], "^", fuzzy=True) is None


def test_groups_of_a_name_are_conditions_of_their_own() -> None:
    name = BY_KEYWORD["PatientName"]
    assert conditions(name, "Yamada^*=山田^太郎=*") == (
        Condition(name, Wildcard("yamada^*")),
        Condition(name, OneOf(("山田^太郎",))),
    )


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("StudyDate", "2024"),
        ("StudyDate", "20241301"),
        ("StudyDate", "-"),
        ("StudyDate", "20240102-20240101"),
        ("StudyTime", "25"),
        ("StudyTime", "1060"),
        ("StudyTime", "11-10"),
        ("SeriesNumber", "x"),
        ("SeriesNumber", "9999999999"),
        ("StudyInstanceUID", "1.*"),
        ("Modality", "C*,MR"),
        ("PatientID", "a\0b"),
        ("PatientID", "x" * 5000),
        ("PatientBirthDate", "soon"),
    ],
)
def test_what_is_no_value_is_refused_without_being_repeated(keyword: str, text: str) -> None:
    with pytest.raises(BadKey) as caught:
        parse_match(BY_KEYWORD[keyword], text)
    assert caught.value.key == keyword
    assert text not in caught.value.reason or len(text) < 3


@given(
    field=st.sampled_from([field for field in FIELDS if searchable(field)]),
    text=st.text(max_size=40),
    fuzzy=st.booleans(),
    level=st.sampled_from([Level.STUDY, Level.SERIES, Level.INSTANCE]),
)
def test_no_value_ever_stands_in_the_text_of_a_statement(
    field: object, text: str, fuzzy: bool, level: Level
) -> None:
    marked = f"zq7{text}"
    for one in FIELDS:
        if one is not field:
            continue
        try:
            found = conditions(
                one,
                marked if one.vr in ("PN", "LO", "SH", "CS") else text,
                Matching(fuzzy, empty=True, several=fuzzy),
            )
        except BadKey:
            return
        query = Query(level, study_uid="zq7.1", conditions=found)
        builder = Builder(query, keys=KEYS, blind=BLIND)
        for sql, values in (builder.page("s.id"), builder.count()):
            assert "zq7" not in sql
            assert sql.count("$") >= len(values)
            numbers = {int(part.split(":")[0]) for part in sql.split("$")[1:]}
            assert numbers == set(range(1, len(values) + 1))


def test_wildcards_become_like_patterns_with_everything_else_literal() -> None:
    assert like_pattern("a*b?c") == "a%b_c"
    assert like_pattern("100%_\\") == "100\\%\\_\\\\"


@pytest.mark.parametrize(
    ("pattern", "prefixes"),
    [
        ("doe^jo*", ["doe", "jo"]),
        ("*smith", []),
        ("*smith^j*", ["j"]),
        ("d?e", ["d"]),
        ("?oe^jane", ["jane"]),
        ("doe", ["doe"]),
        ("a*b", ["a"]),
        ("a *b^c", ["a", "c"]),
    ],
)
def test_prefixes_that_every_match_has(pattern: str, prefixes: list[str]) -> None:
    assert certain_prefixes(pattern) == prefixes


@given(name=st.text("abc de^=äß-", max_size=20), cut=st.integers(0, 20))
def test_what_is_written_is_found_by_its_beginning(name: str, cut: int) -> None:
    field = BY_KEYWORD["PatientName"]
    stored = search_tokens(BLIND, field, [name])
    for term in search_text(field, [name]).split("\\"):
        pattern = f"{term[:cut]}*"
        for prefix in certain_prefixes(pattern):
            assert BLIND.prefix(field.keyword, prefix) in stored
        if term:
            assert BLIND.token(field.keyword, "value", term) in stored


@given(
    name=st.text("ab de^äß-", min_size=1, max_size=12),
    wild=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.sampled_from("*?"))),
)
def test_what_is_written_is_found_by_what_stands_in_it(
    name: str, wild: list[tuple[int, int, str]]
) -> None:
    """Whatever matches has all runs that are asked for, also where `^*` is nothing."""
    field = BY_KEYWORD["PatientName"]
    for term in search_text(field, [name]).split("\\"):
        stored = runs_of_study(BLIND, {field.keyword: term})
        pattern = term
        for low, size, sign in wild:
            pattern = pattern[:low] + (sign if size or sign == "*" else "") + pattern[low + size :]
        for one in (pattern, f"{term}^*"):
            likes = [like_pattern(text) for text in patterns_of(field, one)]
            matched = [re.fullmatch(_expression(like), term, re.DOTALL) for like in likes]
            asked = asked_runs(BLIND, field.keyword, patterns_of(field, one))
            assert not any(matched) or set(asked) <= set(stored or [])


def _expression(like: str) -> str:
    return re.escape(like).replace("%", ".*").replace("_", ".")


@pytest.mark.parametrize(
    ("pattern", "runs"),
    [
        ("*zzq*", 1),  # zzq
        ("*zz*", 1),  # zz
        ("*q*", 0),
        ("*smith", 4),  # smi mit ith th-
        ("smi*a", 3),  # -sm smi a-
        ("a?b", 2),  # -a b-
    ],
)
def test_a_pattern_asks_for_its_runs(pattern: str, runs: int) -> None:
    assert len(asked_runs(BLIND, "PatientName", [pattern])) == runs
    assert asked_runs(BLIND, "PatientSex", [pattern]) == []


def test_a_study_with_too_much_text_has_no_runs() -> None:
    assert runs_of_study(BLIND, {"StudyDescription": "".join(map(chr, range(2_000)))}) is None
    assert runs_of_study(BLIND, {"PatientSex": "m"}) == []


def test_a_request_becomes_a_query() -> None:
    search = parse_search(
        [
            ("0020000D", "1.2"),
            ("StudyInstanceUID", "1.3"),
            ("includefield", "00081030,all"),
            ("includefield", "RequestAttributesSequence.RequestedProcedureID"),
            ("fuzzymatching", "TRUE"),
            ("PatientName", "doe"),
            ("limit", "5"),
            ("offset", "10"),
        ][1:],
        Level.STUDY,
        most=100,
    )
    query = search.query
    assert (query.limit, query.offset, query.include_all, search.capped) == (5, 10, True, False)
    assert query.include == {"00081030", "00400275", "0020000D", "00100010"}
    assert [c.match for c in query.conditions] == [OneOf(("1.3",)), Fuzzy(("doe",))]
    assert parse_search([], Level.STUDY, most=100).capped
    capped = parse_search([("limit", "9" * 18)], Level.STUDY, most=100)
    assert (capped.query.limit, capped.capped) == (100, True)


def test_the_path_and_its_limits_are_in_the_query() -> None:
    search = parse_search([], Level.INSTANCE, below=("1.2", "1.3"), most=7)
    assert (search.query.study_uid, search.query.series_uid) == ("1.2", "1.3")
    assert (search.query.limit, search.query.offset, search.capped) == (7, 0, True)
    for asked, limit, capped in (("7", 7, False), ("8", 7, True), ("0", 0, False)):
        search = parse_search([("limit", asked)], Level.STUDY, most=7)
        assert (search.query.limit, search.capped) == (limit, capped)


@pytest.mark.parametrize(
    ("items", "error"),
    [
        ([("PatientID", str(n)) for n in range(MAX_PARAMETERS + 1)], "parameters"),
        ([("includefield", ",".join(["PatientID"] * (MAX_PARAMETERS + 1)))], "names more"),
        ([("offset", str(MAX_OFFSET + 1))], "at most"),
        ([("limit", "1"), ("limit", "2")], "takes one number"),
        ([("offset", "-1")], "takes one number"),
        ([("fuzzymatching", "yes")], "true or false"),
        ([("PatientID", "1"), ("PatientID", "2")], "twice"),
        ([("PatientID", "1"), ("00100020", "1")], "twice"),
        ([("x y", "1")], "neither a keyword nor a tag"),
        ([("00081111111", "1")], "is not an attribute"),
        ([("0008FFF0", "1")], "is not an attribute"),
    ],
)
def test_what_is_no_search_is_refused(items: list[tuple[str, str]], error: str) -> None:
    with pytest.raises(BadKey, match=error):
        parse_search(items, Level.STUDY, most=10)


def test_the_most_that_is_allowed_is_taken() -> None:
    assert (
        parse_search([("offset", str(MAX_OFFSET))], Level.STUDY, most=10).query.offset == MAX_OFFSET
    )
    names = ",".join(["PatientID"] * MAX_PARAMETERS)
    assert parse_search([("includefield", names)], Level.STUDY, most=10).query.include
    several = [("StudyInstanceUID", f"1.{n}") for n in range(MAX_PARAMETERS)]
    assert len(parse_search(several, Level.STUDY, most=10).query.conditions) == 1


@pytest.mark.parametrize(
    ("charset", "warned"),
    [("utf-8", False), ("*", False), ("iso-8859-1", True), ("iso-8859-1, UTF-8;q=0.5", False)],
)
def test_who_wants_another_character_set_is_warned(charset: str, *, warned: bool) -> None:
    search = parse_search([("charset", charset)], Level.STUDY, most=10)
    assert search.warnings == ((NO_CHARSET,) if warned else ())


def test_a_key_of_a_lower_level_is_named() -> None:
    with pytest.raises(BadKey, match="SeriesNumber"):
        parse_search([("00200011", "1")], Level.STUDY, most=1)
    (condition,) = parse_search([("00080060", "CT")], Level.STUDY, most=1).query.conditions
    assert condition.field.keyword == "ModalitiesInStudy"
    assert parse_search([("00080060", "CT")], Level.SERIES, most=1).query.conditions
    assert parse_search([("PatientID", "1")], Level.INSTANCE, most=1).query.conditions
