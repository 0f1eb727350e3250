"""Storage commitment: what was sent is asked for, and sent again when it was not kept (TRX-06).

What a process asked for that has died is asked for again, by another transaction; so is what one
gives back.
"""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Final

from darkroom_common.dimse.requestor import Peer, PeerFault
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.jobs.attempt import Ending
from darkroom_common.jobs.lease import Claims, Decide
from darkroom_common.jobs.runner import Runner
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry.logs import get_logger
from darkroom_common.telemetry.metrics import transmit as metrics
from darkroom_transmit.commitment.dimse import Report, ask
from darkroom_transmit.commitment.repository import (
    PHASES,
    UNKNOWN_SECONDS,
    CommitmentJob,
    CommitmentJobs,
)
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.sender import DimseSender

log = get_logger(__name__)
RESOLVE_SECONDS: Final = 3.0
KEEP_SECONDS: Final = 10.0
"""In which a report must be in the database, for the destination waits."""
ASKING_AT_ONCE: Final = 4
OUTSTANDING: Final = 1000
"""Jobs of one destination that wait for its report: some confirm by night what came by day."""
LEASES: Final = 3
"""How much longer than others' the leases are: so many are renewed."""
_TRANSACTION: Final = (
    "SELECT job_id, destination, sop_instance_uids, state FROM transmit.commitment"
    " WHERE transaction_uid = $1 FOR UPDATE"
)
_OF_TRANSACTION: Final = (  # a job is locked before what belongs to it
    "SELECT * FROM transmit.job WHERE id = (SELECT job_id FROM transmit.commitment"
    " WHERE transaction_uid = $1) FOR UPDATE"
)
_ANSWERED: Final = (
    "UPDATE transmit.commitment SET state = $2, answered_at = now(), reported_as = $3"
    " WHERE transaction_uid = $1"
)
_ASKED_OF: Final = "SELECT destination FROM transmit.commitment WHERE transaction_uid = $1"
_KEPT: Final = (
    "UPDATE transmit.job_instance SET state = 'COMMITTED', updated_at = now()"
    " WHERE job_id = $1 AND sop_instance_uid = ANY($2::text[]) AND state = 'SENT'"
)


