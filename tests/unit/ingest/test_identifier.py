"""Identifiers of C-FIND as queries, and answers as bytes, without an index."""

import struct
from typing import Any

import pytest
from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from darkroom_common.dimse.wire.data_set import SYNTAXES, decode_data_set, encode_data_set
from darkroom_common.index.fields import Level
from darkroom_common.index.matching.values import Fuzzy, Number, OneOf, Range, Wildcard
from darkroom_ingest.answering.answer import encoded, shown
from darkroom_ingest.answering.find import agreed
from darkroom_ingest.answering.identifier import (
    MAX_KEYS,
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    STUDY_ROOT,
    Asked,
    BadIdentifier,
    Key,
    Options,
    parse_identifier,
    vr_of,
)

RELATIONAL = Options(relational=True)


def identifier(level: str = "STUDY", **keys: Any) -> Dataset:
    found = Dataset()
    for keyword, value in ({"QueryRetrieveLevel": level} | keys).items():  # also odd ones
        tag = tag_for_keyword(keyword)
        assert tag is not None
        vr = dictionary_VR(tag)
        found[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)
    return found


def parsed(asked: Dataset, model: str = STUDY_ROOT, options: Options = RELATIONAL) -> Asked:
    """Parse it as it comes from the wire."""
    return parse_identifier(
        decode_data_set(encode_data_set(asked, SYNTAXES[1]), SYNTAXES[1]), model, options
    )


@pytest.mark.parametrize(
    ("level", "keyword", "value", "wanted"),
    [
        ("STUDY", "PatientID", "P1", OneOf(("p1",))),
        ("STUDY", "PatientID", "P*", Wildcard("p*")),
        ("STUDY", "ModalitiesInStudy", ["CT", "MR"], OneOf(("CT", "MR"))),
        ("STUDY", "Modality", "CT", OneOf(("CT",))),
        ("STUDY", "StudyInstanceUID", ["1.2", "1.3"], OneOf(("1.2", "1.3"))),
        ("SERIES", "SeriesNumber", "4", Number(4)),
        ("IMAGE", "InstanceNumber", "7", Number(7)),
    ],
)
def test_each_kind_of_matching(level: str, keyword: str, value: Any, wanted: object) -> None:
    asked = parsed(identifier(level, **{keyword: value}))
    (condition,) = asked.query.conditions
    assert condition.match == wanted
    assert not asked.partly


def test_ranges_and_universal_matching() -> None:
    asked = parsed(identifier(StudyDate="20240101-", StudyTime="", PatientName="*"))
    (condition,) = asked.query.conditions
    assert isinstance(condition.match, Range)
    assert condition.match.high is None
    assert {"00080020", "00080030", "00100010", "0020000D"} == set(asked.wanted)


def test_the_levels_of_each_model() -> None:
    levels = {
        PATIENT_ROOT: {"PATIENT", "STUDY", "SERIES", "IMAGE"},
        STUDY_ROOT: {"STUDY", "SERIES", "IMAGE"},
        PATIENT_STUDY_ONLY: {"PATIENT", "STUDY"},
    }
    for model, names in levels.items():
        for name in ("PATIENT", "STUDY", "SERIES", "IMAGE", "", "study"):
            if name in names:
                assert parsed(identifier(name), model).level == name
            else:
                with pytest.raises(BadIdentifier) as refused:
                    parsed(identifier(name), model)
                assert refused.value.tag == "00080052"


def test_what_is_above_has_to_be_named_unless_queries_are_relational() -> None:
    """PS3.4 C.4.1.2.1: one value of each unique key above the level."""
    usual = Options()
    with pytest.raises(BadIdentifier) as refused:
        parsed(identifier("SERIES", StudyInstanceUID=["1.2", "1.3"]), options=usual)
    assert refused.value.tag == "0020000D"
    with pytest.raises(BadIdentifier) as refused:
        parsed(identifier("SERIES", StudyInstanceUID="1.2"), PATIENT_ROOT, usual)
    assert refused.value.tag == "00100020"
    asked = parsed(
        identifier("IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.3"), options=usual
    )
    assert (asked.query.level, asked.query.study_uid, asked.query.series_uid) == (
        Level.INSTANCE,
        "1.2",
        "1.3",
    )


def test_what_is_not_known_or_not_matched_is_told() -> None:
    for asked in (
        identifier(SeriesDescription=""),  # of a level below
        identifier(PatientComments="x"),  # told, not matched
        identifier(AcquisitionDate=""),  # not in the index
        identifier(NumberOfStudyRelatedSeries="2"),
    ):
        assert parsed(asked).partly
    assert not parsed(identifier("IMAGE", AcquisitionDate="")).partly


@pytest.mark.parametrize(
    "wrong",
    [
        identifier(StudyDate="20240101-20230101"),
        identifier(StudyInstanceUID="1.2.*"),
        identifier(PatientName="*".join("abcdefghijklmnop")),
        identifier(PatientName="x" * 5000),
    ],
)
def test_values_that_suit_no_matching_are_named_by_their_tag_alone(wrong: Dataset) -> None:
    with pytest.raises(BadIdentifier) as refused:
        parsed(wrong)
    assert refused.value.tag in {"00080020", "0020000D", "00100010"}
    assert "2024" not in str(refused.value)


