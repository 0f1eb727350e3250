"""Text of messages in any character set, both ways, where pydicom would alter it."""

import io
from typing import Any

import pytest
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from darkroom_common.dicom.charset import Assumed, TextReader
from darkroom_common.dicom.json_model import to_json
from darkroom_common.dicom.text_elements import (
    declare_text,
    declared_in,
    decode_text,
    joined,
    put_text,
    read_values,
    vr_of,
)
from darkroom_common.dimse.wire.data_set import SYNTAXES, decode_data_set, encode_data_set
from darkroom_transmit.remote.query_keys import put


def explicit(tag: int, vr: str, raw: bytes) -> bytes:
    raw += b" " * (len(raw) % 2)
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    return head + vr.encode() + len(raw).to_bytes(2, "little") + raw


def answer(declared: str | None, name: bytes, description: bytes = b"") -> bytes:
    parts = [] if declared is None else [explicit(0x00080005, "CS", declared.encode())]
    parts += [explicit(0x00081030, "LO", description)] if description else []
    return b"".join([*parts, explicit(0x00100010, "PN", name)])


@pytest.mark.parametrize(
    ("declared", "raw", "name"),
    [
        ("\\ISO 2022 IR 58", b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1", "Zhang=张^小"),
        ("ISO 2022 IR 6\\ISO 2022 IR 87", b"A=\x1b$B;3ED\x1b(B", "A=山田"),
        ("ISO_IR 192", "Müller".encode("latin-1"), "Müller"),
        ("UTF-8", "Müller".encode(), "Müller"),
        (None, "Šimić".encode(), "Šimić"),
        (None, b"\x81\xfc", "\\201ü"),
        ("GBK", b"\x81\x5c^A", "乗^A"),
    ],
)
def test_answers_are_read_whatever_they_are_in(declared: str | None, raw: bytes, name: str) -> None:
    found = decode_data_set(answer(declared, raw, raw.replace(b"=", b"/")), SYNTAXES[0])
    told = to_json(found)
    groups = told["00100010"]["Value"][0]
    assert "=".join(groups[k] for k in ("Alphabetic", "Ideographic") if k in groups) == name
    assert told["00081030"]["Value"] == [name.replace("=", "/")]
    assert str(found.StudyDescription) == name.replace("=", "/") or "\\" in name


def test_what_is_assumed_of_a_node_holds_where_it_does_not_say() -> None:
    raw = answer(None, "张三".encode("gbk"))
    found = decode_data_set(raw, SYNTAXES[0], Assumed("GB18030"))
    assert found.PatientName == "张三"
    assert decode_data_set(raw, SYNTAXES[0]).PatientName != "张三"


def test_odd_numbers_of_an_answer_cost_nothing() -> None:
    data = explicit(0x00201208, "IS", b"3.7") + explicit(0x00280030, "DS", b"1e400\\\\2")
    told = to_json(decode_data_set(data, SYNTAXES[0]))
    assert told["00201208"]["Value"] == ["3.7"]
    assert told["00280030"]["Value"] == ["1e400", None, 2.0]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("wanted", "declared", "name"),
    [
        ("", "ISO_IR 100", "Müller*"),
        ("", "ISO_IR 192", "山田*"),
        ("\\ISO 2022 IR 87", ["", "ISO 2022 IR 87"], "*=山田*"),
        ("\\ISO 2022 IR 58", ["", "ISO 2022 IR 58"], "=张*"),
        ("\\ISO 2022 IR 149", ["", "ISO 2022 IR 149"], "홍*"),
        ("ISO_IR 144", "ISO_IR 144", "Иванов*"),
        ("ISO_IR 144", "ISO_IR 192", "山田*"),
        ("GB18030", "GB18030", "王*"),
        ("windows-1251", "ISO_IR 192", "Иванов*"),
        ("ISO_IR 192", None, "PLAIN*"),
    ],
)
def test_questions_are_in_what_a_node_prefers(
    syntax: str, wanted: str, declared: str | list[str] | None, name: str
) -> None:
    asked, step = Dataset(), Dataset()
    put(step, "ScheduledPerformingPhysicianName", name)
    put(asked, "ScheduledProcedureStepSequence", [step])
    put(asked, "PatientName", name)
    put(asked, "PatientID", "P1")
    declare_text(asked, wanted=wanted)
    declare_text(asked, wanted=wanted)  # a second time changes nothing
    raw = encode_data_set(asked, syntax)
    found = decode_data_set(raw, syntax)
    assert found.get("SpecificCharacterSet") == declared
    assert str(found.PatientName) == name
    item = found.ScheduledProcedureStepSequence[0]
    assert str(item.ScheduledPerformingPhysicianName) == name
    if "2022" in wanted and declared != "ISO_IR 192":
        assert raw.count(b"\x1b$") >= 2
    assert io.BytesIO(raw).getbuffer().nbytes % 2 == 0


