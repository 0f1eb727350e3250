"""Jobs of storage commitment in PostgreSQL: columns of the jobs of sending, and transactions.

A job that was sent and is to be confirmed is a job of this kind as well: `wanted`, then `asked`
under the lease of the process that waits for the report, until it is `done` or `failed`.
"""

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Final

from darkroom_common.index.objects import INSTANCES
from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.kind import JobKind, Phases, Row
from darkroom_common.jobs.table import JobTable
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.telemetry.logs import get_logger
from darkroom_transmit.sending.repository import SendJobs

log = get_logger(__name__)
UNKNOWN_SECONDS: Final = 60.0
PHASES: Final = Phases(
    waiting="wanted", working=("asked",), retrying="wanted", ended_well=("done",), failed="failed"
)
_EXPIRE: Final = (
    "UPDATE transmit.commitment SET state = 'EXPIRED', answered_at = now()"
    " WHERE job_id = $1 AND state = 'ASKED'"
)
_SENT: Final = " FROM transmit.job_instance j"
_REFERENCES: Final = (
    f"SELECT i.sop_class_uid, j.sop_instance_uid{_SENT}"
    f" JOIN {INSTANCES} i ON i.sop_instance_uid = j.sop_instance_uid"
    " WHERE j.job_id = $1 AND j.state = 'SENT' ORDER BY j.position"
)
_ASK: Final = (
    "INSERT INTO transmit.commitment (transaction_uid, job_id, destination, sop_instance_uids,"
    " deadline) SELECT $1, $2, name, $4, now() + make_interval(secs => coalesce("
    " (spec->'commitment'->>'timeout_seconds')::double precision, 0))"
    " FROM transmit.destination WHERE name = $3 AND $5 IN ('', id) FOR SHARE RETURNING true"
)
_LOST: Final = (
    "WITH lost AS (UPDATE transmit.job_instance SET state = 'PENDING', reason = $3,"
    " updated_at = now() WHERE job_id = $1 AND sop_instance_uid = ANY($2::text[]) RETURNING 1)"
    " UPDATE transmit.job SET sent = greatest(0, sent - (SELECT count(*) FROM lost)) WHERE id = $1"
)
_GIVEN_UP: Final = (
    "WITH rest AS (UPDATE transmit.job_instance SET state = 'FAILED', reason = $2,"
    " updated_at = now() WHERE job_id = $1 AND state <> 'COMMITTED' RETURNING 1)"
    " UPDATE transmit.job SET failed = (SELECT count(*) FROM rest),"
    " sent = total - (SELECT count(*) FROM rest) WHERE id = $1"
)


@dataclass(eq=False)
class CommitmentJob(Attempt):
    """A job whose images a destination is asked to confirm.

    Attributes:
        references: SOP class and SOP instance UIDs.
        over: set when nothing is waited for any more.
    """

    transaction: str = field(default_factory=lambda: f"2.25.{uuid.uuid4().int}")
    references: list[tuple[str, str]] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Stop waiting when it is to stop."""
        self.when_stopped(lambda _: self.over.set())

    @property
    def uids(self) -> list[str]:
        """The SOP instance UIDs."""
        return [uid for _, uid in self.references]


class CommitmentJobs:
    """Writes the table `commitment`, and the columns of `job` that are about it."""

    def __init__(self, outbox: Outbox, sent: SendJobs) -> None:
        self._sent = sent
        self.kind = JobKind(
            name="commitment",
            table="transmit.job",
            lane="destination",
            phases=PHASES,
            attempt=CommitmentJob,
            state="commitment",
            tries="commitment_tries",
            attempts="",
            where="state = 'SENT'",
            claimed=self.claimed,
            finished=self.finished,
            entered=self._entered,
        )
        self.table = JobTable(self.kind, outbox)

    async def _entered(self, db: Connection, row: Row) -> None:
        """Tell that the job itself has entered another state, too."""
        if row["state"] != "SENT":
            trace = {"traceparent": row["traceparent"]} if row["traceparent"] else {}
            await self._sent.table.entered(db, row, trace)

    @staticmethod
    async def claimed(db: Connection, job: CommitmentJob) -> Ending | None:
        """Begin a transaction. What the process of an earlier one waited for is over."""
        await db.execute(_EXPIRE, job.id)
        rows = await db.fetch(_REFERENCES, job.id)
        job.references = [(row["sop_class_uid"], row["sop_instance_uid"]) for row in rows]
        bound = job.row["destination_id"]
        known = await db.fetchval(_ASK, job.transaction, job.id, job.lane, job.uids, bound)
        return None if known else await CommitmentJobs.give_up(db, job, "DestinationRemoved")

    @staticmethod
    async def finished(db: Connection, job: CommitmentJob, _: Ending) -> None:
        """Wait for no report any more."""
        await db.execute(_EXPIRE, job.id)

    async def committed(self, db: Connection, job: CommitmentJob) -> Row | None:
        """End a job well: all was kept."""
        ending = Ending("done", columns={"state": "COMMITTED"})
        return await self.table.finish(db, job, ending, owner=None)

    @staticmethod
    async def lost(
        db: Connection, job: CommitmentJob, lost: list[str], reason: str, *, most: int
    ) -> Ending:
        """Have what was not committed sent again, unless that was tried often enough."""
        if not job.progressed and job.tries + 1 >= most:
            return await CommitmentJobs.give_up(db, job, reason)
        await db.execute(_LOST, job.id, lost, reason)
        columns = {"state": "PENDING", "tries": 0, "finished_at": None}
        return Ending("", reason, counts=True, columns=columns)

    @staticmethod
    async def give_up(db: Connection, job: CommitmentJob, reason: str) -> Ending:
        """Fail a job whose images were sent, and are not known to be kept."""
        await db.execute(_GIVEN_UP, job.id, reason)
        log.error("commitment.failed", destination=job.lane, job=job.id, reason=reason)
        return Ending(PHASES.failed, reason, counts=True, columns={"state": "FAILED"})
