"""Attributes that the index computes are answered with a value, or not at all."""

import datetime as dt
from dataclasses import replace

import pytest

from darkroom_common.index.answer import header_json, patient_json, results_json
from darkroom_common.index.fields import FIELDS, Kept, Level
from darkroom_common.index.query import Query
from darkroom_common.index.rows import Found, InstanceRow, Json, PatientRow, SeriesRow, StudyRow

NOW = dt.datetime(2024, 1, 31, tzinfo=dt.UTC)
STUDY = StudyRow(
    "1.2", None, None, (), (), (), 0, 0, 0, "receiving", 0, 1, NOW, NOW, None, attributes={}
)
SERIES = SeriesRow("1.3", None, None, 0, 1, attributes={})
INSTANCE = InstanceRow("1.4", "1.5", "1.6", None, None, None, None, None, attributes={})
EVERY_TAG = frozenset(field.tag for field in FIELDS)
REQUIRED = frozenset(
    ("00080020", "00080030", "00080050", "00080090", "00100010", "00100020", "00100030", "00100040")
) | {"00200010", "00200011"}
"""Type R of PS3.18 tables 10.6.3-3 and -4, of what objects say."""
COMPUTED = {field.tag: field.level for field in FIELDS if field.kept is Kept.COMPUTED}


def _result(query: Query, found: Found) -> Json:
    (answer,) = results_json(query, [found])
    return answer


def answers() -> list[Json]:
    """Return every form of an answer about rows in which all that may be empty is."""
    found = {
        Level.STUDY: Found(STUDY),
        Level.SERIES: Found(STUDY, SERIES),
        Level.INSTANCE: Found(STUDY, SERIES, INSTANCE),
    }
    return [
        _result(Query(level, include=include, include_all=whole), one)
        for level, one in found.items()
        for include, whole in ((frozenset(), False), (frozenset(), True), (EVERY_TAG, False))
    ]


@pytest.mark.req("API-02")
def test_what_is_computed_and_has_no_value_is_left_out() -> None:
    for answer in answers():
        empty = {tag for tag, element in answer.items() if not element.get("Value")}
        assert empty <= REQUIRED, answer
        assert "00080061" not in answer
        assert "00080062" not in answer
        assert "00080060" not in answer


def test_what_is_required_is_answered_empty_where_objects_do_not_say_it() -> None:
    study = _result(Query(Level.STUDY), Found(STUDY))
    assert {tag for tag, one in study.items() if "Value" not in one} == REQUIRED - {"00200011"}
    assert study["00100010"] == {"vr": "PN"}
    series = _result(Query(Level.SERIES, study_uid="1.2"), Found(STUDY, SERIES))
    assert {tag for tag, one in series.items() if "Value" not in one} == {"00200011"}
    said = replace(STUDY, attributes={"00100020": {"vr": "LO", "Value": ["A"]}})
    assert _result(Query(Level.STUDY), Found(said))["00100020"] == {"vr": "LO", "Value": ["A"]}


def test_counts_of_nothing_are_values() -> None:
    for answer in answers():
        assert answer["00201206"] == {"vr": "IS", "Value": [0]}
        assert answer["00201208"] == {"vr": "IS", "Value": [0]}


def test_empty_texts_are_no_values() -> None:
    study = replace(STUDY, modalities=("", "CT"), sop_classes=("",))
    answer = _result(Query(Level.STUDY), Found(study))
    assert answer["00080061"] == {"vr": "CS", "Value": ["CT"]}
    assert "00080062" not in answer


def test_what_is_there_is_answered_at_every_level() -> None:
    study = replace(STUDY, modalities=("CT",), sop_classes=("1.5",))
    series = replace(SERIES, modality="CT")
    instance = replace(
        INSTANCE,
        instance_number=1,
        pixel_rows=2,
        pixel_columns=3,
        bits_allocated=8,
        number_of_frames=4,
    )
    answer = _result(Query(Level.INSTANCE, include=EVERY_TAG), Found(study, series, instance))
    assert set(COMPUTED) <= set(answer)
    assert answer["00280008"] == {"vr": "IS", "Value": [4]}


def test_each_result_of_a_page_is_of_its_own_study_and_series() -> None:
    other_study = replace(
        STUDY, study_instance_uid="2.2", attributes={"00100020": {"vr": "LO", "Value": ["B"]}}
    )
    other_series = replace(SERIES, series_instance_uid="2.3", modality="MR")
    page = [
        Found(study, series, replace(INSTANCE, sop_instance_uid=f"1.4.{number}"))
        for number, (study, series) in enumerate(
            [(STUDY, SERIES), (STUDY, SERIES), (STUDY, other_series), (other_study, other_series)]
        )
    ]
    query = Query(Level.INSTANCE)
    answers = list(results_json(query, page))
    assert answers == [_result(query, one) for one in page]
    assert "Value" not in answers[2]["00100020"]
    assert "00080060" not in answers[1]


