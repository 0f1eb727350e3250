"""DICOM JSON says what the data set says (PS3.18 F.2): every element of every sample file, and odd
values that no sample has.
"""

import base64
import contextlib
import io
import json
import math
import struct
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import orjson
import pydicom
import pynetdicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.hooks import raw_element_vr

from darkroom_common.dicom.charset import TextReader
from darkroom_common.dicom.json_model import to_json
from darkroom_common.dicom.json_values import EXACT, INLINE_LIMIT, decimal, element, integer
from tests.support.real_files import REAL_FILES

pytestmark = pytest.mark.filterwarnings("ignore")
FORMS = {"FD": "d", "FL": "f", "SL": "l", "SS": "h", "SV": "q", "UL": "L", "US": "H", "UV": "Q"}
SINGLE = frozenset({"LT", "ST", "UT", "UR"})
BYTES = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


def said(vr: str, raw: bytes, declared: str = "") -> Any:
    """Return the values of an element as JSON that has gone over a wire."""
    reader = TextReader()
    reader.declare(declared.encode())
    return orjson.loads(orjson.dumps(element(vr, raw, reader))).get("Value", [])


def check(vr: str, raw: bytes, told: dict[str, Any], big: bool, where: str) -> None:
    """Compare an element of JSON with its bytes, without any code of ours."""
    if told["vr"] in BYTES:
        if "BulkDataURI" in told:
            assert len(raw) > INLINE_LIMIT, where
        else:
            assert base64.b64decode(told.get("InlineBinary", "")) == raw, where
        return
    assert told["vr"] == vr, where
    values = told.get("Value", [])
    if vr in FORMS or vr == "AT":
        check_numbers(vr, raw, values, big, where)
        return
    if not raw.isascii() or b"\x1b" in raw:
        return  # test_charset.py
    text = raw.decode("ascii")
    parts = [text] if vr in SINGLE else text.split("\\")
    if not text.strip(" \0"):
        assert values == [], where
        return
    assert len(values) == len(parts), where
    for value, part in zip(values, parts, strict=True):
        check_text(vr, value, part.rstrip(" \0"), where)


def check_numbers(vr: str, raw: bytes, values: list[Any], big: bool, where: str) -> None:
    order = ">" if big else "<"
    if vr == "AT":
        pairs = struct.iter_unpack(f"{order}HH", raw)
        assert values == [f"{group:04X}{number:04X}" for group, number in pairs], where
        return
    made = b""
    for value in values:
        number = float(value) if vr in ("FL", "FD") else int(value)
        assert isinstance(value, str) == (
            not math.isfinite(number) if vr in ("FL", "FD") else abs(int(value)) > EXACT
        ), where
        made += struct.pack(order + FORMS[vr], number)
    if "NaN" in values:  # there are many
        assert len(made) == len(raw), where
    else:
        assert made == raw, where


def check_text(vr: str, value: Any, part: str, where: str) -> None:
    if not part.strip():
        assert value is None, where
    elif vr == "PN":
        groups = [value.get(one, "") for one in ("Alphabetic", "Ideographic", "Phonetic")]
        assert "=".join(groups).rstrip("=") == part.rstrip("="), where
        assert all(value.values()), where
    elif vr in ("DS", "IS"):
        check_decimal(value, part.strip(), where)
    else:
        shown = value.rstrip(" \0")  # padding may stay
        assert shown == (part.strip(" \0") if vr in ("AE", "UI") else part), where


def check_decimal(value: Any, part: str, where: str) -> None:
    """A number is exactly that of the text; what is none is the text."""
    if isinstance(value, str):
        assert value == part, where
        return
    assert Decimal(repr(value)) == Decimal(part), where
    assert json.loads(json.dumps(value)) == value, where


def check_all(data_set: Dataset, told: dict[str, Any], where: str) -> int:
    present = sorted(data_set.keys())
    tags = [tag for tag in present if tag.group != 2 and tag.element]
    assert list(told) == [f"{tag:08X}" for tag in tags], where
    count = 0
    for tag in tags:
        place, one = f"{where}/{tag:08X}", told[f"{tag:08X}"]
        stands: Any = data_set.get_item(tag)
        if one["vr"] == "SQ":
            items = data_set[tag].value
            assert len(items) == len(one.get("Value", [])), place
            for number, item in enumerate(items):
                count += check_all(item, one["Value"][number], f"{place}/{number}")
        elif tag == 0x00080005:
            assert one == {"vr": "CS", "Value": ["ISO_IR 192"]}, place
        elif isinstance(stands, RawDataElement) and "BulkDataURI" not in one:
            found: dict[str, Any] = {}
            raw_element_vr(stands, found, ds=data_set)
            vr = str(found["VR"])
            vr = str(data_set[tag].VR) if " or " in vr else vr
            check(vr, stands.value or b"", one, not stands.is_little_endian, place)
            count += 1
    return count


