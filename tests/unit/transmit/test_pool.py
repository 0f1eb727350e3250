"""The pool as a decision: whose association may be used again, and which goes to make room."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from darkroom_common.dimse.requestor import Peer
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_transmit.sending import pool as pool_module
from darkroom_transmit.sending.pool import AssociationPool, Lent, PoolExhausted, PoolKey

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
PEER = Peer("10.0.0.1", 104, "PACS", "DARKROOM")
KEY = PoolKey("PACS", "10.0.0.1", 104, EXPLICIT)


@dataclass
class Opened:
    """An association that records what becomes of it."""

    peer: Any
    offered: list[Proposal]
    alive: bool = True
    ended: list[str] = field(default_factory=list)

    def covers(self, abstract: str, syntax: str) -> bool:
        return any(
            one.abstract_syntax == abstract and syntax in one.transfer_syntaxes
            for one in self.offered
        )

    def is_alive(self) -> bool:
        return self.alive

    def release(self) -> None:
        self.ended.append("released")

    def abort(self) -> None:
        self.ended.append("aborted")

    def interrupt(self) -> None:
        self.ended.append("interrupted")


def a_pool(**changes: Any) -> AssociationPool:
    def opened(peer: Peer, proposals: Any) -> Any:
        return Opened(peer, list(proposals))

    return AssociationPool(open_association=opened, **{"acquire_seconds": 0.0, **changes})


def of(*syntaxes: str, abstract: str = CT) -> list[Proposal]:
    return [Proposal(abstract, syntaxes)]


def test_an_idle_association_is_used_by_whoever_calls_an_equal_peer() -> None:
    pool = a_pool()
    first = pool.acquire(KEY, PEER, of(EXPLICIT))
    pool.give_back(first)
    again = pool.acquire(KEY, PEER, of(EXPLICIT))
    assert again.reused
    assert again.association is first.association
    assert len(pool._idle[KEY]) == 0


@pytest.mark.parametrize("other", [{"calling_ae_title": "OTHER"}, {"answer_seconds": 1.0}])
def test_it_is_not_used_for_a_peer_that_is_called_otherwise(other: dict[str, Any]) -> None:
    pool = a_pool()
    first = pool.acquire(KEY, PEER, of(EXPLICIT))
    pool.give_back(first)
    second = pool.acquire(KEY, replace(PEER, **other), of(EXPLICIT))
    assert not second.reused
    assert second.association is not first.association


@pytest.mark.parametrize("proposals", [of(JPEG), of(EXPLICIT, abstract=MR), of(EXPLICIT, JPEG)])
def test_it_is_not_used_for_what_it_has_not_offered(proposals: list[Proposal]) -> None:
    pool = a_pool()
    pool.give_back(pool.acquire(KEY, PEER, of(EXPLICIT)))
    assert not pool.acquire(KEY, PEER, proposals).reused


def test_a_fresh_one_is_no_idle_one() -> None:
    pool = a_pool()
    pool.give_back(pool.acquire(KEY, PEER, of(EXPLICIT)))
    assert not pool.acquire(KEY, PEER, of(EXPLICIT), fresh=True).reused


def test_a_dead_one_is_aborted_and_its_place_is_free() -> None:
    pool = a_pool(limit=1)
    first = pool.acquire(KEY, PEER, of(EXPLICIT))
    pool.give_back(first)
    ended(first).alive = False
    second = pool.acquire(KEY, PEER, of(EXPLICIT))
    assert not second.reused
    assert ended(first).ended == ["aborted"]
    pool.discard(second)
    assert ended(second).ended == ["aborted"]
    assert not pool._used


def test_the_limit_counts_what_is_idle_with_a_peer_under_any_syntax() -> None:
    pool = a_pool(limit=2)
    keys = [KEY, KEY._replace(transfer_syntax_uid=JPEG)]
    lent = [pool.acquire(key, PEER, of(EXPLICIT)) for key in keys]
    for one in lent:
        pool.give_back(one)
    third = pool.acquire(KEY._replace(transfer_syntax_uid="1.2"), PEER, of(EXPLICIT))
    assert not third.reused
    assert [ended(one).ended for one in lent] == [["released"], []], "the oldest makes room"
    elsewhere = KEY._replace(host="10.0.0.2")
    pool.acquire(elsewhere, replace(PEER, host="10.0.0.2"), of(EXPLICIT))
    assert ended(lent[1]).ended == [], "another peer's room is its own"


def test_a_full_pool_says_so_and_a_failed_opening_keeps_no_place() -> None:
    pool = a_pool(limit=1)
    kept = pool.acquire(KEY, PEER, of(EXPLICIT))
    with pytest.raises(PoolExhausted):
        pool.acquire(KEY, PEER, of(EXPLICIT))
    pool.give_back(kept)
    pool.open_association = fail
    for _ in range(3):
        with pytest.raises(ConnectionError):
            pool.acquire(KEY, PEER, of(EXPLICIT), fresh=True)
    assert not pool._used
    assert not pool._opening


def fail(_: Any, __: Any) -> Any:
    raise ConnectionError


def test_what_is_idle_too_long_goes_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(pool_module, "monotonic", lambda: now[0])
    pool = a_pool(idle_seconds=30.0)
    lent = [pool.acquire(KEY, PEER, of(EXPLICIT)) for _ in range(2)]
    pool.give_back(lent[0])
    now[0] += 20
    pool.give_back(lent[1])
    now[0] += 10
    assert pool.sweep() == 1
    assert [ended(one).ended for one in lent] == [["released"], []]
    now[0] += 19.9
    assert pool.sweep() == 0
    assert pool.sweep(everything=True) == 1
    assert pool.sweep(everything=True) == 0


def test_somebody_who_calls_without_the_pool_finds_the_peer_free() -> None:
    pool = a_pool()
    far = replace(PEER, host="10.0.0.2")
    lent = [
        pool.acquire(KEY, PEER, of(EXPLICIT)),
        pool.acquire(KEY._replace(host="10.0.0.2"), far, of(EXPLICIT)),
    ]
    for one in lent:
        pool.give_back(one)
    pool.make_way(KEY.address)
    assert [ended(one).ended for one in lent] == [["released"], []]


def test_given_back_while_another_is_opened_it_is_released() -> None:
    pool = a_pool()
    first = pool.acquire(KEY, PEER, of(EXPLICIT))

    def opened(peer: Peer, proposals: Any) -> Any:
        pool.give_back(first)
        assert ended(first).ended == ["released"]
        return Opened(peer, list(proposals))

    pool.open_association = opened
    pool.acquire(KEY, PEER, of(EXPLICIT))
    assert not pool._idle.get(KEY)


def test_what_is_lent_is_interrupted_and_what_was_given_back_is_not() -> None:
    pool = a_pool()
    lent = [pool.acquire(KEY, PEER, of(EXPLICIT)) for _ in range(3)]
    pool.give_back(lent[0])
    pool.discard(lent[1])
    pool.interrupt()
    assert [ended(one).ended for one in lent] == [[], ["aborted"], ["interrupted"]]


def ended(lent: Lent) -> Opened:
    """The association in somebody's hands, as ours."""
    association: Any = lent.association
    assert isinstance(association, Opened)
    return association
