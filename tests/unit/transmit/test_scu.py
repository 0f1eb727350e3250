"""Our C-STORE SCU against scripted peers: what arrives, and what is told of what does not."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom_common.dimse.requestor import Peer, PeerFault, associate
from darkroom_common.dimse.users.store import Staging
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.dimse.wire.pdu import Fragment, PduParser
from darkroom_local.engines.ports import LOOPBACK, free_port
from darkroom_transmit.sending.outcome import Outcome, Verdict, classify
from darkroom_transmit.sending.pool import AssociationPool, PoolExhausted, PoolKey
from darkroom_transmit.sending.scu import StoreUser
from darkroom_transmit.sending.sources import Item, Source
from darkroom_transmit.sending.throttle import Throttle
from tests.support.builders import CT, new_uid
from tests.support.scripted_peer import ABORT, CLOSE, SILENT, Script, ScriptedPeer
from tests.support.waiting import LIMIT, dawdle

EXPLICIT = "1.2.840.10008.1.2.1"
HEAD = b"what stands before the data set in the file"


def a_source(directory: Path, size: int, **changes: Any) -> Source:
    uid = new_uid()
    content = os.urandom(size)
    path = directory / uid
    path.write_bytes(HEAD + content)
    item = Item(uid, CT, EXPLICIT, uid, size, len(HEAD))
    values: dict[str, Any] = {
        "item": item,
        "path": path,
        "offset": len(HEAD),
        "size": size,
        "sop_class_uid": CT,
        "sop_instance_uid": uid,
        "transfer_syntax_uid": EXPLICIT,
    }
    return Source(**(values | changes))


def digest(source: Source) -> str:
    return hashlib.sha256(Path(source.path).read_bytes()[source.offset :]).hexdigest()


def a_peer(port: int, **changes: Any) -> Peer:
    values = {"connect_seconds": 2.0, "answer_seconds": 2.0}
    return Peer(LOOPBACK, port, "PACS", "DARKROOM", **(values | changes))


def store(
    peer: Peer, sources: Sequence[Source], *, rate: int | None = None
) -> tuple[dict[str, Outcome], PeerFault | None]:
    told: dict[str, Outcome] = {}
    fault = None
    classes = dict.fromkeys(source.sop_class_uid for source in sources)
    association = associate(peer, [Proposal(uid, (EXPLICIT,)) for uid in classes])
    try:
        StoreUser(association, Throttle(rate)).send(
            sources,
            lambda source, outcome: told.__setitem__(source.sop_instance_uid, outcome),
            threading.Event(),
        )
        association.release()
    except PeerFault as error:
        association.abort()
        fault = error
    return told, fault


@pytest.fixture
def peer() -> Iterator[ScriptedPeer]:
    with ScriptedPeer() as made:
        yield made


@pytest.mark.parametrize("max_length", [0, 4096, 16384, 131072])
def test_every_size_arrives_bit_for_bit(
    tmp_path: Path, peer: ScriptedPeer, max_length: int
) -> None:
    peer.script.max_length = max_length
    room = max_length - 6
    sizes = {0, 2, 1000, max(2, room) - 2, max(2, room), max(2, room) + 2, 1 << 20, (3 << 20) + 10}
    sources = [a_source(tmp_path, size) for size in sizes]
    told, fault = store(a_peer(peer.port), sources)
    assert fault is None
    assert {one.sop_instance_uid: one.sha256 for one in peer.stored} == {
        source.sop_instance_uid: digest(source) for source in sources
    }
    assert {outcome.verdict for outcome in told.values()} == {Verdict.SENT}
    assert len(told) == len(sources)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=6), st.integers(20, 700))
@settings(max_examples=60, deadline=None)
def test_a_staging_buffer_used_again_and_again_says_what_the_file_says(
    sizes: list[int], max_length: int
) -> None:
    content = os.urandom(6000)
    descriptor = os.memfd_create("data")
    try:
        os.write(descriptor, content)
        staging = Staging(max_length)
        for context, size in enumerate(sizes):
            parser = PduParser(max_length)
            pdus = staging.fill(descriptor, 7, size, context % 2 * 2 + 1, last=True)
            found = [event for event in parser.feed(pdus) if isinstance(event, Fragment)]
            assert b"".join(event.data for event in found) == content[7 : 7 + size] + bytes(
                size % 2
            )
            assert [event.last for event in found if event.last] == [True]
            assert found[-1].last
            assert {event.context for event in found} == {context % 2 * 2 + 1}
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("status", "verdict", "reason"),
    [
        (0x0000, Verdict.SENT, ""),
        (0x0107, Verdict.WARNED, "Warning0107"),
        (0x0116, Verdict.WARNED, "Warning0116"),
        (0xB000, Verdict.WARNED, "WarningB000"),
        (0xB007, Verdict.WARNED, "WarningB007"),
        (0x0111, Verdict.WARNED, "AlreadyThere"),
        (0xA700, Verdict.RETRY, "OutOfResources"),
        (0xA701, Verdict.RETRY, "OutOfResources"),
        (0x0110, Verdict.RETRY, "ProcessingFailure"),
        (0x0210, Verdict.RETRY, "DuplicateInvocation"),
        (0x0213, Verdict.RETRY, "ResourceLimitation"),
        (0xA900, Verdict.FAILED, "DataSetDoesNotMatch"),
        (0xC000, Verdict.FAILED, "CannotUnderstand"),
        (0xC211, Verdict.FAILED, "CannotUnderstand"),
        (0x0117, Verdict.FAILED, "InvalidSopInstance"),
        (0x0122, Verdict.FAILED, "SopClassNotSupported"),
        (0x0124, Verdict.FAILED, "NotAuthorised"),
        (0xFE00, Verdict.FAILED, "RefusedFE00"),
    ],
)
def test_what_an_answer_means(status: int, verdict: Verdict, reason: str) -> None:
    outcome = classify(status, EXPLICIT)
    assert (outcome.verdict, outcome.reason) == (verdict, reason)


def test_a_failed_instance_stops_no_other_and_out_of_resources_does(
    tmp_path: Path, peer: ScriptedPeer
) -> None:
    sources = [a_source(tmp_path, 100) for _ in range(4)]
    uids = [source.sop_instance_uid for source in sources]
    answers = {uids[0]: 0xC000, uids[1]: 0xB000, uids[2]: 0xA700}
    peer.script.status = lambda uid, _: answers.get(uid, 0)
    told, fault = store(a_peer(peer.port), sources)
    assert fault is None
    assert [told[uid].verdict for uid in uids[:3]] == [
        Verdict.FAILED,
        Verdict.WARNED,
        Verdict.RETRY,
    ]
    assert uids[3] not in told


def test_files_that_are_missing_or_cut_are_told_and_the_others_go(
    tmp_path: Path, peer: ScriptedPeer
) -> None:
    missing, cut, good = (a_source(tmp_path, 3 << 20) for _ in range(3))
    Path(missing.path).unlink()
    os.truncate(cut.path, 1 << 20)
    told, fault = store(a_peer(peer.port), [missing, cut, good])
    assert fault is None
    assert told[missing.sop_instance_uid].reason == "ObjectMissing"
    assert told[cut.sop_instance_uid].reason == "ObjectDamaged"
    assert peer.uids == [good.sop_instance_uid]


def test_what_is_not_accepted_is_told_by_its_kind(tmp_path: Path, peer: ScriptedPeer) -> None:
    other = "1.2.840.10008.5.1.4.1.1.4"
    peer.script.refused_classes = frozenset({other})
    sources = [a_source(tmp_path, 10), a_source(tmp_path, 10, sop_class_uid=other)]
    told, _ = store(a_peer(peer.port), sources)
    assert [told[one.sop_instance_uid].reason for one in sources] == ["", "SopClassNotAccepted"]
    peer.script.refused_syntaxes = frozenset({EXPLICIT})
    told, _ = store(a_peer(peer.port), sources[:1])
    assert [one.reason for one in told.values()] == ["TransferSyntaxNotAccepted"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (Script(status=lambda *_: SILENT), "AnswerTimeout"),
        (Script(status=lambda *_: ABORT), "Aborted"),
        (Script(status=lambda *_: CLOSE), "ConnectionLost"),
        (Script(wrong_message_id=True), "ProtocolError"),
        (Script(abort_after_bytes=300_000), "Aborted"),
    ],
)
def test_a_bad_peer_is_left_in_bounded_time(tmp_path: Path, script: Script, reason: str) -> None:
    with ScriptedPeer(script) as peer:
        began = time.monotonic()
        told, fault = store(a_peer(peer.port, answer_seconds=0.5), [a_source(tmp_path, 20 << 20)])
        assert time.monotonic() - began < LIMIT
    assert told == {}
    assert fault is not None
    assert fault.reason == reason
    assert fault.transient


def test_who_does_not_answer_a_request_is_left(tmp_path: Path) -> None:
    with ScriptedPeer(Script(silent=True)) as peer, pytest.raises(PeerFault) as caught:
        associate(a_peer(peer.port, answer_seconds=0.3), [Proposal(CT, (EXPLICIT,))])
    assert caught.value.reason == "AnswerTimeout"
    with pytest.raises(PeerFault) as caught:
        associate(a_peer(free_port()), [Proposal(CT, (EXPLICIT,))])
    assert caught.value.reason == "ConnectionRefused"
    with pytest.raises(PeerFault) as caught:
        associate(Peer("no.such.host.invalid", 104, "A", "B"), [Proposal(CT, (EXPLICIT,))])
    assert caught.value.reason == "HostUnknown"


@pytest.mark.parametrize(
    ("answer", "reason", "transient"),
    [((1, 1, 7), "RejectedPermanent", False), ((2, 3, 2), "RejectedTransient", True)],
)
def test_a_rejection_is_permanent_or_not(
    answer: tuple[int, int, int], reason: str, transient: bool
) -> None:
    with ScriptedPeer(Script(reject=answer)) as peer, pytest.raises(PeerFault) as caught:
        associate(a_peer(peer.port), [Proposal(CT, (EXPLICIT,))])
    assert (caught.value.reason, caught.value.transient) == (reason, transient)


def test_a_throttle_holds_its_rate(tmp_path: Path, peer: ScriptedPeer) -> None:
    source = a_source(tmp_path, 1 << 20)
    began = time.monotonic()
    told, fault = store(a_peer(peer.port), [source], rate=1 << 20)
    took = time.monotonic() - began
    assert fault is None
    assert [one.sha256 for one in peer.stored] == [digest(source)]
    assert told
    assert took > 0.6  # a quarter of a second's worth may go at once


KEY = PoolKey("PACS", LOOPBACK, 104, EXPLICIT)


@pytest.mark.req("TRX-04")
def test_the_pool_uses_associations_again_and_has_a_limit(peer: ScriptedPeer) -> None:
    pool = AssociationPool(acquire_seconds=0.2, idle_seconds=0)
    proposals = [Proposal(CT, (EXPLICIT,))]
    called = a_peer(peer.port)
    lent = [pool.acquire(KEY, called, proposals) for _ in range(4)]
    with pytest.raises(PoolExhausted):
        pool.acquire(KEY, called, proposals)
    other = pool.acquire(KEY._replace(transfer_syntax_uid="1.2.840.10008.1.2"), called, proposals)
    pool.discard(other)
    pool.give_back(lent[0])
    again = pool.acquire(KEY, called, proposals)
    assert again.reused
    assert again.association is lent[0].association
    for one in (*lent[1:], again):
        pool.give_back(one)
    # One that was opened for other SOP classes does not suit: room is made for one that does.
    more = pool.acquire(
        KEY, called, [*proposals, Proposal("1.2.840.10008.5.1.4.1.1.4", (EXPLICIT,))]
    )
    assert not more.reused
    pool.give_back(more)
    assert pool.sweep() == 4
    assert len(peer.connections) == 6


def test_a_waiting_thread_gets_what_is_given_back(peer: ScriptedPeer) -> None:
    pool = AssociationPool(limit=1, acquire_seconds=10)
    proposals = [Proposal(CT, (EXPLICIT,))]
    first = pool.acquire(KEY, a_peer(peer.port), proposals)
    threading.Timer(0.2, pool.give_back, [first]).start()
    second = pool.acquire(KEY, a_peer(peer.port), proposals)
    assert second.association is first.association
    pool.give_back(second)
    pool.sweep(everything=True)


def test_an_idle_association_that_the_peer_has_closed_is_not_used() -> None:
    pool = AssociationPool()
    with ScriptedPeer() as peer:
        lent = pool.acquire(KEY, a_peer(peer.port), [Proposal(CT, (EXPLICIT,))])
        pool.give_back(lent)
    while lent.association.is_alive():
        dawdle(0.01)
    with pytest.raises(PeerFault):
        pool.acquire(KEY, a_peer(peer.port), [Proposal(CT, (EXPLICIT,))])


def test_a_bucket_holds_a_quarter_of_a_second_and_no_more() -> None:
    now = [100.0]
    bucket = Throttle(1000, clock=lambda: now[0])
    assert bucket.reserve(500) == 0, "a new one is not empty: one piece goes at once"
    assert bucket.reserve(100) == 0.5
    assert bucket.reserve(100) == pytest.approx(0.6)
    now[0] += 0.7
    assert bucket.reserve(250) == 0
    now[0] += 100
    assert bucket.reserve(250) == 0, "what was not used is lost, but for a quarter of a second"
    assert bucket.reserve(250) == 0
    assert bucket.reserve(1) == pytest.approx(0.25)
    free = Throttle(None, clock=lambda: now[0])
    assert [free.reserve(1 << 30) for _ in range(3)] == [0, 0, 0]
