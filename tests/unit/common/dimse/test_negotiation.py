"""Association requests: answered as PS3.8 says, within limits."""

import random
import struct
import time
from collections import Counter

import pytest
from pynetdicom.pdu import A_ASSOCIATE_AC

from darkroom_common.dimse.negotiation import (
    AE_LIMIT_REACHED,
    APPLICATION_CONTEXT_UNKNOWN,
    CALLED_AE_UNKNOWN,
    CALLING_AE_UNKNOWN,
    CONGESTION,
    HOST_LIMIT_REACHED,
    LIMIT_REACHED,
    VERSION_NOT_SUPPORTED,
    Supported,
    negotiate,
    refuse_protocol,
)
from darkroom_common.dimse.wire.association_items import (
    AssociateRequest,
    Context,
    Rejection,
    Role,
    decode_associate_accept,
    decode_associate_request,
    encode_associate_accept,
)
from darkroom_common.dimse.wire.pdu import ProtocolError
from tests.support.mutation import mutated

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
SUPPORTED = {CT: Supported((EXPLICIT, IMPLICIT))}


def decoded(pdu: bytes) -> AssociateRequest:
    return decode_associate_request(pdu[6:])


def contexts_of(request: AssociateRequest) -> dict[int, Context]:
    return negotiate(request, SUPPORTED, 131072)[0]


def answer_to(request: AssociateRequest, supported: dict[str, Supported] = SUPPORTED) -> bytes:
    return encode_associate_accept(request, negotiate(request, supported, 131072)[1])


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
    made = decoded(request(context(1, CT, EXPLICIT), called=sent))
    assert made.called_ae_title == title
    assert contexts_of(made) == {1: Context(CT, EXPLICIT)}


def test_contexts_are_accepted_or_refused_one_by_one() -> None:
    made = decoded(
        request(
            context(1, CT, IMPLICIT, EXPLICIT),
            context(3, CT, "1.2.3.4"),
            context(5, "1.2.3.5", IMPLICIT),
        )
    )
    assert (made.called_ae_title, made.calling_ae_title) == ("DARKROOM", "SCANNER")
    assert made.max_length == 16384
    assert [one.abstract_syntax for one in made.contexts.values()] == [CT, CT, "1.2.3.5"]
    assert contexts_of(made) == {1: Context(CT, EXPLICIT)}
    read = A_ASSOCIATE_AC()
    read.decode(answer_to(made))
    results = {c.context_id: c.result for c in read.presentation_context}
    assert results == {1: 0, 3: 4, 5: 3}
    told = read.user_information
    assert told is not None
    assert told.maximum_length == 131072


def test_no_limit_of_the_peer_is_zero() -> None:
    user = item(0x51, struct.pack(">L", 0)) + item(0x52, b"1.2.3")
    assert decoded(request(context(1, CT, IMPLICIT), user=user)).max_length == 0


def test_a_role_that_is_proposed_does_no_harm() -> None:
    role = item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\x01\x01")
    user = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3") + role
    made = decoded(request(context(1, CT, IMPLICIT), user=user))
    assert contexts_of(made) == {1: Context(CT, IMPLICIT)}


@pytest.mark.parametrize(
    ("rejection", "result", "source", "reason"),
    [
        (VERSION_NOT_SUPPORTED, 1, 2, 2),
        (APPLICATION_CONTEXT_UNKNOWN, 1, 1, 2),
        (CALLING_AE_UNKNOWN, 1, 1, 3),
        (CALLED_AE_UNKNOWN, 1, 1, 7),
        (CONGESTION, 2, 3, 1),
        *((one, 2, 3, 2) for one in (LIMIT_REACHED, HOST_LIMIT_REACHED, AE_LIMIT_REACHED)),
    ],
)
def test_each_rejection_byte_for_byte(
    rejection: Rejection, result: int, source: int, reason: int
) -> None:
    """PS3.8 table 9-21: transient is what may be tried again, and the reason is its source's."""
    head = bytes.fromhex("03 00 00000004 00")
    assert rejection.encode() == head + bytes([result, source, reason])


@pytest.mark.parametrize(
    "bad",
    [
        request(*(context(1, CT, IMPLICIT) for _ in range(129))),
        request(item(0x20, bytes(4) + item(0x40, b"") * 14_000)),
        request(item(0x20, bytes(4) + b"\x30\x00\xff\xff")),
        request()[:-1],
        request()[:73],
        request(context(2, CT, IMPLICIT)),
        request(context(1, CT, IMPLICIT), context(1, CT, EXPLICIT)),
        request(item(0x20, b"\x01\x00\x00")),
        request(context(1, CT, IMPLICIT), user=item(0x51, b"\x00\x40")),
        request(context(1, CT, IMPLICIT), context(0, CT, IMPLICIT)),
        request(context(1, CT, IMPLICIT), context(3, "1.2", IMPLICIT), context(1, CT, IMPLICIT)),
    ],
)
def test_what_cannot_be_a_request_is_refused(bad: bytes) -> None:
    with pytest.raises(ProtocolError):
        decoded(bad)


