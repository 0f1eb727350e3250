"""Command sets, on bytes annotated from PS3.7 chapters 6.3 and 9.3."""

import io
import random

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_common.dimse.wire.command import (
    Command,
    SubOperations,
    decode_command,
    encode_cancel,
    encode_command,
    encode_response,
    error_comment,
    offending,
)
from darkroom_common.dimse.wire.pdu import ProtocolError

ELEMENTS = [
    "0000 0000 04000000 38000000",  # group length
    "0000 0200 06000000 312e322e3300",  # affected SOP class UID 1.2.3
    "0000 0001 02000000 0100",  # command field: C-STORE-RQ
    "0000 1001 02000000 0700",  # message id 7
    "0000 0007 02000000 0000",  # priority: medium
    "0000 0008 02000000 0000",  # there is a data set
    "0000 0010 08000000 312e322e332e3400",  # affected SOP instance UID 1.2.3.4
]


def decoded(data: bytes) -> tuple[int, int, bool, str, str]:
    found = decode_command(data)
    uids = found.sop_class_uid, found.sop_instance_uid
    return found.field, found.message_id, found.has_data_set, *uids


STORE = (1, 7, True, "1.2.3", "1.2.3.4")


def test_a_store_request_in_any_order() -> None:
    elements = [bytes.fromhex(one) for one in ELEMENTS]
    assert decoded(b"".join(elements)) == STORE
    shuffler = random.Random(1)
    for _ in range(20):
        shuffler.shuffle(elements)
        assert decoded(b"".join(elements)) == STORE


def test_unknown_elements_are_passed_over() -> None:
    more = bytes.fromhex("0000 3010 04000000 41424344")  # move originator AE title
    assert decoded(b"".join(map(bytes.fromhex, ELEMENTS)) + more) == STORE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes.fromhex("0000 0001 02000000"),  # cut
        bytes.fromhex("0000 0001 FFFFFFFF 0100"),
        bytes.fromhex("0800 0001 02000000 0100"),  # not group 0000
        bytes.fromhex("0000 0001 02000000 0100"),  # does not say whether a data set follows
        bytes.fromhex("0000 0001 04000000 01000000 0000 0008 02000000 0101"),
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="bad-command"):
        decode_command(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    try:
        decode_command(data)
    except ProtocolError as error:
        assert error.code == "bad-command"


def test_an_independent_decoder_reads_the_response() -> None:
    request = decode_command(b"".join(map(bytes.fromhex, ELEMENTS)))
    encoded = encode_response(request, 0xA700)
    found = pydicom.filereader.read_dataset(
        io.BytesIO(encoded), is_implicit_VR=True, is_little_endian=True
    )
    assert found.CommandGroupLength == len(encoded) - 12
    assert found.CommandField == 0x8001
    assert found.MessageIDBeingRespondedTo == 7
    assert found.CommandDataSetType == 0x0101
    assert found.Status == 0xA700
    assert found.AffectedSOPClassUID == "1.2.3"
    assert found.AffectedSOPInstanceUID == "1.2.3.4"
    assert [element.tag for element in found] == sorted(element.tag for element in found)


def test_an_echo_response_byte_for_byte() -> None:
    echo = Command(0x30, 1, has_data_set=False, elements={2: b"1.2.840.10008.1.1"})
    assert encode_response(echo, 0) == bytes.fromhex(
        "0000 0000 04000000 42000000"  # 66 bytes follow
        "0000 0200 12000000 312e322e3834302e31303030382e312e3100"
        "0000 0001 02000000 3080"  # C-ECHO-RSP
        "0000 2001 02000000 0100"  # to message 1
        "0000 0008 02000000 0101"  # no data set
        "0000 0009 02000000 0000"  # success
    )


def test_a_uid_that_can_be_none_is_not_repeated() -> None:
    long = Command(1, 7, has_data_set=True, elements={0x1000: b"1" * 130})
    assert b"1111" not in encode_response(long, 0xC000)


def test_whether_a_data_set_follows_is_said() -> None:
    for follows, kind in ((True, "0000"), (False, "0101")):
        encoded = encode_command(0x0020, {0x0110: 1}, data_set=follows)
        assert bytes.fromhex(f"0000 0008 02000000 {kind}") in encoded
        assert decode_command(encoded).has_data_set == follows


def test_a_cancel_names_what_it_is_about() -> None:
    found = decode_command(encode_cancel(9))
    assert (found.field, found.message_id, found.is_response) == (0x0FFF, 9, False)


@pytest.mark.parametrize(("status", "more"), [(0xFF00, True), (0xFF01, True), (0, False)])
def test_a_pending_response_is_followed_by_another(status: int, more: bool) -> None:
    assert answered({0x0900: status}).is_pending is more


def answered(elements: dict[int, int | str | bytes]) -> Command:
    """Return a C-GET-RSP as it is read."""
    return decode_command(encode_command(0x8010, {0x0120: 1, 0x0900: 0} | elements))


def test_the_counts_of_sub_operations_are_those_that_are_said() -> None:
    """PS3.7 9.3.3.2: each is there or not; one that is no US says nothing."""
    assert answered({}).sub_operations == SubOperations()
    counts = answered({0x1020: 4, 0x1021: 3, 0x1022: 2, 0x1023: 1}).sub_operations
    assert counts == SubOperations(remaining=4, completed=3, failed=2, warned=1)
    odd = answered({0x1020: b"\1\0\0\0", 0x1021: b"", 0x1022: 0}).sub_operations
    assert odd == SubOperations(failed=0)


def test_the_attributes_at_fault_are_whole_tags() -> None:
    tags = bytes.fromhex("0800 1800 1000 1000 ff")
    assert answered({0x1005: tags}).attributes == (0x00080018, 0x00100010)
    assert answered({}).attributes == ()


def test_text_is_padded_with_a_space_and_a_uid_with_nul() -> None:
    encoded = encode_command(0x0021, {0x0600: "ARCHIVE", 0x0002: "1.2"})
    assert b"ARCHIVE " in encoded
    assert b"1.2\0" in encoded
    assert decode_command(encoded).text(0x0600) == "ARCHIVE"


def test_a_reason_is_cut_to_what_an_lo_holds() -> None:
    assert error_comment("") == {}
    assert error_comment("x" * 65) == {0x0902: "x" * 64}
    assert offending("00080018") == {0x0901: bytes.fromhex("0800 1800")}


def test_a_response_says_what_its_request_was_about() -> None:
    """The first of the affected and the requested is taken, PS3.7 10.3."""
    request = Command(0x0120, 3, has_data_set=True, elements={3: b"1.2.3", 0x1001: b"1.2.3.4\0"})
    assert (request.sop_class_uid, request.sop_instance_uid) == ("1.2.3", "1.2.3.4")
    found = decode_command(encode_response(request, 0x0110, elements={0x0903: 5}))
    assert (found.status, found.message_id, found.short(0x0903)) == (0x0110, 3, 5)
    assert (found.sop_class_uid, found.sop_instance_uid) == ("1.2.3", "1.2.3.4")
    with pytest.raises(ProtocolError, match="bad-command"):
        found.short(0x1020)


def test_a_uid_of_the_longest_length_is_repeated() -> None:
    longest = Command(1, 7, has_data_set=True, elements={0x1000: b"1" * 64})
    assert b"1" * 64 in encode_response(longest, 0)


def test_an_element_may_end_where_the_command_does_and_not_after() -> None:
    whole = b"".join(map(bytes.fromhex, ELEMENTS))
    for cut in range(1, 16):
        with pytest.raises(ProtocolError, match="bad-command"):
            decode_command(whole[:-cut])
