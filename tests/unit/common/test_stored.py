"""Stored bytes have one reader: it takes what receiving took, and says what pydicom says of it."""

import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from darkroom_common.dicom.identity import read_identity
from darkroom_common.dicom.json_model import DEFER_LIMIT, to_json
from darkroom_common.dicom.limits import ReadLimits
from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_common.dicom.stored import PIXELS, Found, stored_file, stored_object
from darkroom_common.dicom.walk import Unreadable
from tests.support.builders import CT, a_data_set, encode
from tests.support.real_files import REAL_FILES

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.req("ING-15")]
IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
UNDEFINED = 0xFFFFFFFF


def short(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    told = len(value) if length is None else length
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, told) + value


def bare(tag: int, value: bytes, length: int | None = None) -> bytes:
    told = len(value) if length is None else length
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, told) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return bare(0xFFFEE000, value, length)


ITEM_END, SEQUENCE_END = bare(0xFFFEE00D, b""), bare(0xFFFEE0DD, b"")
BEFORE = short(0x00080018, b"UI", b"1.2.3.4\0")
AFTER = short(0x00100020, b"LO", b"P1") + short(0x00280010, b"US", b"\2\0")


def found_in(
    data: bytes, syntax: str = EXPLICIT, limits: ReadLimits | None = None, **how: Any
) -> Found:
    if limits is not None:
        how["limits"] = limits
    with stored_object(io.BytesIO(b"head" + data), syntax, 4, len(data)) as stored:
        return stored.data_set(**how)


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


DAMAGED = {"DICOMDIR-nooffset"}
"""An item is longer than its sequence: pydicom goes on in what follows."""


def our_files() -> list[Any]:
    found = []
    for path in REAL_FILES:
        content = path.read_bytes()
        try:
            with stored_file(io.BytesIO(content)) as (stored, meta):
                whole = meta.transfer_syntax_uid and not stored.data_set().broken
        except Unreadable:
            continue
        if whole and path.name not in DAMAGED:
            found.append(pytest.param(content, id=path.name))
    return found


OURS = our_files()


@pytest.mark.parametrize("content", OURS)
def test_every_real_file_reads_as_pydicom_reads_it(content: bytes) -> None:
    with stored_file(io.BytesIO(content)) as (stored, _):
        ours = to_json(stored.data_set(defer=DEFER_LIMIT).data_set)
    theirs = to_json(dcmread(io.BytesIO(content), defer_size=DEFER_LIMIT, force=True))
    assert ours == theirs


def test_most_real_files_are_read() -> None:
    assert len(OURS) > 150


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_a_long_value_is_located_in_every_encoding(syntax: str) -> None:
    inner = Dataset()
    inner.add_new(0x00420011, "OB", b"nested" * 20_000)
    one = a_data_set(PixelData=bytes(range(250)) * 400, Rows=250, Columns=400)
    one.add_new(0x0040A730, "SQ", [Dataset(), inner])
    data = encode(one, EXPLICIT if syntax == DEFLATED else syntax)
    if syntax == DEFLATED:
        data = deflated(data)
    with stored_object(io.BytesIO(b"head" + data), syntax, 4, len(data)) as stored:
        found = stored.data_set(defer=1000)
        raws: list[Any] = [
            found.data_set.get_item(0x7FE00010, keep_deferred=True),
            found.data_set[0x0040A730].value[1].get_item(0x00420011, keep_deferred=True),
        ]
        values = [stored.read(raw.value_tell, raw.length) for raw in raws]
    assert [raw.value for raw in raws] == [None, None]
    assert values == [bytes(range(250)) * 400, b"nested" * 20_000]
    assert found.data_set.PatientID == "PLANTED-1"
    assert found.data_set.file_meta.TransferSyntaxUID == syntax
    assert not found.broken


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_file_meta_in_the_data_set_decides_nothing(syntax: str) -> None:
    one = encode(a_data_set(), EXPLICIT if syntax == DEFLATED else syntax)
    said = b"1.2.840.10008.1.2.4.50"
    meta = {
        IMPLICIT: bare(0x00020010, said),
        BIG: struct.pack(">HH2sH", 2, 0x10, b"UI", len(said)) + said,
    }.get(syntax, short(0x00020010, b"UI", said))
    data = deflated(meta + one) if syntax == DEFLATED else meta + one
    content = encode_head(FileMeta(CT, "1.2.3", syntax)) + data
    with stored_file(io.BytesIO(content)) as (stored, head):
        found = stored.data_set(stop_at=PIXELS)
    assert head.transfer_syntax_uid == syntax
    assert found.data_set.file_meta.TransferSyntaxUID == syntax
    assert found.data_set.PatientID == "PLANTED-1"
    assert str(found.data_set[0x00020010].value) == said.decode()
    assert found.oddities == {"file-meta-element"}