def test_a_header_that_could_not_be_read_has_its_uids() -> None:
    made = header_json({}, study="1.2", series="1.3", sop_class="1.5", instance="1.4")
    assert {tag: element["Value"] for tag, element in made.items()} == {
        "00080016": ["1.5"],
        "00080018": ["1.4"],
        "0020000D": ["1.2"],
        "0020000E": ["1.3"],
    }


def test_what_a_header_says_stands_above_what_is_known() -> None:
    header = {"00080018": {"vr": "UI", "Value": ["9.9"]}}
    made = header_json(header, study="", series="1.3", sop_class="1.5", instance="1.4")
    assert made["00080018"] == header["00080018"]
    assert "0020000D" not in made


def test_bulk_data_of_a_header_are_no_attributes_of_an_answer() -> None:
    header = {
        "00081030": {"vr": "LO", "Value": ["a"]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "there"},
        "00282000": {"vr": "OB", "InlineBinary": "YQ=="},
    }
    found = Found(STUDY, SERIES, replace(INSTANCE, attributes=header))
    whole = _result(Query(Level.INSTANCE, include_all=True), found)
    assert {"7FE00010", "00282000"}.isdisjoint(whole)
    assert whole["00081030"] == header["00081030"]
    assert "00081030" not in _result(Query(Level.INSTANCE), found)
    some = _result(Query(Level.INSTANCE, include=frozenset({"00081030", "00104000"})), found)
    assert some["00081030"] == header["00081030"]
    assert "00104000" not in some


BIRTH: Json = {"00100030": {"vr": "DA", "Value": ["19700101"]}}


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (Query(Level.SERIES), True),  # of any study: of each all that is asked of a study
        (Query(Level.SERIES, study_uid="1.2"), False),
        (Query(Level.SERIES, study_uid="1.2", include=frozenset({"00100030"})), True),
        (Query(Level.STUDY, study_uid="1.2"), True),
    ],
)
def test_a_study_is_told_of_in_full_where_it_was_not_named(query: Query, *, told: bool) -> None:
    answer = _result(query, Found(replace(STUDY, attributes=BIRTH), SERIES))
    assert ("00100030" in answer) is told
    assert answer["0020000D"] == {"vr": "UI", "Value": ["1.2"]}
    assert ("00201206" in answer) is (told and not query.include)


@pytest.mark.parametrize("tag", ["00080061", "00080062", "00201206", "00201208"])
def test_what_is_computed_of_a_named_study_is_told_when_it_is_asked_for(tag: str) -> None:
    study = replace(STUDY, modalities=("CT",), sop_classes=("1.5",))
    query = Query(Level.SERIES, study_uid="1.2", include=frozenset({tag}))
    assert tag in _result(query, Found(study, SERIES))


@pytest.mark.parametrize("tag", ["00080060", "00201209"])
def test_what_is_computed_of_a_named_series_is_told_when_it_is_asked_for(tag: str) -> None:
    found = Found(STUDY, replace(SERIES, modality="CT"), INSTANCE)
    named = Query(Level.INSTANCE, study_uid="1.2", series_uid="1.3")
    assert tag not in _result(named, found)
    assert tag in _result(replace(named, include=frozenset({tag})), found)
    assert tag in _result(replace(named, series_uid=None), found)


def test_a_tag_of_the_operators_choice_does_not_stand_above_what_is_there() -> None:
    tags: Json = {
        "0020000D": {"vr": "UI", "Value": ["x"]},
        "00180015": {"vr": "CS", "Value": ["HAND"]},
    }
    answer = _result(Query(Level.STUDY), replace(Found(STUDY), tags=tags))
    assert answer["0020000D"] == {"vr": "UI", "Value": ["1.2"]}
    assert answer["00180015"] == tags["00180015"]


def test_a_patient_is_told_with_what_is_asked_for() -> None:
    patient = PatientRow(BIRTH | {"00102160": {"vr": "SH", "Value": ["x"]}}, 2, 3, 4)
    answer = patient_json(Query(Level.STUDY), patient)
    assert answer == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        **BIRTH,
        "00201200": {"vr": "IS", "Value": [2]},
    }
    more = patient_json(Query(Level.STUDY, include=frozenset({"00201204"})), patient)
    assert (more["00201204"]["Value"], "00201202" in more) == ([4], False)
    asked = frozenset({"00201202", "00102160"})
    assert patient_json(Query(Level.STUDY, include=asked), patient)["00201202"]["Value"] == [3]
    assert "00102160" in patient_json(Query(Level.STUDY, include=asked), patient)
