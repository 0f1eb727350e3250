"""Migrations in PostgreSQL, a kind of the job engine: what the engine does not know of them."""

import threading
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from darkroom_common.jobs.attempt import Attempt, Ending
from darkroom_common.jobs.kind import Action, JobKind, Phases, Row, pausing
from darkroom_common.jobs.table import JobTable
from darkroom_common.messages.commands import StartMigration
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.pool import Connection
from darkroom_common.resources.declared import DESTINATIONS
from darkroom_common.resources.identity import NOBODY, identity
from darkroom_common.specs.destinations import Backoff
from darkroom_common.specs.remote import FILES, MigrationSpec
from darkroom_common.telemetry import traces
from darkroom_transmit.retrieval.dimse import Handle

PHASES: Final = Phases(
    waiting="PENDING",
    working=("MIGRATING",),
    retrying="RETRYING",
    ended_well=("DONE",),
    failed="FAILED",
    cancelled="CANCELLED",
)
PAUSED: Final = "PAUSED"
UNREADABLE_SECONDS: Final = 60.0
PATIENCE: Final = Backoff(
    initial_seconds=2.0, multiplier=2.0, ceiling_seconds=300.0, max_attempts=10_000
)
"""For a source that is away: days."""
CURSOR: Final = "migration cursor"
LOCATION: Final = "migration file"
PATIENT: Final = "migration patient"
_ADD: Final = (
    "INSERT INTO transmit.migration (id, source, source_id, spec, requested_by, traceparent,"
    " created_at, state, reason, finished_at) VALUES ($1, $2, $3, $4::text::jsonb, $5, $6, $7,"
    " CASE WHEN $8 THEN 'PENDING' ELSE 'FAILED' END,"
    " CASE WHEN $8 THEN '' ELSE 'UnknownDestination' END, CASE WHEN NOT $8 THEN now() END)"
    " ON CONFLICT DO NOTHING RETURNING *"
)
# What is not there is tried once more; what is there stays as it was found.
_AGAIN: Final = (
    "UPDATE transmit.migration_object o SET outcome = '', reason = '', status = NULL,"
    " sha256 = NULL, size = NULL FROM transmit.migration_study s"
    " WHERE s.migration_id = $1 AND o.migration_id = $1 AND s.state = 'DONE'"
    " AND o.study_instance_uid = s.study_instance_uid AND o.outcome IN ('missing', 'refused')"
)
_STUDIES_AGAIN: Final = (
    "UPDATE transmit.migration_study SET state = 'WAITING', tries = 0, next_at = now(), reason = ''"
    " WHERE migration_id = $1 AND state = 'DONE' AND missing + refused > 0"
)
_RECOUNT: Final = (
    "UPDATE transmit.migration m SET (studies_done, there, missing, differing, refused) ="
    " (SELECT count(*), coalesce(sum(there), 0), coalesce(sum(missing), 0),"
    " coalesce(sum(differing), 0), coalesce(sum(refused), 0) FROM transmit.migration_study"
    " WHERE migration_id = m.id AND state = 'DONE') WHERE id = $1"
)


@dataclass(eq=False)
class MigrationJob(Attempt):
    """A migration that goes on here.

    Attributes:
        handles: of what is under way.
        over: set when the work is to end.
    """

    handles: set[Handle] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Have what is under way learn when it is to stop."""
        self.backoff = PATIENCE
        self.when_stopped(self._stop)

    def _stop(self, why: str) -> None:
        self.over.set()
        for handle in list(self.handles):
            handle.stop.set()
            if why != "stopping":
                handle.interrupt()

    @property
    def spec(self) -> MigrationSpec:
        """What comes from where."""
        return MigrationSpec.model_validate_json(self.row["spec"])

    def progress(self) -> dict[str, Any]:
        """Return what is under way."""
        return {"at_work": len(self.handles)}


class MigrationJobs:
    """Writes the table `migration`."""

    def __init__(self, outbox: Outbox) -> None:
        actions = pausing(PHASES, PAUSED)
        actions["retry", "DONE"] = PHASES.waiting
        self.kind = JobKind(
            name="migration",
            table="transmit.migration",
            lane="source",
            phases=PHASES,
            attempt=MigrationJob,
            progress={"at_work": "integer"},
            actions=actions,
            change="migration",
            removable="false",  # what came, and what did not, is told for as long as anybody asks
            claimed=self.claimed,
            acted=self.acted,
        )
        self.table = JobTable(self.kind, outbox)

    async def add(self, db: Connection, asked: StartMigration) -> bool:
        """Add a migration, a failed one from no destination; return whether it is new."""
        spec = asked.spec
        known: str | None = ""
        if spec.way not in FILES:
            known = await identity(db, DESTINATIONS, spec.lane, asked.source_id)
        row = await db.fetchrow(
            _ADD,
            asked.job_id,
            spec.lane,
            known or asked.source_id or ("" if spec.way in FILES else NOBODY),
            spec.model_dump_json(),
            asked.requested_by,
            traces.inject().get("traceparent", ""),
            asked.occurred_at,
            known is not None,
        )
        if row is None:
            return False
        await self.table.log_change(db, asked.requested_by, "added", asked.job_id)
        await self.table.entered(db, row)
        return True

    @staticmethod
    async def claimed(db: Connection, job: MigrationJob) -> Ending | None:
        """End a migration whose destination is gone; leave one of a later version to it."""
        try:
            of_files = job.spec.way in FILES
        except ValidationError:
            return Ending(PHASES.waiting, "UnreadableMigration", wait=UNREADABLE_SECONDS)
        if of_files:
            return None
        known = await identity(db, DESTINATIONS, job.lane, job.row["source_id"])
        return None if known else Ending(PHASES.failed, "DestinationRemoved")

    @staticmethod
    async def acted(db: Connection, row: Row, action: Action) -> dict[str, Any]:
        """Have what did not come tried once more."""
        if action == "retry":
            await db.execute(_AGAIN, row["id"])
            await db.execute(_STUDIES_AGAIN, row["id"])
            await db.execute(_RECOUNT, row["id"])
        return {"at_work": 0}
