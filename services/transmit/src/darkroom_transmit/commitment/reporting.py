"""Storage commitment as SCP: what is asked for is looked at in index and store, then told.

It is told on the association that has asked (ingest does that), or else on one of our own to the
destination that has the AE title of whoever has asked, until it is taken (PS3.4 section J.3.3).
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final

from darkroom_common.dimse.requestor import Association, Peer, PeerFault, associate
from darkroom_common.dimse.statuses import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_SOP_INSTANCE,
    PROCESSING_FAILURE,
    SUCCESS,
)
from darkroom_common.dimse.users.commitment import STORAGE_COMMITMENT, Report, encode_report
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.dimse.wire.data_set import SYNTAXES
from darkroom_common.errors import PermanentError
from darkroom_common.index.objects import stored_now
from darkroom_common.index.rows import StoredInstance
from darkroom_common.jobs.attempt import Ending
from darkroom_common.jobs.lease import Claims, Decide
from darkroom_common.jobs.runner import Runner
from darkroom_common.objects.interface import ObjectMissing, ObjectStore, StoreUnavailable
from darkroom_common.specs.destinations import Backoff
from darkroom_common.telemetry import traces
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.commitment.asked import PHASES, AskedCommitments, AskedJob
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.sender import DimseSender

log = get_logger(__name__)
AT_ONCE: Final = 8
EACH: Final = 2
NOBODY_SECONDS: Final = 60.0
"""Until a node without a destination is looked for again."""
STORE_SECONDS: Final = 5.0
_SETTLING: Final = Backoff(
    initial_seconds=0.2, multiplier=1.5, ceiling_seconds=5.0, max_attempts=10_000
)
_FOR_EVER: Final = {"max_attempts": 10_000}


@dataclass(frozen=True)
class Checking:
    """Looks whether instances are kept."""

    store: ObjectStore

    async def look(self, sop_class_uid: str, stored: StoredInstance | None) -> int:
        """Return the failure reason of an instance (PS3.3 C.14.1.1); 0: it is kept.

        Raises:
            StoreUnavailable: nobody can say.
        """
        if stored is None:
            return NO_SUCH_SOP_INSTANCE
        if stored.sop_class_uid != sop_class_uid:
            return CLASS_INSTANCE_CONFLICT
        digest, size = hashlib.sha256(), 0
        try:
            async for chunk in self.store.stream(stored.object_key, start=stored.data_set_offset):
                size += len(chunk)
                await asyncio.to_thread(digest.update, chunk)
        except ObjectMissing:
            return NO_SUCH_SOP_INSTANCE
        except PermanentError:  # a key that can be none
            return PROCESSING_FAILURE
        well = size == stored.size and digest.digest() == stored.sha256
        return SUCCESS if well else PROCESSING_FAILURE


@dataclass
class Promises:
    """Looks at what was asked for, and tells it.

    Attributes:
        settle_seconds: in which what is asked for may still become known.
        report_seconds: after which a node is not called any more.
    """

    asked: AskedCommitments
    claims: Claims[AskedJob]
    configuration: Configuration
    sender: DimseSender
    executor: Executor
    checking: Checking
    settle_seconds: float
    report_seconds: float
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        """Make what runs the jobs."""
        self.runner = Runner(self.claims, self._attempt, at_once=AT_ONCE, each=EACH)

    async def _attempt(self, job: AskedJob) -> Ending | Decide:
        if job.row["reasons"] is not None:
            return await self._tell(job)
        async with self.claims.database.acquire() as db:
            stored = await stored_now(db, job.row["sop_instance_uids"])
        traces.about(one.study_instance_uid for one in stored.values())
        settled = job.row["created_at"] + timedelta(seconds=self.settle_seconds)
        if len(stored) < len(job.references) and self.claims.clock.now() < settled:
            return self._again(job, _SETTLING, "NotStoredYet")
        try:
            reasons = await self._look(job.references, stored)
        except StoreUnavailable:
            return Ending(PHASES.retrying, "StoreUnavailable", wait=STORE_SECONDS)
        lost = len(reasons) - reasons.count(SUCCESS)
        log.info(
            "commitment.looked_at", ae=job.lane, job=job.id, kept=len(reasons) - lost, lost=lost
        )
        return partial(self.asked.found, job=job, reasons=reasons)

    async def _look(
        self, references: Mapping[str, str], stored: Mapping[str, StoredInstance]
    ) -> list[int]:
        return [
            await self.checking.look(sop_class, stored.get(uid))
            for uid, sop_class in references.items()
        ]

    async def _tell(self, job: AskedJob) -> Ending:
        """Call whoever has asked."""
        over = job.row["created_at"] + timedelta(seconds=self.report_seconds)
        if self.claims.clock.now() > over:
            return Ending(PHASES.failed, "NotTakenInTime")
        destination = await self._destination(job.lane)
        if destination is None:
            log.warning("commitment.nobody_to_tell", ae=job.lane, job=job.id)
            return Ending(PHASES.retrying, "UnknownDestination", wait=NOBODY_SECONDS)
        try:
            peer = replace(
                self.sender.peer(destination), calling_ae_title=job.row["called_ae_title"]
            )
            work = partial(self._report, peer, job)
            await asyncio.get_running_loop().run_in_executor(self.executor, work)
        except PeerFault as fault:
            patience = destination.spec.backoff.model_copy(update=_FOR_EVER)
            return self._again(job, patience, fault.reason)
        log.info("commitment.told", ae=job.lane, job=job.id, lost=len(job.failed))
        return Ending("REPORTED")

    def _again(self, job: AskedJob, patience: Backoff, reason: str) -> Ending:
        ending = self.asked.kind.again(job, patience, reason, self.chance())
        return replace(ending, remembered=False)

    async def _destination(self, ae_title: str) -> Destination | None:
        known = await self.configuration.usable()
        named = [
            known[name]
            for name in sorted(known)
            if known[name].spec.kind == "dimse" and known[name].spec.ae_title == ae_title
        ]
        return next(iter(sorted(named, key=lambda one: not one.spec.enabled)), None)

    def _report(self, peer: Peer, job: AskedJob) -> None:
        """Report on an association of our own; it blocks.

        Raises:
            PeerFault: it was not taken.
        """
        self.sender.pool.make_way((peer.called_ae_title, peer.host, peer.port))
        proposals = [Proposal(STORAGE_COMMITMENT, (one,), as_scp=True) for one in SYNTAXES]
        association = associate(peer, proposals)
        try:
            _report_on(association, job)
        except BaseException:
            association.abort()
            raise
        association.release()


def _report_on(association: Association, job: AskedJob) -> None:
    pair = next((one for one in association.accepted if one[0] == STORAGE_COMMITMENT), None)
    if pair is None:
        raise PeerFault("CommitmentNotSupported")
    message_id = association.next_message_id()
    row = job.row
    report = Report(row["transaction_uid"], job.references, job.failed, row["called_ae_title"])
    command, data_set = encode_report(report, message_id, pair[1])
    association.ask(association.accepted[pair], command, data_set)
    status = association.response(message_id).command.status
    if status != SUCCESS:
        raise PeerFault(f"ReportRefused{status:04X}")
