"""C-STORE over the pool: what is offered, what is opened anew, and what is never sent twice."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from darkroom_common.dimse.requestor import Peer, PeerFault, ProposalRefused
from darkroom_common.dimse.wire.association_items import IMPLICIT_VR_LITTLE_ENDIAN, Proposal
from darkroom_transmit.sending import sender as module
from darkroom_transmit.sending.outcome import Outcome, Verdict
from darkroom_transmit.sending.sender import FALLBACK_SYNTAXES, DimseSender, Interrupted, Orders
from darkroom_transmit.sending.sources import Item, Source
from tests.unit.transmit.test_delivery import HERE

JPEG = "1.2.840.10008.1.2.4.70"
SENT = Outcome(Verdict.SENT)


def a_source(uid: str, sop_class: str = "1.1") -> Source:
    item = Item(uid, sop_class, JPEG, uid, 10, 0)
    return Source(item, Path(uid), 0, 10, sop_class, uid, JPEG)


class Pool:
    """Lends associations; `refused` classes are not accepted in their own transfer syntax."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.not_at_all: set[str] = set()
        self.reused = False
        self.asked: list[tuple[tuple[Proposal, ...], bool]] = []
        self.lent = self.given_back = self.discarded = 0
        self.made_way: list[Any] = []

    def acquire(self, _key: Any, _peer: Peer, proposals: Sequence[Proposal], *, fresh: bool) -> Any:
        self.asked.append((tuple(proposals), fresh))
        classes = {one.abstract_syntax for one in proposals}
        if classes & self.not_at_all:
            raise ProposalRefused("SopClassNotAccepted", transient=False)
        if classes & self.refused and any(JPEG in one.transfer_syntaxes for one in proposals):
            raise ProposalRefused("TransferSyntaxNotAccepted", transient=False)
        self.lent += 1
        lent: Any = type("Lent", (), {"association": "open", "reused": self.reused and not fresh})()
        return lent

    def give_back(self, _lent: Any) -> None:
        self.given_back += 1

    def discard(self, _lent: Any) -> None:
        self.discarded += 1

    def make_way(self, address: Any) -> None:
        self.made_way.append(address)


class User:
    """Sends what it is told to; `faults` come one after another, each after so many objects."""

    faults: list[tuple[int, BaseException]]
    sent: list[str]

    def __init__(self, _association: Any, _throttle: Any, _elements: Any) -> None:
        self.under_way: tuple[Source, ...] = ()

    def send(self, sources: Sequence[Source], tell: Any, _stop: Any) -> None:
        after, fault = User.faults.pop(0) if User.faults else (len(sources), None)
        for source in sources[:after]:
            User.sent.append(source.sop_instance_uid)
            tell(source, SENT)
        if fault is not None:
            self.under_way = tuple(sources[after : after + 1])
            raise fault


class Desk:
    def __init__(self) -> None:
        self.pool = Pool()
        pool: Any = self.pool
        tls: Any = None
        self.sender = DimseSender(pool, tls)
        self.told: list[tuple[str, Outcome]] = []

    def send(self, *sources: Source, fresh: bool = False) -> None:
        other: Any = None
        orders = Orders(
            lambda one, outcome: self.told.append((one.sop_instance_uid, outcome)),
            threading.Event(),
            other,
            other,
            fresh=fresh,
        )
        self.sender.deliver(self.sender.peer(HERE), sources, orders)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    User.faults, User.sent = [], []
    monkeypatch.setattr(module, "StoreUser", User)
    return Desk()


def test_each_class_is_offered_in_its_syntax_and_in_the_default_beside_it(desk: Desk) -> None:
    desk.send(a_source("1"), a_source("2", "1.2"), a_source("3"))
    ((proposals, fresh),) = desk.pool.asked
    assert [(one.abstract_syntax, one.transfer_syntaxes) for one in proposals] == [
        ("1.1", (JPEG,)),
        ("1.1", (IMPLICIT_VR_LITTLE_ENDIAN,)),
        ("1.2", (JPEG,)),
        ("1.2", (IMPLICIT_VR_LITTLE_ENDIAN,)),
    ]
    assert not fresh
    assert (desk.pool.given_back, desk.pool.discarded) == (1, 0)
    assert desk.told == [(uid, SENT) for uid in "123"]