def raw_of(tag: int, vr: str | None, value: bytes) -> RawDataElement:
    return RawDataElement(
        BaseTag(tag), vr, len(value), value, 0, is_implicit_VR=vr is None, is_little_endian=True
    )


def a_set(*elements: RawDataElement) -> Dataset:
    made = Dataset()
    for one in elements:
        made[one.tag] = one
    return made


def test_an_item_has_its_own_character_set_and_what_follows_it_has_not() -> None:
    item = a_set(
        raw_of(0x00080005, "CS", b"ISO_IR 144"), raw_of(0x00081050, "PN", b"\xb8\xd2\xd0\xdd")
    )
    plain = a_set(raw_of(0x00081050, "PN", "Müller".encode("latin-1")))
    outer = a_set(
        raw_of(0x00080005, "CS", b"ISO_IR 100"), raw_of(0x00100010, "PN", "Jörg".encode("latin-1"))
    )
    outer.RequestAttributesSequence = [item, plain]
    text = TextReader()
    before = text.current
    decode_text(outer, text)
    first, second = outer.RequestAttributesSequence
    assert str(first.PerformingPhysicianName) == "Иван"
    assert str(second.PerformingPhysicianName) == "Müller"
    assert str(outer.PatientName) == "Jörg"
    assert text.current is before


@pytest.mark.parametrize(
    ("vr", "raw", "values"),
    [
        ("LO", b"a\\b ", ["a", "b"]),
        ("LT", b"a\\b\0", ["a\\b"]),
        ("PN", b"", [""]),
        ("SH", b" a", [" a"]),
    ],
)
def test_values_are_apart_where_a_backslash_separates(
    vr: str, raw: bytes, values: list[str]
) -> None:
    dataset = a_set(raw_of(0x00091010, vr, raw))
    assert read_values(dataset, 0x00091010, TextReader()) == values
    assert read_values(dataset, 0x00091011, TextReader()) == []


def test_values_of_a_set_in_memory_are_read_alike() -> None:
    dataset = Dataset()
    dataset.OtherPatientNames = ["A^B", "C^D "]
    assert read_values(dataset, 0x00101001, TextReader()) == ["A^B", "C^D"]
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    assert declared_in(dataset) == b"\\ISO 2022 IR 87"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), ("a", "a"), (["a", None, "b"], "a\\\\b"), ([], ""), (("a", "b"), "('a', 'b')")],
)
def test_several_values_are_one_text(value: object, text: str) -> None:
    assert joined(value) == text


@pytest.mark.parametrize(
    ("element", "vr"),
    [
        (DataElement(0x00100010, "PN", "A"), "PN"),
        (raw_of(0x00100010, None, b""), "PN"),
        (raw_of(0x00090010, None, b""), "LO"),
        (raw_of(0x00091001, None, b""), "UN"),
    ],
)
def test_a_vr_that_is_not_said_is_the_dictionarys(
    element: DataElement | RawDataElement, vr: str
) -> None:
    assert vr_of(element) == vr


@pytest.mark.parametrize(("raw", "padded"), [(b"abc", b"abc "), (b"abcd", b"abcd"), (b"", b"")])
def test_text_that_is_put_has_an_even_length(raw: bytes, padded: bytes) -> None:
    dataset = Dataset()
    put_text(dataset, 0x00104000, "LT", raw)
    stands: Any = dataset.get_item(0x00104000)
    assert isinstance(stands, RawDataElement)
    assert (stands.value, stands.length, stands.VR) == (padded, len(padded), "LT")
