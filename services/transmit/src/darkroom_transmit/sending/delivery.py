"""A batch on its way to a destination: made ready, sent, and what its faults mean for the lane."""

import asyncio
import random
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from opentelemetry.trace import SpanKind

from darkroom_common.backoff import delay
from darkroom_common.clock import SYSTEM_CLOCK, Clock
from darkroom_common.dimse.requestor import PeerFault
from darkroom_common.echoes.places import Places
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.postgres.pool import Database
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import transmit as metrics
from darkroom_common.transcoding.preparing import CannotPrepare, PreparationUnavailable
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.breaker import Breaker, State
from darkroom_transmit.sending.job import Claimed
from darkroom_transmit.sending.outcome import Outcome, Verdict, without
from darkroom_transmit.sending.pool import LIMIT, PoolExhausted
from darkroom_transmit.sending.repository import SendJobs
from darkroom_transmit.sending.results import Results
from darkroom_transmit.sending.sender import FALLBACK_SYNTAXES, Interrupted, Orders, Sender
from darkroom_transmit.sending.sources import Item, Preparer, Source
from darkroom_transmit.sending.suspicion import FAULTS, Suspicion
from darkroom_transmit.sending.throttle import Throttle

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
NOT_ACCEPTED: Final = "TransferSyntaxNotAccepted"
_ANSWERS: Final = frozenset(
    {"SopClassNotAccepted", "ServiceNotFound", "NotAuthenticated", "NotAuthorised"}
)
"""Why a test fails of a destination that is there all the same."""
_STATES: Final[tuple[State, ...]] = ("closed", "open", "half-open")


@dataclass(frozen=True)
class Yard:
    """What all lanes work with.

    Attributes:
        owner: this process.
        lease_seconds: until another process takes over the jobs of one that died.
        sent: is called with the id of each job that is sent.
        pool_size: that no destination gets more associations than.
        places: that echoes take, too.
    """

    database: Database
    jobs: SendJobs
    preparer: Preparer
    senders: Mapping[str, Sender]
    owner: str
    lease_seconds: float
    sent: Callable[[str], Awaitable[None]]
    show_breaker: Callable[[str, State, str, float], Awaitable[None]]
    pool_size: int = LIMIT
    places: Places = field(default_factory=Places)
    clock: Clock = SYSTEM_CLOCK
    chance: Callable[[], float] = random.random

    def at_once(self, destination: Destination) -> int:
        """Return how many associations a destination gets."""
        return min(destination.spec.max_associations, self.pool_size)


class _Told:
    """Hears from any thread what became of data sets, and has it kept in the loop's.

    Attributes:
        refused: items whose transfer syntax, beside them, was not accepted.
    """

    def __init__(self, take: Callable[[Item, Outcome], None]) -> None:
        self.refused: list[tuple[Item, str]] = []
        self._take = take
        self._known: set[str] = set()
        self._loop = asyncio.get_running_loop()

    def __call__(self, source: Source, outcome: Outcome) -> None:
        self._known.add(source.item.sop_instance_uid)
        if outcome.reason == NOT_ACCEPTED:
            self.refused.append((source.item, source.transfer_syntax_uid))
        else:
            told = without(outcome, source.left_out)
            self._loop.call_soon_threadsafe(self._take, source.item, told)

    def __contains__(self, source: Source) -> bool:
        return source.item.sop_instance_uid in self._known


def _apart(group: Sequence[Source], suspects: Sequence[Source], told: _Told) -> list[list[Source]]:
    """Return what is left to send of a group, the first last: two halves of several suspects."""
    half = len(suspects) // 2
    parts = [list(suspects[half:]), list(suspects[:half])] if half else []
    rest = [one for one in group if one not in suspects and one not in told]
    return [*parts, rest] if rest else parts


@dataclass(frozen=True)
class _Stop:
    """When no further data set of a job is begun: the lane ends, or the job is not to go on."""

    lane: threading.Event
    claimed: Claimed

    def is_set(self) -> bool:
        return self.lane.is_set() or self.claimed.halted


