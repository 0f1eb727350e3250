"""Association requests: answered as PS3.8 says, within limits."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC

from darkroom_common.dimse.negotiation import (
    CALLED_AE_UNKNOWN,
    AssociationRequest,
    Context,
    Supported,
)
from darkroom_common.dimse.wire.pdu import ProtocolError

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
SUPPORTED = Supported([(CT, [EXPLICIT, IMPLICIT])], 131072)


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def context(number: int, abstract: str, *syntaxes: str) -> bytes:
    inner = item(0x30, abstract.encode()) + b"".join(item(0x40, s.encode()) for s in syntaxes)
    return item(0x20, struct.pack(">BBBB", number, 0, 0, 0) + inner)


def request(*items: bytes, called: bytes = b"DARKROOM", user: bytes = b"") -> bytes:
    user = user or item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3")
    body = struct.pack(">HH", 1, 0) + called.ljust(16) + b"SCANNER".ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + b"".join(items) + item(0x50, user)
    return struct.pack(">BBL", 1, 0, len(body)) + body


@pytest.mark.parametrize(
    ("sent", "title"),
    [
        (b"CT1", "CT1"),
        (b" CT1", "CT1"),
        (b"CT1".ljust(16, b"\0"), "CT1"),
        (b"CT 1", "CT 1"),
        (b"CT1\n", "CT1\n"),
        (b"CT\xe91", "CT\xe91"),
        (b"A\\B", "A\\B"),
        (b"\x1b[31mCT1", "\x1b[31mCT1"),
        (b" ", ""),
    ],
)
def test_titles_are_as_they_were_sent_without_padding(sent: bytes, title: str) -> None:
    made = AssociationRequest(request(context(1, CT, EXPLICIT), called=sent))
    assert made.called_ae_title == title
    assert made.negotiate(SUPPORTED)[0] == {1: Context(CT, EXPLICIT)}


def test_contexts_are_accepted_or_refused_one_by_one() -> None:
    made = AssociationRequest(
        request(
            context(1, CT, IMPLICIT, EXPLICIT),
            context(3, CT, "1.2.3.4"),
            context(5, "1.2.3.5", IMPLICIT),
        )
    )
    assert (made.called_ae_title, made.calling_ae_title) == ("DARKROOM", "SCANNER")
    assert made.max_length == 16384
    assert made.abstract_syntaxes == {CT, "1.2.3.5"}
    accepted, answer = made.negotiate(SUPPORTED)
    assert accepted == {1: Context(CT, EXPLICIT)}
    decoded = A_ASSOCIATE_AC()
    decoded.decode(answer)
    results = {c.context_id: c.result for c in decoded.presentation_context}
    assert results == {1: 0, 3: 4, 5: 3}
    told = decoded.user_information
    assert told is not None
    assert told.maximum_length == 131072


def test_no_limit_of_the_peer_is_zero() -> None:
    user = item(0x51, struct.pack(">L", 0)) + item(0x52, b"1.2.3")
    assert AssociationRequest(request(context(1, CT, IMPLICIT), user=user)).max_length == 0


def test_a_role_that_is_proposed_does_no_harm() -> None:
    role = item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\x01\x01")
    user = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3") + role
    made = AssociationRequest(request(context(1, CT, IMPLICIT), user=user))
    assert made.negotiate(SUPPORTED)[0] == {1: Context(CT, IMPLICIT)}


def test_a_rejection_byte_for_byte() -> None:
    assert CALLED_AE_UNKNOWN.encode() == bytes.fromhex("03 00 00000004 00 01 01 07")


@pytest.mark.parametrize(
    "bad",
    [
        request(*(context(1, CT, IMPLICIT) for _ in range(129))),
        request(item(0x20, bytes(4) + item(0x40, b"") * 14_000)),
        request(item(0x20, bytes(4) + b"\x30\x00\xff\xff")),
        request()[:-1],
        request(item(0x99, b"unknown")),
    ],
)
def test_what_cannot_be_a_request_is_refused(bad: bytes) -> None:
    with pytest.raises(ProtocolError):
        AssociationRequest(bad).negotiate(SUPPORTED)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_mutation_is_answered_or_refused(data: st.DataObject) -> None:
    stream = bytearray(request(context(1, CT, IMPLICIT, EXPLICIT), context(3, "1.2", IMPLICIT)))
    for _ in range(data.draw(st.integers(1, 6))):
        stream[data.draw(st.integers(6, len(stream) - 1))] = data.draw(st.integers(0, 255))
    try:
        AssociationRequest(bytes(stream)).negotiate(SUPPORTED)
    except ProtocolError as error:
        assert error.code
