"""Retrieve jobs in PostgreSQL: what the engine does not know of them."""

from dataclasses import dataclass, field
from typing import Any, Final

from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.kind import JobKind, Phases, told, usual_actions
from darkroom_common.jobs.table import JobTable
from darkroom_common.messages.commands import RetrieveFromRemote
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_common.resources.identity import NOBODY, identity
from darkroom_common.telemetry import traces
from darkroom_transmit.retrieval.decision import Order
from darkroom_transmit.retrieval.dimse import Handle

PHASES: Final = Phases(
    waiting="PENDING",
    working=("RETRIEVING",),
    retrying="RETRYING",
    ended_well=("DONE",),
    failed="FAILED",
    cancelled="CANCELLED",
)
_ADD: Final = (
    "INSERT INTO transmit.retrieve (id, remote, method, study_instance_uid, series_instance_uid,"
    " sop_instance_uids, rule, prior_of, requested_by, traceparent, created_at, remote_id, state,"
    " reason, finished_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
    " CASE WHEN $13 THEN 'PENDING' ELSE 'FAILED' END,"
    " CASE WHEN $13 THEN '' ELSE 'UnknownDestination' END, CASE WHEN NOT $13 THEN now() END)"
    " ON CONFLICT DO NOTHING RETURNING *"
)


@dataclass(eq=False)
class RetrieveJob(Attempt):
    """A job whose objects are retrieved here."""

    handle: Handle = field(default_factory=Handle)

    def __post_init__(self) -> None:
        """Have the thread at work learn when it is to stop."""
        self.when_stopped(
            lambda why: self.handle.interrupt() if why == "now" else self.handle.stop.set()
        )

    @property
    def order(self) -> Order:
        """What is retrieved: all, or only what earlier attempts have not got."""
        row = self.row
        return Order(
            row["study_instance_uid"],
            row["series_instance_uid"],
            tuple(row["sop_instance_uids"]),
            tuple(row["wanted"]),
            row["method"],
        )

    def progress(self) -> dict[str, Any]:
        """Return how far it is, with what earlier attempts have got."""
        before = self.row if self.row["wanted"] else {"completed": 0, "warned": 0}
        return {
            "remaining": self.handle.remaining,
            "completed": before["completed"] + self.handle.before + self.handle.completed,
            "failed": self.handle.failed,
            "warned": before["warned"] + self.handle.warned,
        }


class RetrieveJobs:
    """Writes the table `retrieve`."""

    def __init__(self, outbox: Outbox) -> None:
        self.kind = JobKind(
            name="retrieve",
            table="transmit.retrieve",
            lane="remote",
            event=told("retrieve", "remote"),
            phases=PHASES,
            attempt=RetrieveJob,
            progress=dict.fromkeys(("remaining", "completed", "failed", "warned"), "integer"),
            actions=usual_actions(PHASES),
            change="retrieve",
            # What a rule has had retrieved stays as a name: a prior wants no priors.
            removable="rule = ''",
            claimed=self.claimed,
        )
        self.table = JobTable(self.kind, outbox)

    async def add(
        self, db: Connection, asked: RetrieveFromRemote, *, rule: str = "", prior_of: str = ""
    ) -> bool:
        """Add a job, a failed one for no destination; return whether it is new."""
        known = await identity(db, DESTINATIONS, asked.remote, asked.remote_id)
        row = await db.fetchrow(
            _ADD,
            asked.job_id,
            asked.remote,
            asked.method,
            asked.study_instance_uid,
            asked.series_instance_uid,
            list(asked.sop_instance_uids),
            rule,
            prior_of,
            asked.requested_by,
            traces.inject().get("traceparent", ""),
            asked.occurred_at,
            known or asked.remote_id or NOBODY,
            known is not None,
        )
        if row is None:
            return False
        await self.table.log_change(db, asked.requested_by or rule, "added", asked.job_id)
        await self.table.entered(db, row)
        return True

    @staticmethod
    async def claimed(db: Connection, job: RetrieveJob) -> Ending | None:
        """End a job whose destination is gone, or that an earlier version has cancelled at work."""
        if job.row["cancel"]:
            return Ending(PHASES.cancelled, "Cancelled")
        known = await identity(db, DESTINATIONS, job.lane, job.row["remote_id"])
        return None if known else Ending(PHASES.failed, "DestinationRemoved")
