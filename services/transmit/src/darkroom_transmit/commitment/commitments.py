"""Storage commitment: what was sent is asked for, and sent again when it was not kept (TRX-06).

Everything is in the database: after a crash what was not answered is asked for again.
"""

import asyncio
import uuid
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

from darkroom_common.backoff import delay
from darkroom_common.dimse.requestor import Peer, PeerFault
from darkroom_common.errors import DependencyUnavailable
from darkroom_common.messages.jobs import TransmitJobChanged
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection, Database
from darkroom_common.telemetry import metrics
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.commitment.dimse import Report, ask
from darkroom_transmit.destinations.configuration import Configuration
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.sending.sender import DimseSender

log = get_logger(__name__)
POLL_SECONDS: Final = 1.0
KEEP_SECONDS: Final = 10.0
"""In which a report must be in the database, for the destination waits."""
_AT_ONCE: Final = 4


@dataclass
class Commitments:
    """Asks, takes reports, and looks for what was not answered in time."""

    database: Database
    configuration: Configuration
    outbox: Outbox
    sender: DimseSender
    executor: Executor
    wait_seconds: float
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def sent(self, job_id: str) -> None:
        """Look whether a job that was sent is to be committed."""
        del job_id
        self._wake.set()

    async def run(self) -> None:
        """Ask and look after what was asked, until cancelled."""
        self._loop = asyncio.get_running_loop()
        resumed = False
        while True:
            self._wake.clear()
            try:
                if not resumed:
                    await self._resume()
                    resumed = True
                destinations = {d.name: d for d in await self.configuration.destinations()}
                await self._expire(destinations)
                await self._ask_all(destinations)
            except DependencyUnavailable as error:
                log.warning("commitment.waits", reason=str(error))
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _resume(self) -> None:
        """Ask again for what a process that has ended had asked for."""
        async with self.database.transaction() as db:
            await db.execute(
                "WITH old AS (UPDATE transmit.commitment SET state = 'EXPIRED', answered_at = now()"
                " WHERE state = 'ASKED' RETURNING job_id)"
                " UPDATE transmit.job SET commitment = 'wanted', next_at = now(),"
                " commitment_tries = greatest(0, commitment_tries - 1)"
                " WHERE commitment = 'asked' AND state = 'SENT' AND (id IN (SELECT job_id FROM old)"
                "   OR NOT EXISTS (SELECT FROM transmit.commitment c WHERE c.job_id = job.id"
                "     AND c.state = 'ASKED'))"
            )

    async def _ask_all(self, destinations: dict[str, Destination]) -> None:
        async with self.database.acquire() as db:
            rows = await db.fetch(
                "SELECT id, destination FROM transmit.job"
                " WHERE commitment = 'wanted' AND state = 'SENT' AND next_at <= now()"
                " ORDER BY next_at LIMIT $1",
                _AT_ONCE,
            )
        asked = [
            self._ask(destinations[row["destination"]], row["id"])
            for row in rows
            if row["destination"] in destinations
        ]
        await asyncio.gather(*asked)

    async def _ask(self, destination: Destination, job_id: str) -> None:
        transaction = f"2.25.{uuid.uuid4().int}"
        commitment = destination.spec.commitment
        async with self.database.transaction() as db:
            mine = await db.fetchval(
                "UPDATE transmit.job SET commitment = 'asked', commitment_tries ="
                " commitment_tries + 1 WHERE id = $1 AND commitment = 'wanted'"
                " AND state = 'SENT' RETURNING commitment_tries",
                job_id,
            )
            if mine is None:
                return
            rows = await db.fetch(
                "SELECT i.sop_class_uid, j.sop_instance_uid FROM transmit.job_instance j"
                " JOIN index.instance i ON i.sop_instance_uid = j.sop_instance_uid"
                " WHERE j.job_id = $1 AND j.state = 'SENT' ORDER BY j.position",
                job_id,
            )
            await db.execute(
                "INSERT INTO transmit.commitment (transaction_uid, job_id, destination,"
                " sop_instance_uids, deadline) VALUES ($1, $2, $3, $4, now() + $5::interval)",
                transaction,
                job_id,
                destination.name,
                [row["sop_instance_uid"] for row in rows],
                timedelta(seconds=commitment.timeout_seconds),
            )
        references = [(row["sop_class_uid"], row["sop_instance_uid"]) for row in rows]
        reason = await self._request(destination, transaction, references)
        if not reason:
            metrics.TRANSMIT_COMMITMENTS.labels(destination.name, "asked").inc()
            log.info(
                "commitment.asked",
                destination=destination.name,
                job=job_id,
                transaction=transaction,
                instances=len(references),
            )
            return
        metrics.TRANSMIT_COMMITMENTS.labels(destination.name, "refused").inc()
        log.warning("commitment.not_asked", destination=destination.name, job=job_id, reason=reason)
        async with self.database.transaction() as db:
            if (
                await db.fetchval(
                    "DELETE FROM transmit.commitment WHERE transaction_uid = $1 AND state = 'ASKED'"
                    " RETURNING true",
                    transaction,
                )
                is None
            ):
                return  # it has answered all the same
            if int(mine) >= commitment.max_requests:
                await self._give_up(db, job_id, destination.name, reason)
            else:
                wait = delay(destination.spec.backoff, int(mine) - 1, 0.5)
                await db.execute(
                    "UPDATE transmit.job SET commitment = 'wanted', reason = $2,"
                    " next_at = now() + make_interval(secs => $3)"
                    " WHERE id = $1 AND commitment = 'asked'",
                    job_id,
                    reason,
                    wait,
                )
        self.outbox.wake()

    async def _request(
        self, destination: Destination, transaction: str, references: Sequence[tuple[str, str]]
    ) -> str:
        """Ask, and return why it could not be; empty when it was."""
        try:
            peer = self.sender.peer(destination)
            work = partial(self._ask_in_thread, peer, transaction, references)
            await asyncio.get_running_loop().run_in_executor(self.executor, work)
        except PeerFault as fault:
            return fault.reason
        return ""

    def _ask_in_thread(
        self, peer: Peer, transaction: str, references: Sequence[tuple[str, str]]
    ) -> None:
        self.sender.pool.make_way((peer.called_ae_title, peer.host, peer.port))
        ask(
            peer,
            transaction,
            references,
            wait_seconds=self.wait_seconds,
            settle=self.settle_in_thread,
        )

    async def _give_up(self, db: Connection, job_id: str, destination: str, reason: str) -> None:
        """Fail a job whose images were sent, and are not known to be kept."""
        await db.execute(
            "UPDATE transmit.job SET state = 'FAILED', reason = $2, commitment = 'failed',"
            " failed = (SELECT count(*) FROM transmit.job_instance"
            "   WHERE job_id = $1 AND state <> 'COMMITTED'),"
            " sent = (SELECT count(*) FROM transmit.job_instance"
            "   WHERE job_id = $1 AND state = 'COMMITTED'), updated_at = now() WHERE id = $1",
            job_id,
            reason,
        )
        await db.execute(
            "UPDATE transmit.job_instance SET state = 'FAILED', reason = $2, updated_at = now()"
            " WHERE job_id = $1 AND state <> 'COMMITTED'",
            job_id,
            reason,
        )
        await self._tell(db, job_id, destination, "FAILED")
        log.error("commitment.failed", destination=destination, job=job_id, reason=reason)

    async def _tell(self, db: Connection, job_id: str, destination: str, state: str) -> None:
        row = await db.fetchrow(
            "SELECT attempts, traceparent FROM transmit.job WHERE id = $1", job_id
        )
        trace = {"traceparent": row["traceparent"]} if row and row["traceparent"] else {}
        message = TransmitJobChanged.model_validate(
            {
                "job_id": job_id,
                "destination": destination,
                "state": state,
                "attempt": row["attempts"] if row else 0,
            }
        )
        await self.outbox.put_traced(db, [(message, trace)])
        metrics.TRANSMIT_JOBS.labels(destination, state).inc()

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
        """Keep what a destination reports; return whether the transaction is one of its own."""
        known = {d.name: d for d in await self.configuration.destinations()}
        async with self.database.transaction() as db:
            row = await db.fetchrow(
                "SELECT job_id, destination, sop_instance_uids, state FROM transmit.commitment"
                " WHERE transaction_uid = $1 FOR UPDATE",
                report.transaction_uid,
            )
            destination = known.get(row["destination"]) if row else None
            if row is None or destination is None or destination.spec.ae_title != report.ae_title:
                log.warning("commitment.unknown", ae=report.ae_title)
                return False
            if row["state"] != "ASKED":
                return True  # told twice, or too late
            asked = set(row["sop_instance_uids"])
            kept = sorted(asked & report.committed - report.failed.keys())
            lost = sorted(asked - set(kept))
            await db.execute(
                "UPDATE transmit.commitment SET state = $2, answered_at = now()"
                " WHERE transaction_uid = $1",
                report.transaction_uid,
                "PARTLY" if lost else "COMMITTED",
            )
            await db.execute(
                "UPDATE transmit.job_instance SET state = 'COMMITTED', updated_at = now()"
                " WHERE job_id = $1 AND sop_instance_uid = ANY($2::text[]) AND state = 'SENT'",
                row["job_id"],
                kept,
            )
            if lost:
                await self._again(db, row["job_id"], destination, lost, "NotCommitted")
            else:
                await db.execute(
                    "UPDATE transmit.job SET state = 'COMMITTED', commitment = 'done', reason = '',"
                    " updated_at = now(), finished_at = now() WHERE id = $1 AND state = 'SENT'",
                    row["job_id"],
                )
                await self._tell(db, row["job_id"], destination.name, "COMMITTED")
        outcome = "partly" if lost else "committed"
        metrics.TRANSMIT_COMMITMENTS.labels(destination.name, outcome).inc()
        log.info(
            "commitment.answered",
            destination=destination.name,
            job=row["job_id"],
            committed=len(kept),
            lost=len(lost),
        )
        self.outbox.wake()
        return True

    async def _again(
        self, db: Connection, job_id: str, destination: Destination, lost: list[str], reason: str
    ) -> None:
        """Send what was not committed again, unless that was tried often enough."""
        tries = await db.fetchval(
            "SELECT commitment_tries FROM transmit.job WHERE id = $1 AND state = 'SENT' FOR UPDATE",
            job_id,
        )
        if tries is None:
            return  # somebody has acted on it meanwhile
        if tries >= destination.spec.commitment.max_requests:
            await self._give_up(db, job_id, destination.name, reason)
            return
        await db.execute(
            "UPDATE transmit.job_instance SET state = 'PENDING', reason = $3, updated_at = now()"
            " WHERE job_id = $1 AND sop_instance_uid = ANY($2::text[])",
            job_id,
            lost,
            reason,
        )
        await db.execute(
            "UPDATE transmit.job SET state = 'PENDING', commitment = '', reason = $2,"
            " sent = greatest(0, sent - $3), next_at = now(), wait_seconds = 0, tries = 0,"
            " finished_at = NULL, updated_at = now() WHERE id = $1",
            job_id,
            reason,
            len(lost),
        )
        await self._tell(db, job_id, destination.name, "PENDING")

    async def _expire(self, destinations: dict[str, Destination]) -> None:
        async with self.database.transaction() as db:
            rows = await db.fetch(
                "UPDATE transmit.commitment SET state = 'EXPIRED', answered_at = now()"
                " WHERE transaction_uid IN (SELECT transaction_uid FROM transmit.commitment"
                "   WHERE state = 'ASKED' AND deadline < now() LIMIT 100 FOR UPDATE SKIP LOCKED)"
                " RETURNING job_id, destination, sop_instance_uids"
            )
            for row in rows:
                metrics.TRANSMIT_COMMITMENTS.labels(row["destination"], "expired").inc()
                log.error("commitment.expired", destination=row["destination"], job=row["job_id"])
                destination = destinations.get(row["destination"])
                if destination is not None:
                    lost = list(row["sop_instance_uids"])
                    await self._again(db, row["job_id"], destination, lost, "CommitmentTimeout")
        if rows:
            self.outbox.wake()