def test_it_stops_at_the_pixels_and_says_where_they_are() -> None:
    pixels = long(0x7FE00010, b"OB", item(b"") + item(b"abcd") + SEQUENCE_END, UNDEFINED)
    data = BEFORE + AFTER + pixels + b"\xff" * 40
    found = found_in(data, stop_at=PIXELS)
    raw: Any = found.data_set.get_item(0x7FE00010, keep_deferred=True)
    assert (raw.value, raw.length) == (None, UNDEFINED)
    assert raw.value_tell == 4 + len(BEFORE + AFTER) + 12
    assert not found.broken


def test_of_two_elements_of_a_tag_the_first_counts_as_in_receiving() -> None:
    data = BEFORE + short(0x00100020, b"LO", b"FIRST ") + short(0x00100020, b"LO", b"SECOND")
    assert found_in(data).data_set.PatientID == "FIRST"


@pytest.mark.parametrize(
    "end",
    [b"\0", b"\0" * 7, b"\0" * 8, b"\0" * 23, long(0xFFFCFFFC, b"OB", bytes(500))],
    ids=["an octet", "7 octets", "8 octets", "23 octets", "data set trailing padding"],
)
@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED])
def test_padding_at_the_end_is_no_part_of_the_header(end: bytes, syntax: str) -> None:
    data = BEFORE + AFTER + end
    found = found_in(deflated(data) if syntax == DEFLATED else data, syntax)
    assert not found.broken
    assert set(found.data_set.keys()) - {Tag(0xFFFCFFFC)} == {0x00080018, 0x00100020, 0x00280010}


BROKEN_SEQUENCES = {
    "text": b"Acme Header Anonymizer v1 ",
    "an item that is too long": item(b"", 400),
    "an element that is too long": item(
        short(0x00081150, b"UI", b"1.2\0") + b"\x08\0\x55\x11UI\xff\0"
    ),
    "no room for a head": item(short(0x00081150, b"UI", b"1.2\0") + b"\x08\0\x55"),
    "no delimiter": item(short(0x00081150, b"UI", b"1.2\0"), UNDEFINED),
    "another delimiter": item(b"", UNDEFINED) + SEQUENCE_END + ITEM_END,
    "a sequence that is too long": item(long(0x00081140, b"SQ", b"", 500)),
}


@pytest.mark.parametrize("content", BROKEN_SEQUENCES.values(), ids=BROKEN_SEQUENCES)
def test_a_broken_sequence_of_defined_length_costs_itself_alone(content: bytes) -> None:
    found = found_in(BEFORE + long(0x00081115, b"SQ", content) + AFTER)
    element = found.data_set[0x00081115]
    assert (element.VR, element.value) == ("UN", content)
    assert found.data_set.PatientID == "P1"
    assert (found.broken, set(found.oddities)) == ("", {"damaged-sequence"})


def test_what_is_around_a_broken_sequence_is_read() -> None:
    inner = short(0x00081150, b"UI", b"1.2\0") + long(0x00081199, b"SQ", b"no items") + AFTER
    for content in (item(inner), item(inner, UNDEFINED) + ITEM_END):
        found = found_in(BEFORE + long(0x00081115, b"SQ", content) + AFTER)
        first = found.data_set[0x00081115].value[0]
        assert (first[0x00081199].VR, first[0x00081199].value) == ("UN", b"no items")
        assert first.PatientID == found.data_set.PatientID == "P1"


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize("depth", [64, 65, 3000])
def test_depth_is_bounded_whatever_the_lengths(syntax: str, depth: int) -> None:
    content = b""
    for _ in range(depth):
        content = item(content)
        content = (
            bare(0x00081115, content) if syntax == IMPLICIT else long(0x00081115, b"SQ", content)
        )
    after = bare(0x00100020, b"P1") if syntax == IMPLICIT else AFTER
    found = found_in(content + after, syntax)
    assert found.data_set.PatientID == "P1"
    assert bool(found.oddities) is (depth > 64)