@dataclass
class Commitments:
    """Asks, takes reports, and gives up on what was not answered in time."""

    jobs: CommitmentJobs
    claims: Claims[CommitmentJob]
    configuration: Configuration
    sender: DimseSender
    executor: Executor
    wait_seconds: float
    chance: Callable[[], float] = random.random
    _asking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ASKING_AT_ONCE))

    def __post_init__(self) -> None:
        """Make what runs the jobs."""
        self.runner = Runner(self.claims, self._attempt, at_once=10 * OUTSTANDING, each=OUTSTANDING)

    async def sent(self, job_id: str) -> None:
        """Look whether a job that was sent is to be committed."""
        del job_id
        self.runner.wake()

    async def run(self) -> None:
        """Ask, and look after what was asked, until cancelled."""
        self._loop = asyncio.get_running_loop()
        await self.runner.run()

    async def _attempt(self, job: CommitmentJob) -> Ending | Decide:
        destination = (await self.configuration.usable()).get(job.lane)
        if destination is None:
            return Ending(PHASES.waiting, "UnknownDestination", wait=UNKNOWN_SECONDS)
        commitment = destination.spec.commitment
        job.backoff = destination.spec.backoff
        async with self._asking:
            if job.stopped:
                return self.jobs.kind.given_back()
            reason = await self._request(destination, job)
        if reason:
            metrics.TRANSMIT_COMMITMENTS.labels(job.lane, "refused").inc()
            log.warning("commitment.not_asked", destination=job.lane, job=job.id, reason=reason)
            if job.tries + 1 >= commitment.max_requests:
                return partial(self.jobs.give_up, job=job, reason=reason)
            patient = job.backoff.model_copy(update={"max_attempts": commitment.max_requests})
            return self.jobs.kind.again(job, patient, reason, self.chance())
        metrics.TRANSMIT_COMMITMENTS.labels(job.lane, "asked").inc()
        log.info(
            "commitment.asked",
            destination=job.lane,
            job=job.id,
            transaction=job.transaction,
            instances=len(job.references),
        )
        try:
            async with asyncio.timeout(commitment.timeout_seconds):
                await job.over.wait()
        except TimeoutError:
            metrics.TRANSMIT_COMMITMENTS.labels(job.lane, "expired").inc()
            log.error("commitment.expired", destination=job.lane, job=job.id)
            return partial(self._again, job, job.uids, destination, "CommitmentTimeout")
        return self.jobs.kind.given_back()  # it was answered, or this process ends

    async def _request(self, destination: Destination, job: CommitmentJob) -> str:
        """Ask, and return why it could not be; empty when it was."""
        try:
            peer = self.sender.peer(destination)
            work = partial(self._ask_in_thread, peer, job)
            await asyncio.get_running_loop().run_in_executor(self.executor, work)
        except PeerFault as fault:
            return fault.reason
        return ""

    def _ask_in_thread(self, peer: Peer, job: CommitmentJob) -> None:
        self.sender.pool.make_way((peer.called_ae_title, peer.host, peer.port))
        ask(
            peer,
            job.transaction,
            job.references,
            wait_seconds=self.wait_seconds,
            settle=self.settle_in_thread,
        )

    def settle_in_thread(self, report: Report) -> bool | None:
        """Keep a report, for a thread that has it; see `commitment_dimse.Settle`."""
        future = asyncio.run_coroutine_threadsafe(self.settle(report), self._loop)
        try:
            return future.result(KEEP_SECONDS)
        except (TimeoutError, DependencyUnavailable) as error:
            future.cancel()
            log.warning("commitment.not_kept", reason=type(error).__name__)
            return None

    async def settle(self, report: Report) -> bool:
        """Keep what a destination reports; return whether the transaction is one of its own.

        Some archives report as another AE title than they are asked as: who knows the transaction
        and calls from the destination's host is the destination.
        """
        known = await self.configuration.usable()
        async with self.claims.database.acquire() as db:
            destination = known.get(await db.fetchval(_ASKED_OF, report.transaction_uid) or "")
        if destination is None or not await _is_from(report, destination):
            log.warning("commitment.unknown", ae=report.ae_title, peer=report.host)
            return False
        renamed = "" if report.ae_title == destination.spec.ae_title else report.ae_title
        async with self.claims.database.transaction() as db:
            found = await db.fetchrow(_OF_TRANSACTION, report.transaction_uid)
            row = await db.fetchrow(_TRANSACTION, report.transaction_uid)
            if row is None or found is None or not destination.has(found["destination_id"]):
                log.warning("commitment.unknown", ae=report.ae_title, peer=report.host)
                return False
            if (row["state"], found["commitment"]) != ("ASKED", "asked"):
                return True  # it is said twice, or too late
            job = self.jobs.table.attempt(found)
            asked = set(row["sop_instance_uids"])
            kept = sorted(asked & report.committed - report.failed.keys())
            lost = sorted(asked - set(kept))
            job.progressed = bool(kept)
            state = "PARTLY" if lost else "COMMITTED"
            await db.execute(_ANSWERED, report.transaction_uid, state, renamed)
            await db.execute(_KEPT, job.id, kept)
            if lost:
                ending = await self._again(job, lost, destination, "NotCommitted", db)
                await self.jobs.table.finish(db, job, ending, owner=None)
            else:
                await self.jobs.committed(db, job)
        self.runner.acted(job.id)
        metrics.TRANSMIT_COMMITMENTS.labels(job.lane, state.lower()).inc()
        log.info(
            "commitment.answered",
            destination=job.lane,
            job=job.id,
            committed=len(kept),
            lost=len(lost),
            reported_as=renamed,
        )
        return True

    async def _again(
        self,
        job: CommitmentJob,
        lost: list[str],
        destination: Destination,
        reason: str,
        db: Connection,
    ) -> Ending:
        most = destination.spec.commitment.max_requests
        return await self.jobs.lost(db, job, lost, reason, most=most)


async def _is_from(report: Report, destination: Destination) -> bool:
    """Tell whether a report is a destination's, by its AE title or else by its host."""
    spec = destination.spec
    if report.ae_title == spec.ae_title:
        return True
    if not report.host or spec.host is None:
        return False
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await loop.getaddrinfo(spec.host, None)
    except (OSError, TimeoutError) as error:
        log.warning(
            "destination.unresolved", destination=destination.name, reason=type(error).__name__
        )
        return False
    return plain_address(report.host) in {plain_address(str(one[4][0])) for one in found}


def plain_address(text: str) -> str:
    """Return an IP address in one form, without a zone; one of IPv4 within IPv6 as itself."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
