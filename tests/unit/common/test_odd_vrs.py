"""VRs that are none, as devices write them: the header is read, whatever follows, and told."""

import io
import itertools
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom_common.dicom.headers import Unusual, read_json
from darkroom_common.dicom.identity import Identity, IdentityReader
from darkroom_common.dicom.json_model import to_json
from darkroom_common.dicom.stored import stored_object
from darkroom_common.dicom.walk import Unreadable

EXPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
UNDEFINED = 0xFFFFFFFF
pytestmark = pytest.mark.req("ING-15")
SHORT_ONES = [b"UK", b"XX", b"  ", b"\0\0", b"??", b"--", b"lo", b"01", b"\x1b(", b"Lo", b" L"]
LONG_ONES = [b"OX", b"ZZ", b"AA", b"UK", b"\0\0", b"??", b"  "]


def short(tag: int, vr: bytes, value: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long(tag: int, vr: bytes, value: bytes, length: int | None = None, order: str = "<") -> bytes:
    told = len(value) if length is None else length
    return struct.pack(f"{order}HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, told) + value


def bare(tag: int, value: bytes, length: int | None = None) -> bytes:
    told = len(value) if length is None else length
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, told) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return bare(0xFFFEE000, value, length)


ITEM_END, SEQUENCE_END = bare(0xFFFEE00D, b""), bare(0xFFFEE0DD, b"")
BEGIN = short(0x00080016, b"UI", b"1.2\0") + short(0x00080018, b"UI", b"1.3\0")
END = short(0x00100020, b"LO", b"P1") + short(0x0020000D, b"UI", b"1.4\0")
END += short(0x00280010, b"US", b"\2\0") + long(0x7FE00010, b"OW", bytes(8))
CREATOR = short(0x00090010, b"LO", b"ACME")


def identity_of(data: bytes, cuts: tuple[int, ...] = (), syntax: str = EXPLICIT) -> Identity:
    reader = IdentityReader(syntax)
    for start, end in itertools.pairwise([0, *sorted(cuts), len(data)]):
        reader.feed(data[start:end])
    return reader.finish()


def header_of(data: bytes, syntax: str = EXPLICIT) -> dict[str, dict[str, Any]]:
    with stored_object(io.BytesIO(data), syntax, 0, len(data)) as stored:
        found = stored.data_set()
    assert found.broken == ""
    return to_json(found.data_set)


def all_is_there(data: bytes) -> dict[str, dict[str, Any]]:
    """However it arrives, the object is who it is, its odd VR is told, and its header is whole."""
    for size in (len(data), 1, 5, 8, 13):
        cuts = tuple(range(size, len(data), size))
        identity = identity_of(data, cuts)
        assert (identity.sop_instance_uid, identity.study_instance_uid) == ("1.3", "1.4"), size
        assert identity.patient_key == b"\x1fP1"
        assert "nonstandard-vr" in identity.flags
        assert "damaged-sequence" not in identity.flags
    header = header_of(data)
    assert header["00100020"] == {"vr": "LO", "Value": ["P1"]}
    assert header["00280010"] == {"vr": "US", "Value": [2]}
    assert header["7FE00010"]["BulkDataURI"] == "bulkdata/7FE00010"
    with pytest.raises(Unusual):
        read_json(lambda at, count: data[at : at + count], len(data), implicit=False)
    return header


@pytest.mark.parametrize("value", [b"FOR PRESENTATION", b"ODD", b"", b"V" * 5000])
@pytest.mark.parametrize("vr", SHORT_ONES)
def test_a_known_tag_with_a_short_head_has_the_vr_of_the_dictionary(
    vr: bytes, value: bytes
) -> None:
    found = all_is_there(BEGIN + short(0x00080068, vr, value) + END)["00080068"]
    assert found == ({"vr": "CS", "Value": [value.decode()]} if value else {"vr": "CS"})


@pytest.mark.parametrize("value", [b"FOR PRESENTATION", b"ODD", b"", b"V" * 5000])
@pytest.mark.parametrize("vr", LONG_ONES)
def test_a_known_tag_with_a_long_head_has_the_vr_of_the_dictionary(vr: bytes, value: bytes) -> None:
    if vr in SHORT_ONES and not value:
        pytest.skip("a short empty head and a long one differ in what follows alone")
    found = all_is_there(BEGIN + long(0x00080068, vr, value) + END)["00080068"]
    assert found == ({"vr": "CS", "Value": [value.decode()]} if value else {"vr": "CS"})


@pytest.mark.parametrize("value", [b"abcd", b"abc", b"", bytes(3000)])
@pytest.mark.parametrize("vr", SHORT_ONES)
def test_a_private_one_is_unknown_and_kept(vr: bytes, value: bytes) -> None:
    one = short(0x00091001, vr, value)
    other = short(0x00091002, vr, b"second")
    header = all_is_there(BEGIN + CREATOR + one + other + END)
    assert header["00091001"]["vr"] == header["00091002"]["vr"] == "UN"
    assert ("InlineBinary" in header["00091001"]) is (0 < len(value) <= 1024)
    assert header["00091002"]["InlineBinary"] == "c2Vjb25k"


@pytest.mark.parametrize("vr", LONG_ONES)
def test_vrs_that_are_to_come_are_long(vr: bytes) -> None:
    one = long(0x00091001, vr, b"abcdefgh")
    other = long(0x00091002, vr, b"second")
    header = all_is_there(BEGIN + CREATOR + one + other + END)
    assert header["00091001"] == {"vr": "UN", "InlineBinary": "YWJjZGVmZ2g="}
    assert header["00091002"]["InlineBinary"] == "c2Vjb25k"


@pytest.mark.parametrize("vr", [b"UK", b"  ", b"??", b"\0\0"])
@pytest.mark.parametrize("ended", ["", "by its length", "by a delimiter", "both"])
def test_the_last_of_an_item_or_of_all(vr: bytes, ended: str) -> None:
    one = short(0x00081155, b"UI", b"1.5\0") + short(0x00081195, vr, b"1.6\0")
    empty = short(0x00081155, b"UI", b"1.5\0") + short(0x00081195, vr, b"")
    for last in (one, empty):
        if not ended:
            data = (
                BEGIN + END[: -len(long(0x7FE00010, b"OW", bytes(8)))] + short(0x7FE00010, vr, b"")
            )
            assert identity_of(data).patient_key == b"\x1fP1"
            return
        whole = item(last) if ended == "by its length" else item(last, UNDEFINED) + ITEM_END
        if ended == "by a delimiter":
            sequence = long(0x00081199, b"SQ", whole + SEQUENCE_END, UNDEFINED)
        else:
            sequence = long(0x00081199, b"SQ", whole)
        found = all_is_there(BEGIN + sequence + END)["00081199"]["Value"][0]
        assert found["00081155"]["Value"] == ["1.5"]
        assert found["00081195"].get("Value", ["1.6"]) == ["1.6"]


@pytest.mark.parametrize("vr", [b"UK", b"  ", b"??", b"\0\0", b"OX"])
@pytest.mark.parametrize("inner", [bare(0x00081155, b"1.5\0"), short(0x00081155, b"UI", b"1.5\0")])
def test_a_known_sequence_is_read_as_one(vr: bytes, inner: bytes) -> None:
    value = item(inner)
    heads = [long(0x00081199, vr, value), long(0x00081199, vr, value + SEQUENCE_END, UNDEFINED)]
    if vr != b"OX":
        heads.append(short(0x00081199, vr, value))
    for head in heads:
        found = all_is_there(BEGIN + head + END)["00081199"]
        assert found["Value"][0]["00081155"]["Value"] == ["1.5"]


def test_elements_without_a_vr_among_others_are_read_as_before() -> None:
    texts = (b"CHEST PNAB  LOXX", b"ab", b"", b"x" * 0x2020, b"y" * 70_000)
    for value in texts:
        header = all_is_there(BEGIN + bare(0x00081030, value) + END)
        assert header["00081030"].get("Value", [""]) == [value.decode().rstrip()]
    pixels = BEGIN + END[:-20] + bare(0x7FE00010, bytes(0x80000))
    assert identity_of(pixels).patient_key == b"\x1fP1"


@pytest.mark.parametrize("vr", [b"UK", b"  ", b"??", b"\0\0"])
def test_big_endian_too(vr: bytes) -> None:
    names = [(0x00080016, b"UI", b"1.2\0"), (0x00080018, b"UI", b"1.3\0")]
    parts = [*names, (0x00081030, vr, b"CHEST "), (0x00100020, b"LO", b"P1")]
    data = b"".join(short(*part, order=">") for part in parts)
    assert identity_of(data, syntax=BIG).patient_key == b"\x1fP1"
    assert header_of(data, BIG)["00081030"]["Value"] == ["CHEST"]


@settings(max_examples=300, deadline=None)
@given(
    vr=st.binary(min_size=2, max_size=2),
    value=st.binary(max_size=40),
    is_long=st.booleans(),
    tag=st.sampled_from([0x00081030, 0x00091001, 0x00081140]),
    cuts=st.lists(st.integers(0, 150), max_size=6),
)
def test_any_vr_gives_the_same_however_it_arrives(
    *, vr: bytes, value: bytes, is_long: bool, tag: int, cuts: list[int]
) -> None:
    data = BEGIN + (long if is_long else short)(tag, vr, value) + END
    inside = tuple(cut for cut in cuts if cut < len(data))

    def outcome(at: tuple[int, ...]) -> Any:
        try:
            return identity_of(data, at)
        except Unreadable as error:
            return str(error)

    assert outcome(inside) == outcome(())