def test_a_syntax_that_is_refused_is_followed_by_the_plain_ones(desk: Desk) -> None:
    desk.pool.refused = {"1.1"}
    desk.send(a_source("1"))
    (plain,) = desk.pool.asked[-1][0]
    assert plain.transfer_syntaxes == FALLBACK_SYNTAXES
    assert User.sent == ["1"]


def test_a_class_that_is_refused_fails_alone(desk: Desk) -> None:
    desk.pool.not_at_all = {"1.2"}
    desk.send(a_source("1"), a_source("2", "1.2"), a_source("3", "1.3"), a_source("4", "1.2"))
    assert User.sent == ["1", "3"]
    refused = Outcome(Verdict.FAILED, "SopClassNotAccepted")
    assert sorted(desk.told) == [("1", SENT), ("2", refused), ("3", SENT), ("4", refused)]
    assert desk.pool.lent == desk.pool.given_back


@pytest.mark.parametrize("classes", [("1.2",), ("1.2", "1.3")])
def test_a_peer_that_takes_none_of_the_classes_has_refused_the_association(
    desk: Desk, classes: tuple[str, ...]
) -> None:
    desk.pool.not_at_all = set(classes)
    with pytest.raises(ProposalRefused):
        desk.send(*(a_source(one, one) for one in classes))
    assert desk.told == []


@pytest.mark.parametrize("reason", ["ConnectionLost", "Released", "Aborted"])
def test_an_idle_association_that_was_just_closed_is_opened_anew(desk: Desk, reason: str) -> None:
    desk.pool.reused = True
    User.faults = [(0, PeerFault(reason))]
    desk.send(a_source("1"), a_source("2"))
    assert User.sent == ["1", "2"]
    assert [fresh for _, fresh in desk.pool.asked] == [False, True]
    assert (desk.pool.discarded, desk.pool.given_back) == (1, 1)


@pytest.mark.parametrize(
    ("reused", "after", "reason"),
    [(False, 0, "ConnectionLost"), (True, 1, "ConnectionLost"), (True, 0, "AnswerTimeout")],
)
def test_what_may_have_arrived_is_not_sent_again_at_once(
    desk: Desk, reused: bool, after: int, reason: str
) -> None:
    desk.pool.reused = reused
    User.faults = [(after, PeerFault(reason, "detail", transient=False))]
    with pytest.raises(Interrupted) as fault:
        desk.send(a_source("1"), a_source("2"), a_source("3"))
    assert [one.sop_instance_uid for one in fault.value.sources] == [str(after + 1)]
    assert (fault.value.reason, fault.value.detail, fault.value.transient) == (
        *(reason, "detail", False),
    )
    assert len(User.sent) == after
    assert (desk.pool.discarded, desk.pool.given_back) == (1, 0)


def test_an_association_that_anything_went_wrong_on_is_not_given_back(desk: Desk) -> None:
    User.faults = [(1, RuntimeError("odd"))]
    with pytest.raises(RuntimeError):
        desk.send(a_source("1"), a_source("2"))
    assert (desk.pool.discarded, desk.pool.given_back) == (1, 0)


def test_a_suspect_gets_an_association_of_its_own(desk: Desk) -> None:
    desk.pool.reused = True
    desk.send(a_source("1"), fresh=True)
    assert [fresh for _, fresh in desk.pool.asked] == [True]


@pytest.mark.parametrize("missing", ["ae_title", "host", "port"])
def test_a_destination_without_an_address_is_misconfigured_for_good(
    desk: Desk, missing: str
) -> None:
    spec = HERE.spec.model_copy(update={missing: None})
    there: Any = type("There", (), {"spec": spec})()
    with pytest.raises(PeerFault, match="Misconfigured") as fault:
        desk.sender.peer(there)
    assert not fault.value.transient


def test_an_echo_makes_way_for_itself(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    echoed: list[Peer] = []
    monkeypatch.setattr(module, "echo", echoed.append)
    peer = desk.sender.peer(HERE)
    desk.sender._echo(peer)
    assert echoed == [peer]
    assert desk.pool.made_way == [("PACS", "10.0.0.1", 104)]
