"""What the walk makes of data sets that say a thing twice, or hide how they say it."""

import struct

import pytest

from darkroom_common.dicom.identity import IdentityReader, read_identity
from darkroom_common.dicom.limits import ReadLimits
from darkroom_common.dicom.walk import Unreadable

EXPLICIT = "1.2.840.10008.1.2.1"
UNDEFINED = 0xFFFFFFFF
FL = int.from_bytes(b"FL", "little")
"""A length whose bytes look like a VR."""


def short(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def hidden(group: int, number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", group, number, len(value)) + value


def a_sequence(vr: bytes, inside: bytes, length: int = UNDEFINED) -> bytes:
    item = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED) + inside
    ends = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return struct.pack("<HH2sHL", 9, 0x1010, vr, 0, length) + item + ends


IDENTITY = (
    short(8, 0x16, b"UI", b"1.2.3\x00")
    + short(8, 0x18, b"UI", b"1.2.3.4\x00")
    + short(0x10, 0x20, b"LO", b"P1")
    + short(0x20, 0xD, b"UI", b"1.2.5\x00")
    + short(0x20, 0xE, b"UI", b"1.2.6\x00")
)


def test_of_a_value_that_is_repeated_the_first_counts() -> None:
    again = short(8, 0x18, b"UI", b"9.9\x00") + short(0x10, 0x20, b"LO", b"P2")
    found = read_identity(IDENTITY + again, EXPLICIT)
    assert found.sop_instance_uid == "1.2.3.4"
    assert found.patient_key == b"\x1fP1"


def test_a_first_value_that_is_empty_counts_too() -> None:
    found = read_identity(short(0x10, 0x20, b"LO", b"") + IDENTITY, EXPLICIT)
    assert found.patient_key == b""


def test_un_of_undefined_length_is_implicit_whatever_its_lengths_look_like() -> None:
    inside = hidden(9, 0x1001, b"ABCD") + hidden(9, 0x1002, bytes(FL)) + hidden(9, 0x1003, b"EF")
    found = read_identity(a_sequence(b"UN", inside) + IDENTITY, EXPLICIT)
    assert found.sop_instance_uid == "1.2.3.4"
    assert found.flags == ()


def test_un_of_undefined_length_is_explicit_when_its_elements_are() -> None:
    inside = short(9, 0x1001, b"LO", b"ABCD") + short(9, 0x1002, b"LO", b"EF")
    assert read_identity(a_sequence(b"UN", inside) + IDENTITY, EXPLICIT).flags == ()


def test_a_sequence_that_says_sq_is_explicit_within() -> None:
    inside = short(9, 0x1001, b"LO", b"ABCD") + short(9, 0x1002, b"FL", bytes(4))
    assert read_identity(a_sequence(b"SQ", inside) + IDENTITY, EXPLICIT).flags == ()


@pytest.mark.parametrize("length", [0x80000000, 0xFFFFFFF0, 0xFFFFFFFE])
def test_a_length_that_would_be_negative_leads_nowhere(length: int) -> None:
    odd = struct.pack("<HH2sHL", 9, 0x1010, b"OB", 0, length)
    with pytest.raises(Unreadable, match="truncated"):
        read_identity(IDENTITY + odd + bytes(64), EXPLICIT)


SOP_CLASS, SOP_INSTANCE = short(8, 0x16, b"UI", b"1.2.3\x00"), short(8, 0x18, b"UI", b"1.2.3.4\x00")
STUDY, SERIES = short(0x20, 0xD, b"UI", b"1.2.5\x00"), short(0x20, 0xE, b"UI", b"1.2.6\x00")


@pytest.mark.parametrize("left_out", [SOP_CLASS, SOP_INSTANCE])
def test_an_object_without_a_sop_uid_is_none(left_out: bytes) -> None:
    with pytest.raises(Unreadable, match="no-sop-uid"):
        read_identity(IDENTITY.replace(left_out, b""), EXPLICIT)


def test_a_missing_study_is_that_of_its_series_and_a_missing_series_that_of_its_study() -> None:
    def uids(data: bytes) -> tuple[str, str, tuple[str, ...]]:
        found = read_identity(data, EXPLICIT)
        return found.study_instance_uid, found.series_instance_uid, found.flags

    both = uids(SOP_CLASS + SOP_INSTANCE)
    other = uids(SOP_CLASS + SOP_INSTANCE.replace(b"1.2.3.4", b"1.2.3.5"))
    assert both[2] == ("study-uid-derived", "series-uid-derived")
    assert both == uids(SOP_CLASS + SOP_INSTANCE), "always the same"
    assert not {both[0], both[1]} & {other[0], other[1]}
    assert both[0] != both[1]
    study, series, flags = uids(IDENTITY.replace(STUDY, b""))
    assert (series, flags) == ("1.2.6", ("study-uid-derived",))
    assert study == uids(SOP_CLASS + SOP_INSTANCE.replace(b".4\x00", b".9\x00") + SERIES)[0]
    study, series, flags = uids(IDENTITY.replace(SERIES, b""))
    assert (study, flags) == ("1.2.5", ("series-uid-derived",))
    assert series.startswith("2.25.")


@pytest.mark.parametrize(
    ("uid", "conformant"),
    [
        *((b"1.2.3.4", True), (b"1.0", True), (b"1." + b"9" * 62, True)),
        *((b"1." + b"9" * 63, False), (b"1.02", False), (b"1", False), (b"1.2.", False)),
        *((b" 1.2", False), (b"1.2a", False), (b"1." + b"9" * 126, False)),
    ],
)
@pytest.mark.parametrize("number", [0x16, 0x18])
def test_a_uid_that_the_standard_forbids_is_taken_and_told(
    uid: bytes, conformant: bool, number: int
) -> None:
    given = short(8, number, b"UI", uid + b"\x00" * (len(uid) % 2))
    data = given + IDENTITY if number == 0x16 else SOP_CLASS + given + STUDY + SERIES
    found = read_identity(data, EXPLICIT)
    assert ("nonconformant-uid" in found.flags) is not conformant
    kept = found.sop_class_uid if number == 0x16 else found.sop_instance_uid
    assert kept == uid.decode().strip()


@pytest.mark.parametrize("uid", [b"1." + b"9" * 127, b"1/2", b"1\\2", b"1 2", b"1\x002", b"1\xe42"])
@pytest.mark.parametrize("of", [SOP_CLASS, SOP_INSTANCE, STUDY, SERIES])
def test_what_can_be_no_uid_is_refused(uid: bytes, of: bytes) -> None:
    group, number = struct.unpack_from("<HH", of)
    bad = short(group, number, b"UI", uid + b"\x00" * (len(uid) % 2))
    with pytest.raises(Unreadable, match="bad-uid"):
        read_identity(IDENTITY.replace(of, bad), EXPLICIT)


def test_a_patient_is_an_id_and_who_gave_it() -> None:
    issuer = short(0x10, 0x21, b"LO", b" HOSPITAL ")
    assert read_identity(IDENTITY + issuer, EXPLICIT).patient_key == b"HOSPITAL\x1fP1"
    alone = IDENTITY.replace(short(0x10, 0x20, b"LO", b"P1"), b"") + issuer
    assert read_identity(alone, EXPLICIT).patient_key == b""


@pytest.mark.parametrize("padding", [1, 2, 7])
def test_padding_at_the_end_is_told_and_one_octet_may_be_the_messages(padding: int) -> None:
    reader = IdentityReader(EXPLICIT)
    reader.feed(IDENTITY + bytes(padding))
    found = reader.finish()
    is_odd = len(IDENTITY + bytes(padding)) % 2
    assert reader.is_padded is (padding == 1 and not is_odd)
    assert bool(found.flags)


def test_an_odd_data_set_that_the_message_has_made_even_is_told_as_odd() -> None:
    odd = IDENTITY + short(0x28, 0x10, b"LO", b"ABC")
    for data, padded in ((odd, False), (odd + b"\x00", True)):
        reader = IdentityReader(EXPLICIT)
        reader.feed(data)
        found = reader.finish()
        assert (found.flags, reader.is_padded) == (("odd-length",), padded)


@pytest.mark.parametrize("most", [4, 5])
def test_as_many_elements_as_may_be_and_not_one_more(most: int) -> None:
    limits = ReadLimits(elements=most)
    if most == 5:
        assert read_identity(IDENTITY, EXPLICIT, limits).sop_instance_uid == "1.2.3.4"
    else:
        with pytest.raises(Unreadable, match="too-many-elements"):
            read_identity(IDENTITY, EXPLICIT, limits)


def test_elements_that_nobody_wants_count_too() -> None:
    many = b"".join(short(0x29, n, b"LO", b"AB") for n in range(100))
    assert read_identity(IDENTITY + many, EXPLICIT, ReadLimits(elements=105)).flags == ()
    for data in (IDENTITY + many, many[:600] + IDENTITY + many[600:]):
        with pytest.raises(Unreadable, match="too-many-elements"):
            read_identity(data, EXPLICIT, ReadLimits(elements=104))