def test_every_element_of_every_sample_says_what_the_data_set_says() -> None:
    count = 0
    more = (Path(pynetdicom.__file__).parent / "tests" / "dicom_files").glob("*.dcm")
    for path in (*REAL_FILES, *more):
        content = path.read_bytes()
        told: dict[str, Any] | None = None
        with contextlib.suppress(Exception):  # no DICOM, or broken on purpose
            told = to_json(dcmread(io.BytesIO(content), force=True))
        if told is None:
            continue
        other = dcmread(io.BytesIO(content), force=True)
        count += check_all(other, orjson.loads(orjson.dumps(told)), path.name)
    assert count > 15_000


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        (b"NaN ", ["NaN"]),
        (b"1.#QNAN\\200", ["1.#QNAN", 200.0]),
        (b"1,5 ", ["1,5"]),
        (b"+1.0E+000\\.5\\1.\\01", [1.0, 0.5, 1.0, 1.0]),
        (b"0.1234567890123456789\\0.25", ["0.1234567890123456789", 0.25]),
        (b"5 mm", ["5 mm"]),
        (b"1e400\\-1e400\\1e-400", ["1e400", "-1e400", "1e-400"]),
        (b"\\\\3 ", [None, None, 3.0]),
        (b"1\\ \\", [1.0, None, None]),
        (b"1_000", ["1_000"]),
        (b"inf\\Infinity\\-0", ["inf", "Infinity", -0.0]),
        (b"0x10\\1d3\\--1\\1-", ["0x10", "1d3", "--1", "1-"]),
        (b"9007199254740993\\9007199254740992", ["9007199254740993", 9007199254740992.0]),
        (b"0.1\\ 0.2 \\-1E-3", [0.1, 0.2, -0.001]),
        (b"  ", []),
    ],
)
def test_decimals(raw: bytes, values: list[Any]) -> None:
    assert said("DS", raw) == values


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        (b"3.7 ", ["3.7"]),
        (b"2.0\\1e2\\+5\\-07", [2, 100, 5, -7]),
        (b"1 A \\NaN\\\\1_0", ["1 A", "NaN", None, "1_0"]),
        (b"99999999999\\9007199254740993", [99999999999, "9007199254740993"]),
        (b"1e999999999\\9" + b"9" * 5000, ["1e999999999", "9" * 5001]),
        (b"0.0000001", ["0.0000001"]),
    ],
)
def test_integers(raw: bytes, values: list[Any]) -> None:
    assert said("IS", raw) == values


@pytest.mark.parametrize(
    ("vr", "raw", "values"),
    [
        ("LO", b"BRAIN\\\\BONE", ["BRAIN", None, "BONE"]),
        ("LO", b"\\", [None, None]),
        ("LO", b" A \\B  ", [" A", "B"]),
        ("SH", b"   ", []),
        ("SH", b"A\0\0\0", ["A"]),
        ("LO", b"A\0B ", ["A\0B"]),
        ("CS", b"ORIGINAL\\\\AXIAL ", ["ORIGINAL", None, "AXIAL"]),
        ("UI", b" 1.2\\1.3 \0", ["1.2", "1.3"]),
        ("UI", b"1.2\0\0", ["1.2"]),
        ("AE", b"  A B \\ C ", ["A B", "C"]),
        ("LT", b"  leading\\and \r\n trailing \0", ["  leading\\and \r\n trailing"]),
        ("UT", b" \0 ", []),
        ("UR", b"http://a/b c ", ["http://a/b c"]),
        ("DA", b"2026-01-02", ["2026-01-02"]),
        ("TM", b"25:99 ", ["25:99"]),
        ("DT", b"NOT A DATE", ["NOT A DATE"]),
        ("AS", b"45", ["45"]),
        ("PN", b"A^B=C=D ", [{"Alphabetic": "A^B", "Ideographic": "C", "Phonetic": "D"}]),
        ("PN", b"=C", [{"Ideographic": "C"}]),
        ("PN", b"==D", [{"Phonetic": "D"}]),
        ("PN", b"A=", [{"Alphabetic": "A"}]),
        ("PN", b"A=B=C=D=E", [{"Alphabetic": "A", "Ideographic": "B", "Phonetic": "C=D=E"}]),
        ("PN", b"A\\\\B", [{"Alphabetic": "A"}, None, {"Alphabetic": "B"}]),
        ("PN", b"^^^^", [{"Alphabetic": "^^^^"}]),
        ("PN", b"==", []),
        ("PN", b"=\\A", [None, {"Alphabetic": "A"}]),
        ("AT", struct.pack("<4H", 0x10, 0x20, 0x7FE0, 0x10), ["00100020", "7FE00010"]),
        ("FD", struct.pack("<3d", math.nan, math.inf, 1.5), ["NaN", "Infinity", 1.5]),
        ("FL", struct.pack("<f", -math.inf), ["-Infinity"]),
        ("FL", struct.pack("<2f", math.nan, 2.5), ["NaN", 2.5]),
        ("FL", struct.pack("<f", 0.1), [0.10000000149011612]),
        ("SV", struct.pack("<2q", -(2**63), 2**53), [str(-(2**63)), 2**53]),
        ("UV", struct.pack("<2Q", 2**64 - 1, 2**53 + 1), [str(2**64 - 1), str(2**53 + 1)]),
        ("UL", struct.pack("<L", 2**32 - 1), [2**32 - 1]),
        ("SS", struct.pack("<h", -1), [-1]),
    ],
)
def test_values(vr: str, raw: bytes, values: list[Any]) -> None:
    assert said(vr, raw) == values