@dataclass
class Delivery:
    """Sends batches to one destination.

    Attributes:
        wake: is called when the lane may send again, or must not.
        stop: set when no further object is to be begun.
    """

    destination: Destination
    yard: Yard
    breaker: Breaker
    results: Results
    wake: Callable[[], None]
    stop: threading.Event = field(default_factory=threading.Event)
    suspicion: Suspicion = field(default_factory=Suspicion)

    def __post_init__(self) -> None:
        """Make the threads, which start when they are needed."""
        spec = self.destination.spec
        self._threads = ThreadPoolExecutor(
            self.yard.at_once(self.destination), thread_name_prefix=f"send-{self.destination.name}"
        )
        self._throttle = Throttle(spec.throttle_bytes_per_second)
        self._shown: State | None = None  # another lane may have shown it open

    def close(self) -> None:
        """Begin nothing more; threads end with the object they send."""
        self.stop.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def send(self, claimed: Claimed, batch: Sequence[Item]) -> None:
        """Send a batch, made over into what the destination takes where it refuses."""
        name = self.destination.name
        spec = self.destination.spec
        wanted = spec.transfer_syntaxes
        refused: set[str] = set()
        left = list(batch)
        with (
            metrics.TRANSMIT_SECONDS.labels(name).time(),
            traces.span(
                tracer,
                f"C-STORE SCU {name}" if spec.kind == "dimse" else f"STOW-RS {name}",
                kind=SpanKind.CLIENT,
                parent=traces.extract(claimed.trace),
                links=claimed.links,
                darkroom__job=claimed.id,
                darkroom__instances=len(batch),
            ),
        ):
            while left and not claimed.halted:
                again = await self._try(claimed, left, wanted)
                refused |= {item_syntax for _, item_syntax in again}
                offered = spec.transfer_syntaxes or FALLBACK_SYNTAXES
                wanted = tuple(syntax for syntax in offered if syntax not in refused)
                left = [item for item, _ in again]
                if not wanted:
                    for item in left:
                        self.results.take(claimed, item, Outcome(Verdict.FAILED, NOT_ACCEPTED))
                    return

    async def _try(
        self, claimed: Claimed, items: Sequence[Item], wanted: tuple[str, ...]
    ) -> list[tuple[Item, str]]:
        """Send what can be made ready; return what was refused, with its transfer syntax.

        What cannot be made ready is told when the others have gone: it may end the attempt.
        """
        told = _Told(partial(self._take, claimed))
        unready: list[tuple[Item, Outcome]] = []
        async with AsyncExitStack() as held:
            ready: dict[str, list[Source]] = {}
            for item in items:
                source = await self._prepare(item, wanted, held)
                if isinstance(source, Outcome):
                    unready.append((item, source))
                else:
                    ready.setdefault(source.transfer_syntax_uid, []).append(source)
            for sources in ready.values():
                await self._deliver(claimed, sources, told)
        for item, outcome in unready:
            self.results.take(claimed, item, outcome)
        return told.refused

    def _take(self, claimed: Claimed, item: Item, outcome: Outcome) -> None:
        if outcome.arrived:
            self.suspicion.arrived()
        self.results.take(claimed, item, outcome)

    async def _prepare(
        self, item: Item, wanted: tuple[str, ...], held: AsyncExitStack
    ) -> Source | Outcome:
        preparer = self.yard.preparer
        ready = preparer.at_once(item, self.destination, wanted)
        if ready is not None:
            return ready
        try:
            return await held.enter_async_context(preparer.prepare(item, self.destination, wanted))
        except CannotPrepare as error:
            return Outcome(Verdict.FAILED, error.reason)
        except PreparationUnavailable as error:
            return Outcome(Verdict.RETRY, error.reason)

    async def _deliver(self, claimed: Claimed, sources: Sequence[Source], told: "_Told") -> None:
        """Send what is not halted; what the destination does not stand is set apart by halving."""
        sender = self.yard.senders.get(self.destination.spec.kind)
        if sender is None:
            claimed.halt("KindNotAvailable", permanent=True)
            return
        alone = sources[0].item.faults > 0
        stop = _Stop(self.stop, claimed)
        orders = Orders(told, stop, self._throttle, self._threads, claimed.elements, fresh=alone)
        groups = deque([list(sources)])
        while groups and not claimed.halted:
            group = groups.popleft()
            try:
                await self._to_its_end(sender.send(self.destination, group, orders))
            except PoolExhausted:
                self.breaker.nothing_learnt()
                claimed.halt("PoolExhausted", exhausted=True)
            except Interrupted as fault:
                if claimed.progressed:
                    await self._closed_again()
                groups.extendleft(_apart(group, fault.sources, told))
                if len(fault.sources) == 1:
                    await self._suspect(claimed, sender, fault.sources[0].item, fault)
            except PeerFault as fault:
                await self._faulted(claimed, fault)
            else:
                await self._closed_again()

    async def _suspect(
        self, claimed: Claimed, sender: Sender, item: Item, fault: PeerFault
    ) -> None:
        """Put an object aside, or say that it has failed, unless the destination is at fault."""
        alone = item.faults > 0
        proven = claimed.arrived > 0 or claimed.row["sent"] > 0
        blamed = self.suspicion.blames_destination(
            item.sop_instance_uid, alone=alone, proven=proven
        )
        if alone and not proven and not blamed:
            blamed = not await self._answers(sender)
        if blamed:
            await self._faulted(claimed, fault)
        if alone and blamed:
            return
        log.warning(
            "instance.suspected",
            destination=self.destination.name,
            job=claimed.id,
            sop_instance_uid=item.sop_instance_uid,
            reason=fault.reason,
            detail=fault.detail,
            faults=item.faults + 1,
        )
        final = alone and (item.faults + 1 >= FAULTS or not fault.transient)
        if final:
            await self._closed_again()  # it was the object
        verdict = Verdict.FAILED if final else Verdict.SUSPECT
        self.results.take(claimed, item, Outcome(verdict, fault.reason))
        if not alone and not blamed:
            claimed.suspects.append(replace(item, faults=1))

    async def _answers(self, sender: Sender) -> bool:
        """Tell whether the destination answers at all."""
        try:
            await sender.echo(self.destination, self._threads)
        except PeerFault as fault:
            return fault.reason in _ANSWERS
        return True

    async def _to_its_end(self, sending: Awaitable[None]) -> None:
        """Wait for a batch; when the lane is cancelled, for the object that is under way."""
        task = asyncio.ensure_future(sending)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self.stop.set()
            with suppress(PeerFault, PoolExhausted):
                await task
            raise

    async def _faulted(self, claimed: Claimed, fault: PeerFault) -> None:
        name = self.destination.name
        metrics.TRANSMIT_FAULTS.labels(name, fault.reason).inc()
        log.warning(
            "destination.failed",
            destination=name,
            job=claimed.id,
            reason=fault.reason,
            detail=fault.detail,
        )
        claimed.halt(fault.reason, permanent=not fault.transient)
        backoff = self.destination.spec.backoff
        seconds = delay(backoff, self.breaker.failures, 0.5)
        self.breaker.failed(fault.reason, self.yard.clock.monotonic(), seconds)
        await self._show_breaker(seconds)
        self.wake()

    async def _closed_again(self) -> None:
        if self.breaker.failures or self._shown != "closed":
            if self.breaker.state() != "closed":
                log.info("destination.recovered", destination=self.destination.name)
            self.breaker.succeeded()
            await self._show_breaker(0.0)
            self.wake()
        else:
            self.breaker.succeeded()

    async def _show_breaker(self, seconds: float) -> None:
        name, state = self.destination.name, self.breaker.state()
        for one in _STATES:
            metrics.TRANSMIT_BREAKER.labels(name, one).set(one == state)
        with suppress(DependencyUnavailable):  # it is for people to look at
            await self.yard.show_breaker(name, state, self.breaker.reason, seconds)
            self._shown = state