def test_items_are_bounded_whatever_the_lengths() -> None:
    for content in (item(b"") * 100, item(b"", UNDEFINED) + ITEM_END):
        data = BEFORE + long(0x00081115, b"SQ", content) * 2 + AFTER
        found = found_in(data, limits=ReadLimits(elements=4))
        assert found.broken == "too-many-elements"
        assert found.data_set.SOPInstanceUID == "1.2.3.4"


@pytest.mark.parametrize("cut", [1, 7, 30])
def test_a_cut_object_gives_what_is_before_the_cut(cut: int) -> None:
    data = (BEFORE + AFTER + long(0x7FE00010, b"OW", bytes(40)))[:-cut]
    found = found_in(data)
    assert found.broken == "truncated"
    assert found.data_set.PatientID == "P1"
    assert 0x7FE00010 not in found.data_set


def test_private_sequences_of_known_creators_are_read_within_limits() -> None:
    creator = bare(0x20050010, b"Philips MR Imaging DD 001 ")
    known = bare(0x20051083, item(bare(0x00080100, b"CODE")))
    found = found_in(bare(0x00100020, b"P1") + creator + known, IMPLICIT)
    assert found.data_set[0x20051083].value[0].CodeValue == "CODE"
    large = bare(0x20051083, item(bytes(8)) * (1 << 17))
    found = found_in(bare(0x00100020, b"P1") + creator + large, IMPLICIT)
    assert found.data_set[0x20051083].VR == "UN"
    assert not found.broken


def test_un_of_a_known_sequence_is_read_in_either_encoding() -> None:
    for inner in (bare(0x00081150, b"1.2\0"), short(0x00081150, b"UI", b"1.2\0")):
        for content, length in (
            (item(inner), None),
            (item(inner, UNDEFINED) + ITEM_END + SEQUENCE_END, UNDEFINED),
        ):
            found = found_in(BEFORE + long(0x00081115, b"UN", content, length) + AFTER)
            assert found.data_set[0x00081115].value[0].ReferencedSOPClassUID == "1.2"
            assert found.data_set.PatientID == "P1"


def test_pixel_representation_reaches_the_items() -> None:
    nested = bare(0x00283000, item(bare(0x00283002, struct.pack("<Hhh", 2, -3, 16))))
    data = bare(0x00280103, b"\1\0") + bare(0x00280106, struct.pack("<h", -5)) + nested
    found = found_in(data, IMPLICIT)
    assert found.data_set.SmallestImagePixelValue == -5
    assert found.data_set[0x00283000].value[0][0x00283002].VR == "SS"


def _rich(syntax: str) -> bytes:
    inner = a_data_set()
    one = a_data_set(ReferencedStudySequence=[inner, Dataset()], IconImageSequence=[inner])
    one.add_new(0x00090010, "LO", "ACME")
    one.add_new(0x00091001, "UN", b"abcd")
    return encode(one, syntax)


RICH = {syntax: _rich(syntax) for syntax in (IMPLICIT, EXPLICIT, BIG)}


@settings(max_examples=600, deadline=None)
@given(
    syntax=st.sampled_from(list(RICH)),
    changes=st.lists(
        st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=8)), max_size=4
    ),
    end=st.sampled_from([b"", b"\0", b"\0\0\0"]),
)
def test_what_receiving_takes_can_be_read(
    *, syntax: str, changes: list[tuple[int, bytes]], end: bytes
) -> None:
    data = bytearray(RICH[syntax])
    for place, change in changes:
        at = place % len(data)
        data[at : at + len(change)] = change
    data += end
    try:
        taken = read_identity(bytes(data), syntax)
    except Unreadable:
        return
    found = found_in(bytes(data), syntax)
    assert found.broken == ""
    for flag in ("nonstandard-vr", "damaged-sequence", "file-meta-element"):
        assert (flag in taken.flags) is (flag in found.oddities)
    assert all(element["vr"] for element in to_json(found.data_set).values())


def test_a_damaged_stream_is_told() -> None:
    data = deflated(BEFORE + AFTER)[:-3]
    with pytest.raises(Unreadable):
        found_in(data, DEFLATED)
