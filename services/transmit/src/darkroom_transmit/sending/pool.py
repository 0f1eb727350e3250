"""Open associations that are used again (TRX-04), by (called AE, host, port, transfer syntax).

It is used by threads. At most `limit` associations of a key are open; who waits longer than
`acquire_seconds` for one gets `PoolExhausted`, and its work is queued again.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from darkroom_common.clock import monotonic
from darkroom_common.dimse.requestor import Association, Peer, PeerFault, associate
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.errors import TransientError
from darkroom_common.telemetry.metrics import transmit as metrics

LIMIT: Final = 4
IDLE_SECONDS: Final = 30.0
ACQUIRE_SECONDS: Final = 30.0
SWEEP_SECONDS: Final = 10.0


class PoolExhausted(TransientError):
    """All associations of a key were in use for too long."""


class PoolKey(NamedTuple):
    """What shares one limit."""

    called_ae_title: str
    host: str
    port: int
    transfer_syntax_uid: str

    @property
    def address(self) -> tuple[str, str, int]:
        """The peer, whatever the transfer syntax."""
        return self[:3]


@dataclass(eq=False)
class Lent:
    """An association in somebody's hands. `reused`: it was idle in the pool before."""

    key: PoolKey
    association: Association
    reused: bool


@dataclass
class _Idle:
    association: Association
    since: float


