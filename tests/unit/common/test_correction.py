"""Attributes are corrected in every encoding; nothing else of a data set is touched."""

import io
import struct
import zlib
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from darkroom_common.dicom.charset import NOTHING_ASSUMED, Assumed, CharacterSet
from darkroom_common.dicom.correction import Text, Unsayable, corrected
from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dicom.walk import Unreadable
from tests.support.builders import CT, a_data_set, encode

NAME, ID, ISSUER, SEX = 0x00100010, 0x00100020, 0x00100021, 0x00100040
STUDY, CHARSET = 0x0020000D, 0x00080005
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


def a_file(data: bytes, syntax: str) -> tuple[io.BytesIO, int]:
    head = encode_head(FileMeta(CT, "1.2", syntax))
    return io.BytesIO(head + data), len(head)


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def written(data_set: Dataset, syntax: str) -> bytes:
    data = encode(data_set, syntax)
    return deflated(data) if syntax == DeflatedExplicitVRLittleEndian else data


def read(data: bytes, syntax: str) -> Dataset:
    file, _ = a_file(data, syntax)
    return dcmread(file)


def correct(
    data: bytes,
    syntax: str,
    *,
    is_ascii: bool = True,
    assumed: Assumed = NOTHING_ASSUMED,
    **values: str | None,
) -> bytes:
    tags = {"name": NAME, "id": ID, "issuer": ISSUER, "sex": SEX, "study": STUDY}
    file, start = a_file(data, syntax)
    given = {tags[name]: value for name, value in values.items()}
    return b"".join(corrected(file, start, syntax, given, Text(is_ascii, assumed)))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("size", [3, 3 << 20])
def test_replaced_put_in_and_taken_out(syntax: str, size: int) -> None:
    pixels = bytes(range(256)) * (size // 256) + b"even"
    before = a_data_set(PatientSex="M", PixelData=pixels)
    data = written(before, syntax)
    values: Any = {
        "name": "Right^Name",
        "id": "1",
        "issuer": "HERE",
        "sex": None,
        "study": "1.2.33",
    }
    after = read(correct(data, syntax, **values), syntax)
    assert (str(after.PatientName), after.PatientID) == ("Right^Name", "1")
    assert (after.IssuerOfPatientID, after.StudyInstanceUID) == ("HERE", "1.2.33")
    assert "PatientSex" not in after
    for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "StudyInstanceUID"):
        setattr(before, keyword, getattr(after, keyword))
    del before.PatientSex
    assert [element.tag for element in after] == [element.tag for element in before]
    assert after == before
    assert after.PixelData == pixels


@pytest.mark.parametrize("syntax", SYNTAXES[:3])
def test_what_is_the_same_leaves_the_same_bytes(syntax: str) -> None:
    before = a_data_set(PatientID="TWELVE BYTES", PatientName="Planted^Name")
    data = written(before, syntax)
    assert correct(data, syntax, id="TWELVE BYTES", name="Planted^Name") == data


def test_group_lengths_and_second_values_go_and_the_rest_of_a_group_stays() -> None:
    def element(group: int, number: int, value: bytes, vr: bytes = b"LO") -> bytes:
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    parts = [
        element(8, 0x60, b"CT", b"CS"),
        element(0x10, 0, b"\x14\x00\x00\x00", b"UL"),
        element(0x10, 0x20, b"WRONG "),
        element(0x10, 0x20, b"WRONG2"),
        element(0x10, 0x1234, b"odd one "),
        element(0x20, 0, b"\x00\x00\x00\x00", b"UL"),
        element(0x20, 0x10, b"ID", b"SH"),
    ]
    found = correct(b"".join(parts), ExplicitVRLittleEndian, id="RIGHT")
    assert found == b"".join([parts[0], element(0x10, 0x20, b"RIGHT "), *parts[4:]])


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 144", "\u0418\u0432\u0430\u043d"),
        ("ISO_IR 192", "山田^太郎"),
        ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_a_name_is_said_in_the_character_set_that_there_is(declared: str, text: str) -> None:
    before = a_data_set(SpecificCharacterSet=declared.split("\\"), PatientName="X")
    data = encode(before)
    after = read(correct(data, ExplicitVRLittleEndian, is_ascii=False, name=text), SYNTAXES[0])
    assert str(after.PatientName) == text
    assert after["SpecificCharacterSet"] == before["SpecificCharacterSet"]


@pytest.mark.parametrize("declared", [None, "ISO_IR 6", "ISO_IR 100"])
def test_the_character_set_changes_where_nothing_depends_on_it(declared: str | None) -> None:
    before = a_data_set(**({"SpecificCharacterSet": declared} if declared else {}))
    data = encode(before)
    after = read(correct(data, ExplicitVRLittleEndian, name="山田^太郎"), SYNTAXES[0])
    assert (str(after.PatientName), after.SpecificCharacterSet) == ("山田^太郎", "ISO_IR 192")
    with pytest.raises(Unsayable):
        correct(data, ExplicitVRLittleEndian, is_ascii=False, name="山田^太郎")


def test_what_is_too_long_or_no_data_set_is_refused() -> None:
    data = encode(a_data_set())
    with pytest.raises(Unsayable):
        correct(data, ExplicitVRLittleEndian, id="x" * 65536)
    with pytest.raises(Unreadable):
        correct(data[:-1], ExplicitVRLittleEndian, id="x")


@pytest.mark.parametrize("always", [True, False])
def test_a_sender_who_does_not_say_its_character_set_is_spoken_to_in_it(always: bool) -> None:
    assumed = Assumed("windows-1251", always)
    name = "\u0418\u0432\u0430\u043d"
    data = encode(a_data_set())
    found = correct(data, ExplicitVRLittleEndian, is_ascii=False, assumed=assumed, name=name)
    after = read(found, ExplicitVRLittleEndian)
    assert "SpecificCharacterSet" not in after
    raw = after.get_item("PatientName").value
    assert CharacterSet("", assumed).decode(raw.rstrip(), "PN") == (name, "")
