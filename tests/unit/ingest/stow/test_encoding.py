"""DICOM JSON and Native DICOM Model XML as bytes; pydicom is the witness."""

import io
import random
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from darkroom_ingest.stow.encoding import Bulk, Unsayable, encode_json
from darkroom_ingest.stow.native_xml import NativeXml
from tests.support.mutation import a_seed, mutated

SAMPLES = sorted(Path(pydicom.data.get_testdata_file("CT_small.dcm") or "").parent.glob("*.dcm"))
PN = {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg", "Ideographic": "山田^太郎"}, None]}


def decoded(data: bytes) -> Dataset:
    return read_dataset(io.BytesIO(data), is_implicit_VR=False, is_little_endian=True)


def whole(data_set: Any) -> bytes:
    pieces = encode_json(data_set).pieces
    assert not any(isinstance(piece, Bulk) for piece in pieces)
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_come_back_from_their_json(path: Path) -> None:
    try:
        before = pydicom.dcmread(path, force=True)
        said = before.to_json_dict(suppress_invalid_tags=True)
    except (ValueError, TypeError, AttributeError, UserWarning, NotImplementedError) as error:
        pytest.skip(f"pydicom makes no JSON of it: {type(error).__name__}")
    try:
        after = decoded(whole(said)).to_json_dict()
    except Unsayable as error:
        assert error.code in {"bad-value", "bad-bulk-data-uri", "no-vr", "unknown-vr"}
        return
    for tag, element in said.items():
        if tag != "00080005" and not tag.startswith("0002") and not tag.endswith("0000"):
            assert same(after[tag], element), tag


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = {k for k in one.keys() | other.keys() if one.get(k) or other.get(k)}
        return all(k == "00080005" or same(one.get(k), other.get(k)) for k in keys)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, str) and isinstance(other, str):
        return one.rstrip("=A\0 ") == other.rstrip("=A\0 ")  # but for padding, inline, too
    return bool(one == other or str(one) == str(other))