ANNOTATED = bytes.fromhex(
    "0001 0000"  # protocol version 1
    "4441524b524f4f4d2020202020202020"  # called: DARKROOM
    "5343414e4e4552202020202020202020"  # calling: SCANNER
    "0000000000000000000000000000000000000000000000000000000000000000"
    "1000 0015 312e322e3834302e31303030382e332e312e312e31"  # DICOM application context
    "2000 0026 01000000"  # presentation context 1
    "3000 0007 312e322e332e34"  # abstract syntax 1.2.3.4
    "4000 0013 312e322e3834302e31303030382e312e322e31"  # explicit VR little endian
    "5000 0052"  # user information
    "5100 0004 00004000"  # maximum length 16384
    "5200 0005 312e322e33"  # implementation class UID 1.2.3
    "5300 0004 0004 0002"  # asynchronous operations: 4 invoked, 2 performed
    "5400 000b 0007 312e322e332e34 01 01"  # roles of 1.2.3.4: SCU and SCP
    "5600 000d 0007 312e322e332e34 01020304"  # extended negotiation of 1.2.3.4
    "5800 000e 02 01 0004 75736572 0004 70617373"  # user identity, an answer is wished
    "7700 0003 616263"  # an item that is not known
)


def test_a_request_byte_for_byte() -> None:
    found = decode_associate_request(ANNOTATED)
    assert (found.called_ae_title, found.calling_ae_title) == ("DARKROOM", "SCANNER")
    assert found.contexts[1].abstract_syntax == "1.2.3.4"
    assert found.contexts[1].transfer_syntaxes == (EXPLICIT,)
    assert (found.max_length, found.window) == (16384, (4, 2))
    assert found.roles == {"1.2.3.4": Role(scu=True, scp=True)}
    assert refuse_protocol(found) is None


def test_what_annex_d_says_is_answered_and_nothing_else() -> None:
    found = decode_associate_request(ANNOTATED)
    plain = answer_to(found, {"1.2.3.4": Supported((EXPLICIT,))})
    kinds = [kind for kind, _ in items_of(user_information(plain))]
    assert kinds == [0x51, 0x52, 0x53, 0x55]  # neither identity nor extended negotiation
    assert dict(items_of(user_information(plain)))[0x53] == bytes.fromhex("0001 0001")
    both = {"1.2.3.4": Supported((EXPLICIT,), Role(scu=False, scp=True))}
    accept = decode_associate_accept(answer_to(found, both)[6:])
    assert accept.roles == {"1.2.3.4": Role(scu=False, scp=True)}
    assert accept.results == {1: (0, EXPLICIT)}
    assert accept.max_length == 131072


def test_a_context_without_a_common_role_is_refused() -> None:
    role = item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\x01\x00")
    made = decoded(request(context(1, CT, EXPLICIT), user=role))
    only_scp = {CT: Supported((EXPLICIT,), Role(scu=False, scp=True))}
    accepted, accept = negotiate(made, only_scp, 131072)
    assert (accepted, accept.results) == ({}, {1: (1, EXPLICIT)})


LENGTH, CLASS = item(0x51, struct.pack(">L", 16384)), item(0x52, b"1.2.3")
HARMLESS: dict[str, tuple[bytes, ...]] = {
    "no version name": (LENGTH, CLASS),
    "a long version name": (LENGTH, CLASS, item(0x55, b"A" * 300)),
    "a padded version name": (LENGTH, CLASS, item(0x55, b"VENDOR\0\0")),
    "a version name that is no text": (LENGTH, CLASS, item(0x55, bytes(range(256)))),
    "no implementation class": (LENGTH,),
    "an implementation class that is none": (LENGTH, item(0x52, b"ACME \xff")),
    "an empty implementation class": (LENGTH, item(0x52, b"")),
    "no maximum length": (CLASS,),
    "a later kind of user identity": (LENGTH, CLASS, item(0x58, b"\x09\x01\x00\x01x\x00\x00")),
    "user identity cut off": (LENGTH, CLASS, item(0x58, b"\x02\x01\x00\x40nurse")),
    "an empty user identity": (LENGTH, CLASS, item(0x58, b"")),
    "an unknown sub-item": (LENGTH, CLASS, item(0x5F, b"\x00" * 5000)),
    "many unknown sub-items": (LENGTH, CLASS, *(item(kind, b"x") for kind in range(0x60, 0x100))),
    "extended negotiation cut off": (LENGTH, CLASS, item(0x56, b"\x00\x40" + CT.encode())),
    "common extended negotiation": (LENGTH, CLASS, item(0x57, b"")),
    "roles cut off": (LENGTH, CLASS, item(0x54, b"\x00\x19" + CT.encode())),
    "roles without a UID": (LENGTH, CLASS, item(0x54, b"\x00")),
    "half a window": (LENGTH, CLASS, item(0x53, b"\x00")),
    "a window without end": (LENGTH, CLASS, item(0x53, bytes(4))),
    "the same twice": (LENGTH, LENGTH, CLASS, CLASS),
}


