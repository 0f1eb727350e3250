"""PDUs of an open association, on bytes annotated from PS3.8 section 9.3."""

import itertools
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom_common.dimse.wire.pdu import (
    AbortReason,
    ControlPdu,
    Fragment,
    PduKind,
    PduParser,
    ProtocolError,
    encode_abort,
    encode_data,
    encode_data_head,
    encode_release_request,
    encode_release_response,
    encode_user_abort,
)

P_DATA = bytes.fromhex(
    "04 00 0000000c"  # P-DATA-TF of 12 bytes
    "00000003 01 03 AA"  # value of 3: context 1, the last fragment of a command
    "00000001"  # the head of a value that is shorter than its own head
)
TWO_VALUES = bytes.fromhex(
    "04 00 00000011"  # P-DATA-TF of 17 bytes
    "00000005 01 03 AABBCC"  # context 1, last fragment of a command, 3 bytes
    "00000004 01 00 DDEE"  # context 1, a fragment of a data set, 2 bytes
)
LAST_EMPTY = bytes.fromhex(
    "04 00 00000006"  # P-DATA-TF of 6 bytes
    "00000002 01 02"  # context 1, last fragment of a data set, without a byte
)
RELEASE_RQ = bytes.fromhex("05 00 00000004 00000000")
ABORT = bytes.fromhex("07 00 00000004 0000 02 06")  # by the provider, invalid parameter

Plain = tuple[int, bool, bool, bytes] | tuple[str, bytes]


def plain(event: Fragment | ControlPdu) -> Plain:
    if isinstance(event, ControlPdu):
        return event.kind.name, event.body
    return event.context, event.is_command, event.last, bytes(event.data)


def parse(data: bytes, *, max_length: int = 1000, cuts: Iterable[int] = ()) -> list[Plain]:
    parser = PduParser(max_length)
    found = []
    for start, end in itertools.pairwise([0, *sorted(cuts), len(data)]):
        found += [plain(event) for event in parser.feed(memoryview(data)[start:end])]
    assert not parser.within_pdu
    return found


def joined(events: list[Plain]) -> list[Plain]:
    """Fragments as they were sent, however the bytes arrived."""
    whole: list[Plain] = []
    held = b""
    for event in events:
        if len(event) == 2:
            whole.append(event)
            continue
        context, is_command, last, data = event
        held += data
        if last:
            whole.append((context, is_command, True, held))
            held = b""
    return whole


def test_values_are_told_with_context_kind_and_end() -> None:
    assert parse(TWO_VALUES + LAST_EMPTY + RELEASE_RQ) == [
        (1, True, True, b"\xaa\xbb\xcc"),
        (1, False, False, b"\xdd\xee"),
        (1, False, True, b""),
        ("RELEASE_RQ", bytes(4)),
    ]
    assert parse(ABORT) == [("ABORT", b"\x00\x00\x02\x06")]


def test_data_are_views_of_what_was_fed() -> None:
    buffer = bytearray(TWO_VALUES)
    events = list(PduParser(1000).feed(memoryview(buffer)))
    buffer[12] = 0x55
    assert plain(events[0])[3:] == (b"\x55\xbb\xcc",)


@pytest.mark.parametrize("cut", range(len(TWO_VALUES + RELEASE_RQ)))
def test_any_cut_gives_the_same(cut: int) -> None:
    stream = TWO_VALUES + LAST_EMPTY + RELEASE_RQ
    assert joined(parse(stream, cuts=[cut])) == joined(parse(stream))


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"\x04\x00\x00\x00\x03\xe9", "pdu-too-long", AbortReason.INVALID_PARAMETER),
        (b"\x04\x00\xff\xff\xff\xff", "pdu-too-long", AbortReason.INVALID_PARAMETER),
        (b"\x05\x00\x00\x01\x00\x00", "pdu-too-long", AbortReason.INVALID_PARAMETER),
        (b"\x04\x00\x00\x00\x00\x00", "pdu-without-value", AbortReason.INVALID_PARAMETER),
        (b"\x04\x00\x00\x00\x00\x05", "pdu-without-value", AbortReason.INVALID_PARAMETER),
        (P_DATA, "bad-value-length", AbortReason.INVALID_PARAMETER),
        (
            LAST_EMPTY[:6] + b"\x00\x00\x00\x01\x01\x02",
            "bad-value-length",
            AbortReason.INVALID_PARAMETER,
        ),
        (
            LAST_EMPTY[:6] + b"\xff\xff\xff\xff\x01\x02",
            "bad-value-length",
            AbortReason.INVALID_PARAMETER,
        ),
        (b"\x01\x00\x00\x00\x00\x44", "unexpected-pdu", AbortReason.UNEXPECTED_PDU),
        (b"GET / ", "unknown-pdu", AbortReason.UNRECOGNISED_PDU),
        (b"\x08\x00\x00\x00\x00\x04", "unknown-pdu", AbortReason.UNRECOGNISED_PDU),
    ],
)
def test_what_is_forbidden_is_told(data: bytes, code: str, reason: AbortReason) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(data)
    assert (caught.value.code, caught.value.reason) == (code, reason)


