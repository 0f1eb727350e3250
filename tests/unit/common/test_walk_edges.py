"""What the walk makes of data sets that say a thing twice, or hide how they say it."""

import struct

import pytest

from darkroom_common.dicom.identity import read_identity
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