@pytest.mark.parametrize("user", HARMLESS.values(), ids=HARMLESS)
def test_what_is_harmless_is_passed_over(user: tuple[bytes, ...]) -> None:
    whole = request(context(1, CT, EXPLICIT), item(0x7F, b"what?"), user=b"".join(user))
    found = decoded(whole)
    assert refuse_protocol(found) is None
    assert contexts_of(found) == {1: Context(CT, EXPLICIT)}
    assert decode_associate_accept(answer_to(found)[6:]).results == {1: (0, EXPLICIT)}


@pytest.mark.parametrize(
    "strange",
    [
        context(3, "1." + "2" * 63, IMPLICIT),
        context(3, "1." + "2" * 4000, IMPLICIT),
        context(3, "no UID at all", IMPLICIT),
        context(3, "\xff", IMPLICIT),
        context(3, CT),
        context(3, CT, ""),
        context(3, CT, "1." + "3" * 200),
        context(3, CT, "1.2.840.10008.1.2."),
        context(3, "", IMPLICIT),
        item(0x20, bytes((3, 0, 0, 0)) + item(0x40, IMPLICIT.encode())),
        item(0x20, bytes((3, 0, 0, 0))),
        item(0x20, bytes((3, 0, 0, 0)) + item(0x66, b"?") + item(0x30, b"1.2.3")),
    ],
)
def test_what_is_wrong_with_a_context_is_its_own(strange: bytes) -> None:
    for both in (
        request(context(1, CT, EXPLICIT), strange),
        request(strange, context(1, CT, EXPLICIT)),
    ):
        found = decoded(both)
        assert contexts_of(found) == {1: Context(CT, EXPLICIT)}
        results = decode_associate_accept(answer_to(found)[6:]).results
        assert results[1] == (0, EXPLICIT)
        assert results[3][0] in (3, 4)


@pytest.mark.parametrize("version", [0, 2, 0x8000, 0xFFFE])
def test_a_version_without_the_first_bit_is_rejected(version: int) -> None:
    """PS3.8 table 9-11: the bits are the versions; what is not known of them is not looked at."""
    other = struct.pack(">H", version) + ANNOTATED[2:]
    assert refuse_protocol(decode_associate_request(other)) == VERSION_NOT_SUPPORTED
    both = struct.pack(">H", version | 1) + ANNOTATED[2:]
    assert refuse_protocol(decode_associate_request(both)) is None


@pytest.mark.parametrize("name", ["1.2.840.10008.3.1.1.2", "1.2", "", "nonsense"])
def test_a_foreign_application_context_is_rejected(name: str) -> None:
    known = item(0x10, b"1.2.840.10008.3.1.1.1")
    found = decode_associate_request(ANNOTATED.replace(known, item(0x10, name.encode())))
    assert refuse_protocol(found) == APPLICATION_CONTEXT_UNKNOWN
    without = decode_associate_request(ANNOTATED.replace(known, b""))
    assert refuse_protocol(without) == APPLICATION_CONTEXT_UNKNOWN


def test_foreign_protocols_are_rejected() -> None:
    other = bytearray(ANNOTATED)
    other[1] = 2
    assert refuse_protocol(decode_associate_request(bytes(other))) == VERSION_NOT_SUPPORTED
    foreign = ANNOTATED.replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.2")
    assert refuse_protocol(decode_associate_request(foreign)) == APPLICATION_CONTEXT_UNKNOWN


def items_of(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        kind, length = struct.unpack_from(">BxH", data, at)
        found.append((kind, data[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


def user_information(pdu: bytes) -> bytes:
    return dict(items_of(pdu[74:]))[0x50]


def test_ten_thousand_mutations_are_answered_or_refused_at_once() -> None:
    whole = request(context(1, CT, IMPLICIT, EXPLICIT), context(3, "1.2", IMPLICIT))[6:]
    chance = random.Random(10)
    outcomes: Counter[str] = Counter()
    began = time.process_time()
    for _ in range(10_000):
        mutant = mutated(chance, chance.choice((whole, ANNOTATED)))
        try:
            found = decode_associate_request(mutant)
            answer = answer_to(found)
            decode_associate_accept(answer[6:])
            outcomes["answered"] += 1
        except ProtocolError as error:
            outcomes[error.code] += 1
    assert set(outcomes) <= {"answered", "bad-association-item", "too-many-items"}
    assert min(outcomes["answered"], outcomes["bad-association-item"]) > 500
    assert time.process_time() - began < 30
