"""How a batch of data sets gets to a destination: one sender for each kind of destination."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final, Protocol

from darkroom_common.dicom.charset import Assumed
from darkroom_common.dimse.requestor import Peer, PeerFault, ProposalRefused, tls_context
from darkroom_common.dimse.tls import TlsClient
from darkroom_common.dimse.users.echo import echo
from darkroom_common.dimse.wire.association_items import IMPLICIT_VR_LITTLE_ENDIAN, Proposal
from darkroom_common.dimse.wire.command import Value
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.outcome import Outcome, Verdict
from darkroom_transmit.sending.pool import AssociationPool, Lent, PoolKey
from darkroom_transmit.sending.scu import Stop, StoreUser, Tell
from darkroom_transmit.sending.sources import Source
from darkroom_transmit.sending.throttle import Throttle


class Interrupted(PeerFault):
    """The peer has ended, or left unanswered, what it was sent data sets by.

    Attributes:
        sources: that were under way; one of them, or the peer, is at fault.
    """

    def __init__(self, fault: PeerFault, sources: Sequence[Source]) -> None:
        super().__init__(fault.reason, fault.detail, transient=fault.transient)
        self.sources = tuple(sources)


@dataclass(frozen=True)
class Orders:
    """How a batch is sent.

    Attributes:
        tell: is called for each data set whose fate is known, from any thread.
        stop: set when no further data set is to be begun.
        elements: of each C-STORE's command: its priority, and whose C-MOVE it is (PS3.7 9.3.1.1).
        fresh: whether to open an association for it.
    """

    tell: Tell
    stop: Stop
    throttle: Throttle
    executor: Executor
    elements: Mapping[int, Value] = field(default_factory=dict)
    fresh: bool = False


class Sender(Protocol):
    """Sends to one kind of destination."""

    async def send(
        self, destination: Destination, sources: Sequence[Source], orders: Orders
    ) -> None:
        """Send data sets that have one transfer syntax.

        Raises:
            Interrupted: while some of them were under way; what was not told has not arrived, as
                far as is known.
            PeerFault: the peer cannot be sent to.
            PoolExhausted: nothing was sent.
        """
        ...

    async def echo(self, destination: Destination, executor: Executor) -> None:
        """Test that the destination answers.

        Raises:
            PeerFault: it does not; the reason says why.
        """
        ...


FALLBACK_SYNTAXES: Final = ("1.2.840.10008.1.2.1", IMPLICIT_VR_LITTLE_ENDIAN)
"""What every storage SCP takes at least the last of, PS3.5 section 10.1."""
_ENDED: Final = frozenset({"ConnectionLost", "Released", "Aborted"})


@dataclass
class DimseSender:
    """C-STORE over pooled associations, in threads."""

    pool: AssociationPool
    tls: TlsClient

    def peer(self, destination: Destination) -> Peer:
        """Return whom to call.

        Raises:
            PeerFault: certificates cannot be used.
        """
        spec = destination.spec
        if spec.ae_title is None or spec.host is None or spec.port is None:
            raise PeerFault("Misconfigured", transient=False)
        return Peer(
            host=spec.host,
            port=spec.port,
            called_ae_title=spec.ae_title,
            calling_ae_title=spec.calling_ae_title,
            connect_seconds=spec.connect_seconds,
            answer_seconds=spec.answer_seconds,
            tls=tls_context(self.tls, spec.tls) if spec.tls.enabled else None,
            server_name=spec.tls.server_name,
            assumed=Assumed(spec.character_set or ""),
        )

    async def send(
        self, destination: Destination, sources: Sequence[Source], orders: Orders
    ) -> None:
        """See `Sender.send`."""
        peer = self.peer(destination)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(orders.executor, self.deliver, peer, sources, orders)

    def deliver(self, peer: Peer, sources: Sequence[Source], orders: Orders) -> None:
        """Send in the calling thread; see `send`.

        A peer that refuses an association for one of its SOP classes is offered them one by one.
        """
        by_class: dict[str, list[Source]] = {}
        for source in sources:
            by_class.setdefault(source.sop_class_uid, []).append(source)
        try:
            self._deliver(peer, sources, orders)
        except ProposalRefused as refused:
            left = list(by_class.values()) if len(by_class) > 1 else []
            accepted = [some for some in left if self._takes(peer, some)]
            if not accepted:
                raise
            for some in left:
                if some in accepted:
                    self._deliver(peer, some, orders)
                    continue
                for source in some:
                    orders.tell(source, Outcome(Verdict.FAILED, refused.reason))

    def _takes(self, peer: Peer, sources: Sequence[Source]) -> bool:
        """Tell whether the peer accepts associations for the SOP class of some data sets."""
        key, classes = _key(peer, sources), [sources[0].sop_class_uid]
        try:
            self.pool.give_back(self._acquire(key, peer, classes, fresh=False))
        except ProposalRefused:
            return False
        return True

    def _acquire(self, key: PoolKey, peer: Peer, classes: Iterable[str], *, fresh: bool) -> Lent:
        """Return an association for SOP classes in a transfer syntax, or else in a plain one.

        Each is offered in the syntax, and in the default one beside it (PS3.5 section 10.1).
        """
        offered = dict.fromkeys((key.transfer_syntax_uid, IMPLICIT_VR_LITTLE_ENDIAN))
        proposals = [Proposal(uid, (syntax,)) for uid in classes for syntax in offered]
        try:
            return self.pool.acquire(key, peer, proposals, fresh=fresh)
        except ProposalRefused:
            plain = [Proposal(uid, FALLBACK_SYNTAXES) for uid in classes]
            return self.pool.acquire(key, peer, plain, fresh=fresh)

    def _deliver(self, peer: Peer, sources: Sequence[Source], orders: Orders) -> None:
        classes = dict.fromkeys(source.sop_class_uid for source in sources)
        key = _key(peer, sources)
        told = 0

        def tell(source: Source, outcome: Outcome) -> None:
            nonlocal told
            told += 1
            orders.tell(source, outcome)

        fresh = orders.fresh
        while True:
            lent = self._acquire(key, peer, classes, fresh=fresh)
            user = StoreUser(lent.association, orders.throttle, orders.elements)
            try:
                user.send(sources, tell, orders.stop)
            except PeerFault as fault:
                self.pool.discard(lent)
                # An idle association may have been closed by the peer at that very moment.
                if lent.reused and not told and fault.reason in _ENDED:
                    fresh = True
                    continue
                raise Interrupted(fault, user.under_way) from fault
            except BaseException:
                self.pool.discard(lent)
                raise
            self.pool.give_back(lent)
            return

    async def echo(self, destination: Destination, executor: Executor) -> None:
        """See `Sender.echo`."""
        peer = self.peer(destination)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(executor, self._echo, peer)

    def _echo(self, peer: Peer) -> None:
        self.pool.make_way((peer.called_ae_title, peer.host, peer.port))
        echo(peer)


def _key(peer: Peer, sources: Sequence[Source]) -> PoolKey:
    syntax = sources[0].transfer_syntax_uid
    return PoolKey(peer.called_ae_title, peer.host, peer.port, syntax)
