"""Text of messages in any character set, both ways, where pydicom would alter it."""

import io

import pytest
from pydicom.dataset import Dataset

from darkroom_common.dicom.charset import Assumed
from darkroom_common.dicom.json_model import to_json
from darkroom_common.dicom.text_elements import declare_text
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