@pytest.mark.parametrize("vr", [*FORMS, "AT"])
def test_bytes_that_make_no_whole_numbers_are_kept_as_they_are(vr: str) -> None:
    raw = b"\x01\x02\x03"
    told = element(vr, raw, TextReader())
    assert told == {"vr": "UN", "InlineBinary": base64.b64encode(raw).decode()}
    assert element(vr, b"", TextReader()) == {"vr": vr}


@settings(max_examples=400, deadline=None)
@given(text=st.text("0123456789+-.eE _,nNaA", max_size=20))
def test_a_number_is_exactly_the_text_or_the_text_stays(text: str) -> None:
    for found in (decimal(text), integer(text)):
        given = text.strip(" \0")
        if not given:
            assert found is None
        elif isinstance(found, str):
            assert found == given
        else:
            assert Decimal(repr(found)) == Decimal(given)
            assert "_" not in given


@settings(max_examples=200, deadline=None)
@given(exact=st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_a_decimal_of_sixteen_characters_is_never_altered(exact: Decimal) -> None:
    text = f"{exact:f}"[:16]
    found = decimal(text)
    try:
        assert Decimal(repr(found) if isinstance(found, float) else str(found)) == Decimal(text)
    except InvalidOperation:
        assert found == text


@settings(max_examples=200, deadline=None)
@given(vr=st.sampled_from([*FORMS, "AT"]), data=st.data())
def test_binary_numbers_are_never_altered(vr: str, data: st.DataObject) -> None:
    width = 4 if vr == "AT" else struct.calcsize("<" + FORMS[vr])
    raw = data.draw(
        st.binary(min_size=width, max_size=4 * width).filter(lambda b: len(b) % width == 0)
    )
    for big in (False, True):
        check(vr, raw, orjson.loads(orjson.dumps(element(vr, raw, TextReader(), big=big))), big, vr)


def test_what_was_made_in_memory_says_the_same_as_its_bytes() -> None:
    made = Dataset()
    made.PatientName = ["Müller^J=山田", "B"]
    made.SpecificCharacterSet = "ISO_IR 192"
    made.PixelSpacing = ["0.1", "1e400"]
    made.add_new(0x00200013, "IS", "3.7")
    made.ImageType = ["A", "", "B"]
    made.add_new(0x00720026, "AT", [0x00100010, 0x00200037])
    made.add_new(0x00189087, "FD", [math.nan, 1.0])
    made.Rows = 3
    made.add_new(0x00420011, "OB", b"%PDF")
    made.StudyDescription = ""
    made.RequestAttributesSequence = [Dataset()]
    told = to_json(made)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, implicit_vr=False, little_endian=True)
    again = to_json(dcmread(io.BytesIO(buffer.getvalue()), force=True))
    assert told == again
    assert told["00100010"]["Value"][0]["Ideographic"] == "山田"
    assert told["00280030"]["Value"] == [0.1, "1e400"]
    assert told["00200013"]["Value"] == ["3.7"]
    assert told["00080008"]["Value"] == ["A", None, "B"]


def test_an_item_may_have_a_character_set_of_its_own() -> None:
    def item(declared: str | None, name: bytes) -> Dataset:
        made = Dataset()
        if declared is not None:
            made.SpecificCharacterSet = declared
        tag = pydicom.tag.Tag(0x00081070)
        made[tag] = RawDataElement(
            tag, "PN", len(name), name, 0, is_implicit_VR=False, is_little_endian=True
        )
        return made

    outer = item("ISO_IR 100", "Jérôme".encode("latin-1"))
    outer.RequestAttributesSequence = [
        item("ISO_IR 144", "Иван".encode("iso8859_5")),
        item(None, "Jürgen".encode("latin-1")),
    ]
    told = to_json(outer)
    first, second = told["00400275"]["Value"]
    assert first["00081070"]["Value"] == [{"Alphabetic": "Иван"}]
    assert first["00080005"]["Value"] == ["ISO_IR 192"]
    assert second["00081070"]["Value"] == [{"Alphabetic": "Jürgen"}]
    assert told["00081070"]["Value"] == [{"Alphabetic": "Jérôme"}]
