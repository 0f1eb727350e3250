"""A search as a value: what may restrict it, how much it may ask, and which way it is gone."""

from typing import Any, Final

import pytest

from darkroom_common.index.fields import BY_KEYWORD, FIELDS, Kept, Level
from darkroom_common.index.matching.values import (
    MAX_WORDS,
    AllOf,
    BadKey,
    Empty,
    Fuzzy,
    Match,
    Matching,
    Wildcard,
)
from darkroom_common.index.pages import Statement
from darkroom_common.index.query import (
    MAX_GROUPS,
    MAX_PATTERNS,
    Also,
    Condition,
    Query,
    by_keyword,
    conditions,
    free_words,
    require_bounded,
    searchable,
)

NAME, DATE = BY_KEYWORD["PatientName"], BY_KEYWORD["StudyDate"]
ON_A_DAY = conditions(DATE, "20240131")
OF_CT = conditions(BY_KEYWORD["ModalitiesInStudy"], "CT")
NAMED = conditions(NAME, "DOE^JANE")
PATTERNS: Final[tuple[Match, ...]] = (Wildcard("a*"), Fuzzy(("a",)), Empty())
LISTED = (Also("x.flagged"),)


def test_a_query_asks_for_little_unless_it_says_more() -> None:
    made = Query(Level.STUDY)
    assert not made.include_all
    assert made.combined
    assert (made.limit, made.offset, made.after) == (100, 0, None)
    assert (made.study_uid, made.series_uid) == (None, None)


@pytest.mark.parametrize(
    ("level", "given", "listed", "by_listing"),
    [
        (Level.STUDY, {}, True, True),
        (Level.STUDY, {"conditions": ON_A_DAY + OF_CT}, True, True),
        (Level.STUDY, {"conditions": ON_A_DAY + NAMED}, False, False),
        (Level.STUDY, {"words": ("doe",)}, False, False),
        (Level.STUDY, {"study_uid": "1.2"}, False, False),
        (Level.STUDY, {"conditions": NAMED, "listed": LISTED}, False, True),
        (Level.STUDY, {"listed": LISTED}, True, True),
        (Level.SERIES, {}, False, False),
        (Level.SERIES, {"listed": LISTED}, False, False),
        (Level.INSTANCE, {"conditions": ON_A_DAY}, False, False),
    ],
)
def test_the_listing_answers_what_it_holds_and_no_more(
    level: Level, given: dict[str, Any], listed: bool, by_listing: bool
) -> None:
    made = Query(level, **given)
    assert (made.is_listed, made.by_listing) == (listed, by_listing)


def test_what_is_only_answered_restricts_nothing() -> None:
    kept = [field for field in FIELDS if not searchable(field)]
    assert kept
    for field in kept:
        assert field.kept not in (Kept.COLUMN, Kept.SEARCHABLE)
        with pytest.raises(BadKey, match="cannot be searched by"):
            conditions(field, "x")
    assert {one.keyword for one in FIELDS if one.kept is Kept.COMPUTED and searchable(one)} == {
        "ModalitiesInStudy",
        "SOPClassesInStudy",
    }


def test_a_field_is_found_by_its_keyword_and_another_is_refused() -> None:
    assert by_keyword("PatientName") is NAME
    with pytest.raises(BadKey, match="cannot be searched by"):
        by_keyword("PixelData")


def test_a_key_may_ask_for_what_is_empty_or_for_all_of_several() -> None:
    assert conditions(NAME, '""', Matching(empty=True)) == (Condition(NAME, Empty()),)
    assert conditions(NAME, ' "" \0', Matching(empty=True)) == (Condition(NAME, Empty()),)
    assert not isinstance(conditions(NAME, '""')[0].match, Empty)
    modalities = BY_KEYWORD["ModalitiesInStudy"]
    (several,) = conditions(modalities, "CT\\MR", Matching(several=True))
    assert isinstance(several.match, AllOf)
    (either,) = conditions(modalities, "CT\\MR")
    assert not isinstance(either.match, AllOf)


def test_a_name_has_three_groups_at_most_and_each_is_matched_as_asked() -> None:
    assert len(conditions(NAME, "A=B=C")) == MAX_GROUPS
    with pytest.raises(BadKey, match="three component groups"):
        conditions(NAME, "A=B=C=D")
    (fuzzy,) = conditions(NAME, "Doe", Matching(fuzzy=True))
    assert isinstance(fuzzy.match, Fuzzy)
    patient = BY_KEYWORD["PatientID"]
    assert conditions(patient, "A=B=C=D=E")[0].field is patient, "an id is one text"


def test_free_text_has_so_many_words_and_each_counts_once() -> None:
    most = " ".join(f"w{n}" for n in range(MAX_WORDS))
    assert len(free_words(f"{most} W1  w1")) == MAX_WORDS
    with pytest.raises(BadKey, match="more than"):
        free_words(f"{most} more")


def test_so_many_patterns_are_compared_and_not_one_more() -> None:
    patterns = [Condition(NAME, one) for one in (*PATTERNS, *[Wildcard("b*")] * (MAX_PATTERNS - 3))]
    require_bounded([*patterns, *ON_A_DAY, *NAMED])
    for one in PATTERNS:
        with pytest.raises(BadKey, match="wildcards"):
            require_bounded([*patterns, Condition(NAME, one)])


def test_a_statement_takes_along_the_values_that_it_refers_to() -> None:
    made = Statement(["keys"])
    words = [made.bind(word, "text") for word in ("a", "b", "c")]
    assert made.referred(f"SELECT {words[2]}, $1::text, {words[2]}") == (
        "SELECT $2::text, $1::text, $2::text",
        ["keys", "c"],
    )
