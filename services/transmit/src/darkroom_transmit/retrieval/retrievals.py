"""Runs the retrieve jobs: a few at a time for each node, each to its end or its next try."""

import asyncio
import dataclasses
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from darkroom_common.clock import monotonic
from darkroom_common.dimse.requestor import Peer, PeerFault, tls_context
from darkroom_common.dimse.tls import TlsClient
from darkroom_common.dimse.users.find import Refused
from darkroom_common.index.objects import find_objects
from darkroom_common.jobs.attempt import Ending
from darkroom_common.jobs.lease import Claims
from darkroom_common.jobs.runner import Runner
from darkroom_common.resources.resource import NotThere, Unreadable
from darkroom_common.specs.destinations import Tls
from darkroom_common.telemetry.metrics import transmit as metrics
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.remote.remotes import Remotes
from darkroom_transmit.retrieval.decision import End, Order, Verdict, judge
from darkroom_transmit.retrieval.dimse import Way, retrieve
from darkroom_transmit.retrieval.forwarding import Forwarder
from darkroom_transmit.retrieval.repository import PHASES, RetrieveJob, RetrieveJobs

AT_ONCE: Final = 4
AT_ONCE_EACH: Final = 2
"""Jobs of one node at a time: a slow one leaves room for others."""
UNREADABLE_SECONDS: Final = 60.0
SHOWN_SECONDS: Final = 5.0
"""Until the index shows what a node has sent without a word about it, or before it broke off."""
LOOK_SECONDS: Final = 0.2
_CHECKED: Final = Tls(enabled=True, strict=False)


@dataclass(frozen=True)
class Receiver:
    """Where ingest listens, and as whom it is called.

    Attributes:
        calling_ae_title: of C-GET; empty: that of the node the objects are from, so that the list
            of senders means the same for both ways.
        tls: how it is called within TLS; None: plainly.
        server_name: whom its certificate must name; empty: the host.
    """

    host: str
    port: int
    ae_title: str
    calling_ae_title: str
    silence: float
    tls: TlsClient | None = None
    server_name: str = ""

    def way(self, source: Destination) -> Way:
        """Return how objects of a node come to ingest.

        Raises:
            PeerFault: certificates cannot be used.
        """
        peer = self.ingest(calling_for(source))
        return Way(self.silence, self.ae_title, lambda: Forwarder(peer))

    def ingest(self, calling: str) -> Peer:
        """Return ingest as it is called as `calling`, where nothing else is set.

        Raises:
            PeerFault: certificates cannot be used.
        """
        return Peer(
            host=self.host,
            port=self.port,
            called_ae_title=self.ae_title,
            calling_ae_title=self.calling_ae_title or calling,
            tls=None if self.tls is None else tls_context(self.tls, _CHECKED),
            server_name=self.server_name or self.host,
        )


def calling_for(source: Destination) -> str:
    """Return as whom objects of a node are given to ingest."""
    return source.spec.ae_title or source.name[:16]


@dataclass
class Retrievals:
    """The retrieve jobs of this process."""

    jobs: RetrieveJobs
    claims: Claims[RetrieveJob]
    remotes: Remotes
    receiver: Receiver
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        """Make the threads, which start when they are needed."""
        self.runner = Runner(self.claims, self._attempt, at_once=AT_ONCE, each=AT_ONCE_EACH)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="retrieve")

    async def run(self) -> None:
        """Run jobs, until cancelled; then cancel what is under way and give it back."""
        try:
            await self.runner.run()
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _here(self, order: Order) -> frozenset[str]:
        """Return the instances of an order that are in the index."""
        async with self.claims.database.acquire() as db:
            found = await find_objects(db, order.study, order.series, order.instances)
        return frozenset(found)

    async def _shown(
        self, job: RetrieveJob, enough: Callable[[frozenset[str]], bool]
    ) -> frozenset[str]:
        """Return the instances of an order that are in the index; wait a while for enough."""
        deadline = monotonic() + SHOWN_SECONDS
        while not enough(here := await self._here(job.order)) and not job.stopped:
            if monotonic() > deadline:
                break
            await asyncio.sleep(LOOK_SECONDS)
        return here

    async def _with_what_came(self, end: End, job: RetrieveJob) -> End:
        """Return an end with what has come, where the counts are to be doubted."""
        here = await self._shown(job, lambda found: len(found) >= end.doubted_until)
        if end.says_nothing:
            job.handle.completed = len(here) - job.handle.before
        return dataclasses.replace(end, arrived=len(here))

    async def _attempt(self, job: RetrieveJob) -> Ending:
        status: int | None = None
        wanted = tuple(job.row["wanted"])
        had = await self._here(job.order)
        order = job.order
        if job.number > 1 and not wanted:  # an earlier attempt has been cut off
            order = dataclasses.replace(order, here=had)
        try:
            destination = await self.remotes.named(job.lane)
            job.backoff = destination.spec.backoff
            peer = self.remotes.peer(destination)
            way = self.receiver.way(destination)
            loop = asyncio.get_running_loop()
            end = await loop.run_in_executor(self._threads, retrieve, peer, order, way, job.handle)
            status = end.status
            verdict = judge(await self._with_what_came(end, job))
        except NotThere:
            verdict = Verdict("FAILED", "UnknownDestination")
        except Unreadable:  # until a version runs here that understands it
            return Ending(PHASES.waiting, "UnreadableDestination", wait=UNREADABLE_SECONDS)
        except PeerFault as fault:
            if isinstance(fault, Refused):
                status = fault.status
            verdict = Verdict("RETRY" if fault.transient else "FAILED", fault.reason, wanted)
        got = job.progress() | {"remaining": None}
        for outcome in ("completed", "failed", "warned"):
            count = getattr(job.handle, outcome)
            metrics.RETRIEVE_INSTANCES.labels(job.lane, outcome).inc(count)
        if job.stopped and verdict.state != "DONE":
            return Ending(PHASES.waiting, columns={"remaining": None})
        columns = got | {"status": status, "wanted": list(verdict.wanted), "cancel": False}
        if verdict.state == "RETRY":
            asked = job.handle.asked
            job.progressed = asked and bool(await self._shown(job, lambda now: now > had) - had)
            ending = self.jobs.kind.again(job, job.backoff, verdict.reason, self.chance())
            return dataclasses.replace(ending, columns=columns)
        return Ending(verdict.state, verdict.reason, columns=columns)