def test_a_pdu_of_just_the_negotiated_length_is_taken() -> None:
    data = encode_data(1, is_command=False, data=bytes(994), max_length=1000)
    assert int.from_bytes(data[2:6], "big") == 1000
    assert parse(data) == [(1, False, True, bytes(994))]


def test_within_a_pdu_is_known() -> None:
    for cut in range(1, len(TWO_VALUES)):
        parser = PduParser(1000)
        list(parser.feed(memoryview(TWO_VALUES)[:cut]))
        assert parser.within_pdu, cut
        list(parser.feed(memoryview(TWO_VALUES)[cut:]))
        assert not parser.within_pdu


def test_what_we_send() -> None:
    assert encode_release_request() == bytes.fromhex("05 00 00000004 00000000")
    assert encode_release_response() == bytes.fromhex("06 00 00000004 00000000")
    assert encode_user_abort() == bytes.fromhex("07 00 00000004 0000 00 00")
    assert encode_data_head(3, last=False, size=10) == bytes.fromhex(
        "04 00 00000010 0000000c 03 00"
    )
    assert encode_data_head(3, last=True, size=10) == bytes.fromhex("04 00 00000010 0000000c 03 02")
    assert encode_abort(AbortReason.INVALID_PARAMETER) == ABORT
    assert encode_data(3, is_command=True, data=b"\x01\x02", max_length=0) == bytes.fromhex(
        "04 00 00000008 00000004 03 03 0102"
    )


@given(st.binary(max_size=300), st.sampled_from([0, 8, 17, 100, 4096]), st.lists(st.integers(0)))
@settings(max_examples=300, deadline=None)
def test_what_is_encoded_comes_back(data: bytes, max_length: int, cuts: list[int]) -> None:
    stream = encode_data(9, is_command=False, data=data, max_length=max_length)
    events = parse(
        stream, max_length=max_length or 4096, cuts=[cut % (len(stream) + 1) for cut in cuts]
    )
    assert joined(events) == [(9, False, True, data + bytes(len(data) % 2))]


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_parsed_or_refused(data: st.DataObject) -> None:
    stream = bytearray(TWO_VALUES + LAST_EMPTY + RELEASE_RQ + ABORT)
    for _ in range(data.draw(st.integers(0, 5))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(stream) + data.draw(st.binary(max_size=50))
    parser = PduParser(100)
    taken = 0
    try:
        for event in parser.feed(memoryview(content)):
            taken += len(event.data) if isinstance(event, Fragment) else len(event.body)
    except ProtocolError as error:
        assert error.code
    assert taken <= len(content)


def test_kinds_have_the_numbers_of_the_standard() -> None:
    assert [kind.value for kind in PduKind] == [1, 2, 3, 4, 5, 6, 7]


def test_a_control_pdu_that_is_cut_after_another_is_waited_for() -> None:
    """What stands before it in the same bytes is no part of it."""
    release = struct.pack(">BxLL", 5, 4, 0)
    stream = release * 3
    for cut in range(1, len(stream)):
        parser = PduParser(16384)
        first = list(parser.feed(memoryview(stream[:cut])))
        assert len(first) == cut // len(release)
        both = first + list(parser.feed(memoryview(stream[cut:])))
        assert [one.body for one in both if isinstance(one, ControlPdu)] == [bytes(4)] * 3