def test_text_becomes_utf_8_as_soon_as_it_has_to() -> None:
    plain = decoded(whole({"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}}))
    assert plain.SpecificCharacterSet == "ISO_IR 100"
    said = {"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, "00100010": PN}
    item = {"00081110": {"vr": "SQ", "Value": [{"00080005": {"vr": "CS", "Value": ["x"]}}]}}
    made = decoded(whole(said | item))
    assert made.SpecificCharacterSet == "ISO_IR 192"
    assert str(made.PatientName[0]) == "Müller^Jörg=山田^太郎"
    assert "SpecificCharacterSet" not in made.ReferencedStudySequence[0]


def test_bulk_data_stay_open_wherever_they_stand() -> None:
    there = {"vr": "OW", "BulkDataURI": "there"}
    found = encode_json(
        {"54000100": {"vr": "SQ", "Value": [{"54001010": there}]}, "7FE00010": there}
    )
    assert [(one.tag, one.outermost) for one in found.bulk] == [
        (0x54001010, False),
        (0x7FE00010, True),
    ]


@pytest.mark.parametrize(
    ("data_set", "code"),
    [
        ([], "no-data-set"),
        ({"PatientName": PN}, "bad-tag"),
        ({"FFFEE000": {"vr": "SQ"}}, "bad-tag"),
        ({"00100010": []}, "no-vr"),
        ({"00100010": {"Value": ["x"]}}, "no-vr"),
        ({"00100010": {"vr": "XX", "Value": ["x"]}}, "unknown-vr"),
        ({"00100010": {"vr": "PN", "Value": "x"}}, "bad-value"),
        ({"00100010": {"vr": "PN", "Value": [{"Alphabetic": 5}]}}, "bad-value"),
        ({"00080018": {"vr": "UI", "Value": ["1\\2"]}}, "bad-value"),
        ({"00080018": {"vr": "UI", "Value": ["1\x00"]}}, "bad-value"),
        ({"00100010": {"vr": "LO", "Value": ["\ud800"]}}, "bad-value"),
        ({"00280010": {"vr": "US", "Value": [70000]}}, "bad-value"),
        ({"00280010": {"vr": "US", "Value": [True]}}, "bad-value"),
        ({"00280010": {"vr": "US", "Value": [1.5]}}, "bad-value"),
        ({"00280010": {"vr": "US", "Value": ["1" * 5000]}}, "bad-value"),
        ({"00180050": {"vr": "DS", "Value": [1e999]}}, "bad-value"),
        ({"00209165": {"vr": "AT", "Value": ["xyz"]}}, "bad-value"),
        ({"7FE00010": {"vr": "OW", "InlineBinary": "?"}}, "bad-inline-binary"),
        ({"7FE00010": {"vr": "OW", "BulkDataURI": 5}}, "bad-bulk-data-uri"),
        ({"00081110": {"vr": "SQ", "Value": ["x"]}}, "bad-item"),
    ],
)
def test_what_cannot_be_said_is_refused(data_set: Any, code: str) -> None:
    with pytest.raises(Unsayable) as caught:
        encode_json(data_set)
    assert caught.value.code == code


def test_numbers_keep_to_their_vr() -> None:
    made = decoded(
        whole(
            {
                "00180050": {"vr": "DS", "Value": [0.1 + 0.2, 1e-300, -1.23456789012345e20, "5.0"]},
                "00200013": {"vr": "IS", "Value": [3.0, "4"]},
                "00720082": {"vr": "SV", "Value": [str(-(2**63)), 7]},
            }
        )
    )
    assert all(len(one) <= 16 for one in str(made[0x00180050].value).strip("[]").split(", "))
    assert [int(one) for one in made.InstanceNumber] == [3, 4]
    assert list(made[0x00720082].value) == [-(2**63), 7]


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"00081110": {"vr": "SQ", "Value": [found]}}
    return found


def test_sequences_within_sequences_have_an_end() -> None:
    assert whole(nested(60))
    with pytest.raises(Unsayable) as caught:
        encode_json(nested(70))
    assert caught.value.code == "nested-too-deep"


XML = """<?xml version="1.0" encoding="utf-8"?>
<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">
 <DicomAttribute tag="00080018" vr="UI" keyword="SOPInstanceUID">
  <Value number="1">1.2.3</Value></DicomAttribute>
 <DicomAttribute tag="00080008" vr="CS"><Value number="1">A</Value><Value number="3">C</Value>
 </DicomAttribute>
 <DicomAttribute tag="00100010" vr="PN"><PersonName number="1"><Alphabetic>
  <FamilyName>Müller</FamilyName><NamePrefix>Dr</NamePrefix></Alphabetic></PersonName></DicomAttribute>
 <DicomAttribute tag="00081110" vr="SQ"><Item number="1">
  <DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2</Value></DicomAttribute></Item>
 </DicomAttribute>
 <DicomAttribute tag="00280010" vr="US"><Value number="1"> 5 </Value></DicomAttribute>
 <DicomAttribute tag="00420011" vr="OB"><InlineBinary>AA
EC</InlineBinary></DicomAttribute>
 <DicomAttribute tag="7FE00010" vr="OW"><BulkData uri="there"/></DicomAttribute>
</NativeDicomModel>""".encode()


def parsed(data: bytes, size: int = 17) -> dict[str, Any]:
    reader = NativeXml()
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
    return reader.finish()


def test_xml_is_the_same_data_set() -> None:
    found = parsed(XML)
    assert found == {
        "00080018": {"vr": "UI", "Value": ["1.2.3"]},
        "00080008": {"vr": "CS", "Value": ["A", None, "C"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^^^Dr"}]},
        "00081110": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}]},
        "00280010": {"vr": "US", "Value": ["5"]},
        "00420011": {"vr": "OB", "InlineBinary": "AAEC"},
        "7FE00010": {"vr": "OW", "BulkDataURI": "there"},
    }
    assert [one.uri for one in encode_json(found).bulk] == ["there"]


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"", "bad-xml"),
        (b"<html/>", "bad-xml"),
        (b"<NativeDicomModel>", "bad-xml"),
        (b"<NativeDicomModel><NativeDicomModel/></NativeDicomModel>", "bad-xml"),
        (b"<NativeDicomModel>" + b"<Item>" * 500, "bad-xml"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><NativeDicomModel/>', "document-type"),
        (b'<NativeDicomModel><DicomAttribute><Value number="1000000000"/>', "bad-xml"),
    ],
)
def test_what_is_no_native_model(document: bytes, code: str) -> None:
    with pytest.raises(Unsayable) as caught:
        parsed(document)
    assert caught.value.code == code


def test_mutants_of_metadata_are_said_or_refused() -> None:
    chance = random.Random(a_seed())
    said = 0
    for _ in range(1500):
        try:
            pieces = encode_json(parsed(mutated(chance, XML), 4096)).pieces
        except Unsayable:
            continue
        said += 1
        assert len(pieces) >= 1
    assert said