@dataclass
class AssociationPool:
    """The pool of a process."""

    limit: int = LIMIT
    idle_seconds: float = IDLE_SECONDS
    acquire_seconds: float = ACQUIRE_SECONDS
    open_association: Callable[[Peer, Sequence[Proposal]], Association] = associate
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _idle: dict[PoolKey, list[_Idle]] = field(default_factory=dict)
    _used: dict[PoolKey, int] = field(default_factory=dict)
    _lent: set[Lent] = field(default_factory=set)
    _opening: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def acquire(
        self, key: PoolKey, peer: Peer, proposals: Sequence[Proposal], *, fresh: bool = False
    ) -> Lent:
        """Return an association on which all proposals were negotiated.

        Args:
            key: under which it counts.
            peer: whom to call if none is idle; an idle one must have been opened for an equal one.
            proposals: what it must have offered.
            fresh: take no idle one.

        Raises:
            PoolExhausted: none has become free in time.
            PeerFault: it cannot be opened.
        """
        deadline = monotonic() + self.acquire_seconds
        while True:
            found, surplus = self._take(key, peer, proposals, deadline, fresh=fresh)
            for association in surplus:
                association.release()
            if found is None:
                break
            if found.is_alive():
                return self._lend(Lent(key, found, reused=True))
            found.abort()
            self._forget(key)
        try:
            association = self._open(key, peer, proposals)
        except BaseException:
            self._forget(key)
            raise
        return self._lend(Lent(key, association, reused=False))

    def _open(self, key: PoolKey, peer: Peer, proposals: Sequence[Proposal]) -> Association:
        with self._changed:
            self._opening[key.address] += 1
        try:
            return self.open_association(peer, proposals)
        finally:
            with self._changed:
                self._opening[key.address] -= 1
                if not self._opening[key.address]:
                    del self._opening[key.address]

    def _take(
        self,
        key: PoolKey,
        peer: Peer,
        proposals: Sequence[Proposal],
        deadline: float,
        *,
        fresh: bool,
    ) -> tuple[Association | None, list[Association]]:
        """Reserve a place; return an idle association for it, if one suits, and what to release."""
        with self._changed:
            while True:
                idle = self._idle.setdefault(key, [])
                for one in [] if fresh else idle:
                    if one.association.peer == peer and _suits(one.association, proposals):
                        idle.remove(one)
                        self._used[key] = self._used.get(key, 0) + 1
                        return one.association, []
                if self._used.get(key, 0) < self.limit:
                    surplus = self._make_room(key)
                    self._used[key] = self._used.get(key, 0) + 1
                    return None, surplus
                left = deadline - monotonic()
                if left <= 0 or not self._changed.wait(left):
                    metrics.TRANSMIT_POOL_EXHAUSTED.labels(key.called_ae_title).inc()
                    raise PoolExhausted("PoolExhausted")

    def _make_room(self, key: PoolKey) -> list[Association]:
        """Take idle associations to the same peer out, so that one more is within the limit."""
        there = [k for k in self._idle if k.address == key.address]
        count = sum(len(self._idle[k]) for k in there)
        count += sum(n for k, n in self._used.items() if k.address == key.address)
        oldest = sorted(
            ((one, k) for k in there for one in self._idle[k]), key=lambda pair: pair[0].since
        )
        surplus = oldest[: max(0, count + 1 - self.limit)]
        for one, k in surplus:
            self._idle[k].remove(one)
        return [one.association for one, _ in surplus]

    def _lend(self, lent: Lent) -> Lent:
        with self._changed:
            self._lent.add(lent)
            self._show()
        return lent

    def _forget(self, key: PoolKey) -> None:
        with self._changed:
            self._used[key] -= 1
            if not self._used[key]:
                del self._used[key]
            self._changed.notify_all()

    def give_back(self, lent: Lent) -> None:
        """Keep an association for the next who needs one.

        While another one to the same peer is being opened it is released instead: a peer that
        serves one association at a time lets the other wait for as long as this one is open.
        """
        with self._changed:
            self._lent.discard(lent)
            wanted = self._opening[lent.key.address] > 0
            if not wanted:
                idle = self._idle.setdefault(lent.key, [])
                idle.append(_Idle(lent.association, monotonic()))
            self._show()
        if wanted:
            with suppress(PeerFault):
                lent.association.release()
        self._forget(lent.key)

    def discard(self, lent: Lent) -> None:
        """Abort an association that failed."""
        lent.association.abort()
        with self._changed:
            self._lent.discard(lent)
            self._show()
        self._forget(lent.key)

    def sweep(self, *, everything: bool = False) -> int:
        """Release what has been idle too long, and return how many that were. It blocks."""
        now = monotonic()
        with self._changed:
            old: list[_Idle] = []
            for key in list(self._idle):
                kept: list[_Idle] = []
                for one in self._idle[key]:
                    in_the_way = self._opening[key.address] > 0
                    stale = everything or in_the_way or now - one.since >= self.idle_seconds
                    (old if stale else kept).append(one)
                if kept:
                    self._idle[key] = kept
                else:
                    del self._idle[key]
            self._show()
            self._changed.notify_all()
        for one in old:
            with suppress(PeerFault):
                one.association.release()
        return len(old)

    def make_way(self, address: tuple[str, str, int]) -> None:
        """Release what is idle with a peer: somebody calls it without the pool. It blocks."""
        with self._changed:
            there = [key for key in self._idle if key.address == address]
            idle = [one for key in there for one in self._idle.pop(key)]
            self._show()
            self._changed.notify_all()
        for one in idle:
            with suppress(PeerFault):
                one.association.release()

    def interrupt(self) -> None:
        """Make the threads that wait for peers stop."""
        with self._changed:
            for lent in self._lent:
                lent.association.interrupt()

    def _show(self) -> None:
        metrics.TRANSMIT_ASSOCIATIONS.labels("used").set(len(self._lent))
        metrics.TRANSMIT_ASSOCIATIONS_LIMIT.set(self.limit)
        metrics.TRANSMIT_ASSOCIATIONS_FULLEST.set(max(self._used.values(), default=0))
        metrics.TRANSMIT_ASSOCIATIONS.labels("idle").set(
            sum(len(idle) for idle in self._idle.values())
        )


def _suits(association: Association, proposals: Sequence[Proposal]) -> bool:
    return all(
        association.covers(one.abstract_syntax, syntax)
        for one in proposals
        for syntax in one.transfer_syntaxes
    )