def test_keys_are_bounded() -> None:
    many = identifier()
    for number in range(MAX_KEYS):
        many.add_new(0x00091001 + number, "LO", "")
    with pytest.raises(BadIdentifier):
        parsed(many)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_answer_in_what_the_asker_reads(syntax: str) -> None:
    asked = parsed(identifier(PatientName="", PatientID="", PatientSex=""))
    name = {"vr": "PN", "Value": [{"Alphabetic": "Плантед^Иван"}]}
    result = {"00100010": name, "00100020": {"vr": "LO", "Value": ["1"]}, "0020000D": {"vr": "UI"}}
    implicit = syntax == SYNTAXES[1]
    for prefers, declared in (
        ("ISO_IR 144", "ISO_IR 144"),
        ("\\ISO 2022 IR 144", ["", "ISO 2022 IR 144"]),
        ("ISO_IR 100", "ISO_IR 192"),
        ("", "ISO_IR 192"),
        ("nothing known", "ISO_IR 192"),
    ):
        answer = shown(asked, result, retrieve_ae="DARKROOM")
        read = decode_data_set(encoded(answer, prefers=prefers, implicit=implicit), syntax)
        assert read.PatientName == "Плантед^Иван"
        assert read.SpecificCharacterSet == declared
        assert "PatientSex" in read
        assert (read.QueryRetrieveLevel, read.RetrieveAETitle) == ("STUDY", "DARKROOM")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_value_that_cannot_be_said_leaves_the_others(syntax: str) -> None:
    asked = parsed(identifier(PatientID="", PatientSex=""))
    result = {"00100020": {"vr": "LO", "Value": ["a\\b"]}, "00100040": {"vr": "CS", "Value": ["F"]}}
    answer = shown(asked, result, retrieve_ae="DARKROOM")
    read = decode_data_set(encoded(answer, prefers="", implicit=syntax == SYNTAXES[1]), syntax)
    assert (read.PatientID, read.PatientSex) == ("", "F")


def test_what_is_agreed_on() -> None:
    """PS3.4 table C.5-2: a byte for each, as many as were sent."""
    assert agreed(struct.pack("5B", 1, 1, 1, 1, 1)) == bytes((1, 1, 1, 0, 0))
    assert agreed(bytes((0, 1, 0))) == bytes((0, 1, 0))
    assert agreed(b"") == b""


def test_a_sequence_is_wanted_with_what_its_items_name() -> None:
    """PS3.4 C.2.2.2.6: an empty one is asked for whole; what it has no index of is told."""
    item = Dataset()
    item.ScheduledProcedureStepDescription = "CHEST"
    asked = identifier("IMAGE", RequestAttributesSequence=[item])
    found = parsed(asked)
    assert found.wanted["00400275"] == Key("SQ", {"00400007": Key("LO")})
    assert found.partly, "its key is not matched"
    item.ScheduledProcedureStepDescription = ""
    assert not parsed(asked).partly
    whole = parsed(identifier("IMAGE", RequestAttributesSequence=[]))
    assert whole.wanted["00400275"] == Key("SQ")
    assert not whole.partly
    study = parsed(identifier(ReferencedImageSequence=[]))
    assert study.partly, "no study has it"
    assert "00081140" not in study.wanted


def test_levels_count_what_is_below_where_they_may() -> None:
    """PS3.4 C.3.4: counts of a patient belong to a patient; syntaxes to instances, and not here."""
    counts = {"NumberOfPatientRelatedStudies": "", "NumberOfPatientRelatedInstances": ""}
    patient = parsed(identifier("PATIENT", **counts), PATIENT_ROOT)
    assert {"00201200", "00201204"} <= set(patient.wanted)
    assert not patient.partly
    study = parsed(identifier("STUDY", **counts))
    assert not {"00201200", "00201204"} & set(study.wanted)
    assert study.partly
    image = parsed(identifier("IMAGE", AvailableTransferSyntaxUID=""))
    assert image.partly


def test_nothing_is_agreed_on_that_was_not_asked_for() -> None:
    assert Options() == Options(relational=False, combined=False, fuzzy=False)
    (usual,) = parsed(identifier(PatientName="Doe"), options=Options()).query.conditions
    (fuzzy,) = parsed(identifier(PatientName="Doe"), options=Options(fuzzy=True)).query.conditions
    assert isinstance(usual.match, OneOf)
    assert isinstance(fuzzy.match, Fuzzy)
    assert not parsed(identifier(), options=Options()).query.combined
    assert parsed(identifier(), options=Options(combined=True)).query.combined


def test_the_character_set_is_as_it_was_declared() -> None:
    asked = parsed(identifier(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=""))
    assert asked.character_set == "\\ISO 2022 IR 87"
    assert "00080005" not in asked.wanted, "it is no key"


def test_as_many_keys_as_there_may_be_are_read() -> None:
    many = identifier()
    for number in range(MAX_KEYS - len(many)):
        many.add_new(0x00091001 + number, "LO", "")
    assert len(parsed(many).wanted) >= 1
    item = Dataset()
    item.CodeValue = ""
    many[0x00081140] = DataElement(0x00081140, "SQ", [item])
    with pytest.raises(BadIdentifier, match=str(MAX_KEYS)):
        parsed(many)


@pytest.mark.parametrize(
    ("tag", "stands", "vr"),
    [
        (0x00100010, "UN", "PN"),  # the index's own word is worth more
        (0x00189073, "SH", "SH"),  # as it came
        (0x00189073, "UN", "FD"),  # as the dictionary has it
        (0x00280106, "UN", "US"),  # the first of US or SS
        (0x00091001, "UN", "UN"),  # private
        (0x00091001, "DS", "DS"),
    ],
)
def test_an_attribute_has_the_vr_that_is_known_of_it(tag: int, stands: str, vr: str) -> None:
    data_set = Dataset()
    data_set[tag] = RawDataElement(
        BaseTag(tag), stands, 0, b"", 0, is_implicit_VR=False, is_little_endian=True
    )
    assert vr_of(data_set, tag) == vr
