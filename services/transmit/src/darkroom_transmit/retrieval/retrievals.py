"""Runs the retrieve jobs: a few at a time for each node, each to its end or its next try."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.backoff import delay
from darkroom_common.dimse.requestor import Peer, PeerFault
from darkroom_common.dimse.users.find import Refused
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.messages.base import Reply
from darkroom_common.messages.remote import ActOnRetrieve, RetrieveFromRemote
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.destinations.configuration import NotThere
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.remote.remotes import Remotes
from darkroom_transmit.retrieval.decision import End, Verdict, judge
from darkroom_transmit.retrieval.dimse import Handle, Way, retrieve
from darkroom_transmit.retrieval.forwarding import Forwarder
from darkroom_transmit.retrieval.repository import ClaimedRetrieve, RetrieveRepository

log = get_logger(__name__)
tracer = traces.get_tracer(__name__)
AT_ONCE: Final = 4
AT_ONCE_EACH: Final = 2
"""Jobs of one node at a time: a slow one leaves room for others."""
LOOK_SECONDS: Final = 1.0
_LAST_WORDS_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Receiver:
    """Where ingest listens, and as whom it is called.

    Attributes:
        calling_ae_title: of C-GET; empty: that of the node the objects are from, so that the list
            of senders means the same for both ways.
    """

    host: str
    port: int
    ae_title: str
    calling_ae_title: str
    silence: float

    def way(self, source: Destination) -> Way:
        """Return how objects of a node come to ingest."""
        peer = Peer(
            host=self.host,
            port=self.port,
            called_ae_title=self.ae_title,
            calling_ae_title=self.calling_ae_title or source.spec.ae_title or source.name[:16],
        )
        return Way(self.silence, self.ae_title, lambda: Forwarder(peer))


@dataclass
class Retrievals:
    """The retrieve jobs of this process."""

    repository: RetrieveRepository
    remotes: Remotes
    receiver: Receiver
    owner: str
    lease_seconds: float
    chance: Callable[[], float] = random.random
    _busy: Counter[str] = field(default_factory=Counter)
    _handles: set[Handle] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Make the threads, which start when they are needed."""
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="retrieve")

    def wake(self) -> None:
        """Say that there may be something to do."""
        self._wake.set()

    async def start(self, asked: RetrieveFromRemote) -> Reply:
        """Keep a job.

        Raises:
            NotThere: there is no such destination.
            PeerFault: it is no node that can be asked.
        """
        self.remotes.peer(await self.remotes.named(asked.remote))
        async with self.repository.database.transaction() as db:
            await self.repository.add(db, asked)
        self.wake()
        log.info("retrieve.accepted", job=asked.job_id, destination=asked.remote)
        return Reply(outcome="done", body={"job_id": asked.job_id})

    async def act(self, asked: ActOnRetrieve) -> Reply:
        """Try a job again, or cancel it.

        Raises:
            NotThere: there is no such job.
        """
        async with self.repository.database.transaction() as db:
            done = await self.repository.act(db, asked.job_id, asked.action, by=asked.requested_by)
        if done is None:
            raise NotThere("there is no such job")
        state, fits = done
        if not fits:
            word = "tried again" if asked.action == "retry" else "cancelled"
            reason = f"a job that is {state} cannot be {word}"
            return Reply(outcome="conflict", reason=reason, body={"state": state})
        self.wake()
        return Reply(outcome="done", body={"state": state})

    async def run(self) -> None:
        """Run jobs, until cancelled; then cancel what is under way and give it back."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._wake.clear()
                    with suppress(DependencyUnavailable):
                        while await self._begin(tasks):
                            pass
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS):
                            await self._wake.wait()
        finally:
            for handle in self._handles:
                handle.interrupt()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _begin(self, tasks: asyncio.TaskGroup) -> bool:
        if self._busy.total() >= AT_ONCE:
            return False
        busy = [name for name, count in self._busy.items() if count >= AT_ONCE_EACH]
        claimed = await self.repository.claim(
            owner=self.owner, lease_seconds=self.lease_seconds, busy=busy
        )
        if claimed is None:
            return False
        self._busy[claimed.remote] += 1
        tasks.create_task(self._job(claimed), name=f"retrieve {claimed.id}")
        return True

    async def _job(self, claimed: ClaimedRetrieve) -> None:
        handle = Handle()
        self._handles.add(handle)
        trace = {"traceparent": claimed.traceparent} if claimed.traceparent else {}
        try:
            with traces.span(tracer, "transmit.retrieve", parent=traces.extract(trace)):
                await self._attempt(claimed, handle)
        except DependencyUnavailable as error:  # the lease ends, and somebody claims it again
            log.warning("retrieve.waits", job=claimed.id, reason=str(error))
        finally:
            self._handles.discard(handle)
            self._busy[claimed.remote] -= 1
            self.wake()

    async def _attempt(self, claimed: ClaimedRetrieve, handle: Handle) -> None:
        status: int | None = None
        patience: float | None = None
        watching = asyncio.create_task(self._watch(claimed, handle))
        try:
            destination = await self.remotes.named(claimed.remote)
            backoff = destination.spec.backoff
            if claimed.tries + 1 < backoff.max_attempts:
                patience = delay(backoff, claimed.tries, self.chance())
            peer = self.remotes.peer(destination)
            loop = asyncio.get_running_loop()
            work = loop.run_in_executor(
                self._threads, retrieve, peer, claimed.order, self.receiver.way(destination), handle
            )
            end = await self._to_its_end(work, claimed, handle)
            status = end.status
            verdict = judge(end)
        except NotThere:
            verdict = Verdict("FAILED", "UnknownDestination")
        except PeerFault as fault:
            if isinstance(fault, Refused):
                status = fault.status
            verdict = Verdict(
                "RETRY" if fault.transient else "FAILED", fault.reason, claimed.order.wanted
            )
            if handle.stop.is_set():
                verdict = Verdict("CANCELLED", "Cancelled", claimed.order.wanted)
        except DependencyUnavailable:
            raise
        except Exception as error:  # a defect of ours must not end the other jobs
            log.exception("retrieve.defect", job=claimed.id, error=type(error).__name__)
            verdict = Verdict("RETRY", type(error).__name__, claimed.order.wanted)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        kept = await self.repository.finish(
            claimed, handle, verdict, owner=self.owner, status=status, delay=patience
        )
        log.info(
            "retrieve.ended",
            job=claimed.id,
            destination=claimed.remote,
            state=kept,
            reason=verdict.reason,
            completed=handle.completed,
            failed=handle.failed,
        )

    async def _to_its_end(
        self, work: asyncio.Future[End], claimed: ClaimedRetrieve, handle: Handle
    ) -> End:
        """Wait for the thread; when this process ends, give the job back."""
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            handle.stop.set()
            with suppress(TimeoutError, PeerFault):
                async with asyncio.timeout(_LAST_WORDS_SECONDS):
                    await asyncio.shield(work)
            handle.interrupt()
            with suppress(DependencyUnavailable):
                await self.repository.give_back(claimed, owner=self.owner)
            raise

    async def _watch(self, claimed: ClaimedRetrieve, handle: Handle) -> None:
        """Keep the lease, show progress, and see when somebody cancels."""
        while True:
            try:
                goes_on = await self.repository.renew(
                    claimed, handle, owner=self.owner, lease_seconds=self.lease_seconds
                )
            except DependencyUnavailable as error:
                log.warning("retrieve.waits", job=claimed.id, reason=str(error))
            else:
                if not goes_on:
                    handle.stop.set()
            await asyncio.sleep(min(1.0, self.lease_seconds / 4))
